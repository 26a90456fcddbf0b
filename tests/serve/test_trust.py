# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that name classes outside msdet: refused by the page, or taken with trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from msdet.checkpoints import Description, save_portable
from msdet.cli import main
from msdet.inference.separator import Separator
from msdet.models.msdet import MSDET
from msdet.serve.worker import Worker

RULE = """
import torch
class Backwards:
    by_location, needs = True, frozenset({"azimuth"})
    def __call__(self, labels, losses):
        return torch.argsort(-labels.azimuth)
"""


def assignment_of(separator: Separator) -> str:
    return str(separator.description.assignment)


def test_classes_outside_msdet_run_where_they_are_trusted(
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page_rule.py").write_text(RULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("msdet.commands.serve.check_address", lambda config: None)
    model, path = make_model(), tmp_path / "own.ckpt"
    save_portable(path, model, describe(model, assignment={"_target_": "page_rule.Backwards"}))
    found: list[str] = []

    def asked(separator: Separator, worker: Worker, *_: Any) -> str:
        return worker.run(assignment_of)

    monkeypatch.setattr("msdet.serve.page.build_page", asked)
    monkeypatch.setattr("msdet.serve.server.run_server", lambda page, *_: found.append(page))
    assert main(["serve", f"checkpoint={path}"]) == 2
    told = capsys.readouterr().err
    assert "page_rule.Backwards" in told
    assert "trust=true" in told
    assert main(["serve", f"checkpoint={path}", "trust=true"]) == 0
    assert found == ["page_rule.Backwards"]
