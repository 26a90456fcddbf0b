# SPDX-License-Identifier: Apache-2.0
"""The page's jobs, called as gradio calls them: what stays of them, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from gradio.route_utils import delete_files_created_by_app

from msdet.errors import InputError
from msdet.inference.separator import Separator, load
from msdet.parsing import parse
from msdet.serve.config import ServeConfig
from msdet.serve.guard import Storage
from msdet.serve.page import build_page
from msdet.serve.worker import Worker

if TYPE_CHECKING:
    import gradio as gr

KEYS: dict[str, Any] = {
    "checkpoint": None,
    "host": "127.0.0.1",
    "port": 7860,
    "allow_remote": False,
    "max_megabytes": 1,
    "max_minutes": 1,
    "max_stored_megabytes": 2,
    "max_job_seconds": 60,
    "trust": False,
}


class Here:
    """Runs jobs in this process, which is `Worker` without the time limit."""

    def __init__(self, separator: Separator) -> None:
        self._separator = separator

    def run(self, job: Callable[..., Any], *arguments: Any) -> Any:
        return job(self._separator, *arguments)


def click(page: gr.Blocks, button: str, *values: Any) -> tuple[str, str]:
    """The message and the result."""
    (target,) = (n for n, block in page.blocks.items() if block.elem_id == button)
    (job,) = (fn for fn in page.fns.values() if (target, "click") in fn.targets)
    assert job.fn is not None
    return cast("tuple[str, str]", job.fn(*values))


def test_results_are_cleaned_by_age_as_uploads_are(saved: Path, tmp_path: Path) -> None:
    separator, storage = load(saved), Storage(tmp_path, 2)
    page = build_page(separator, cast(Worker, Here(separator)), ServeConfig(**KEYS), storage)
    message, result = click(page, "msdet-example", "bundled-easy", 0.0)
    assert message == ""
    assert 'aria-label="Result"' in result

    def kept() -> set[str]:
        return {path.name for path in tmp_path.rglob("*") if path.is_file()}

    assert {"mixture.wav", "microphones.wav", "speakers.json"} <= kept()
    delete_files_created_by_app(page, age=3600)
    assert "mixture.wav" in kept()
    delete_files_created_by_app(page, age=0)
    assert kept() == set()


def test_less_room_than_for_one_recording_is_refused() -> None:
    with pytest.raises(InputError, match=r"^max_stored_megabytes=0.5: holds no file of max_meg"):
        parse(ServeConfig, KEYS | {"max_stored_megabytes": 0.5})
