# SPDX-License-Identifier: Apache-2.0
"""A study of the tiny experiment, and its parts with changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msdet.parsing import parse
from msdet.sweeps.study import StudyConfig, load_study
from msdet.training.config import TrainConfig


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., StudyConfig]:
    """The debug study in a folder of the test, with other values for some keys."""

    def made(*overrides: str) -> StudyConfig:
        where = (f"output={tmp_path / 'output'}", f"results={tmp_path / 'results' / 'page'}")
        return load_study("debug", [*where, *overrides])

    return made


@pytest.fixture(scope="session")
def training() -> Callable[..., TrainConfig]:
    """The config of a training run."""
    from msdet.composing import compose

    def made(*overrides: str) -> TrainConfig:
        values: dict[str, Any] = compose("train", ["experiment=debug", *overrides])
        return parse(TrainConfig, values)

    return made
