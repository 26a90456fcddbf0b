# SPDX-License-Identifier: Apache-2.0
"""The examples in the docstrings of the inference package do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import msdet
import msdet.inference

MODULES = [
    f"msdet.inference.{module.name}" for module in pkgutil.iter_modules(msdet.inference.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(
    name: str,
    saved: Path,
    saved_causal: Path,
    recording: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tiny network of random weights stands in for the trained one; what it puts out counts."""
    monkeypatch.setattr("msdet.inference.window_network.PRESENT", 0.0)
    monkeypatch.setattr("msdet.inference.window_network.MISSED_DEGREES", 181.0)
    names = {"msdet": msdet, "np": np, "checkpoint": saved, "audio": recording, "folder": tmp_path}
    names["separator"], names["live"] = msdet.load(saved), msdet.load(saved_causal)
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_examples_of_what_is_public() -> None:
    finder = doctest.DocTestFinder()
    found = [case for case in finder.find(msdet.Separator, "Separator") if case.examples]
    assert {"Separator", "Separator.separate", "Separator.stream"} <= {case.name for case in found}
