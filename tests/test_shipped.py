# SPDX-License-Identifier: Apache-2.0
"""Models that ship: found by name, listed, one of them the default."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import msdet
from msdet.cli import main
from msdet.errors import InputError
from msdet.shipped import default_model


@pytest.fixture
def bundle(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, the second in the alphabet being the default."""
    for name in ("large", "small"):
        shutil.copy(saved, tmp_path / f"{name}.ckpt")
    (tmp_path / "small.md").write_text("# small\n\nTwo voices around a table.\n")
    (tmp_path / "default").write_text("small\n")
    monkeypatch.setattr("msdet.shipped.models_dir", lambda: tmp_path)
    return tmp_path


def test_a_model_has_a_name(bundle: Path) -> None:
    assert msdet.load("large").path == bundle / "large.ckpt"
    assert default_model().name == "small"


def test_an_unknown_name_is_answered_with_those_that_are_known(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint=smal: .*large, small; did you mean 'small'"):
        msdet.load("smal")


def test_a_file_is_a_file(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.ckpt: no such file$"):
        msdet.load("gone.ckpt")


def test_models_are_listed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    large, small = capsys.readouterr().out.splitlines()
    assert large.startswith("large: ")
    assert small.startswith("small (default): ")
    for shown in ("8000 Hz", "2 speakers", "circle4", "Two voices around a table."):
        assert shown in small


def test_without_any_the_error_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msdet.shipped.models_dir", lambda: tmp_path)
    with pytest.raises(InputError, match="checkpoint=FILE"):
        default_model()
