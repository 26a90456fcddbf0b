# SPDX-License-Identifier: Apache-2.0
"""Arrays that nothing in training was like are taken with a word of warning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from msdet.checkpoints import Description
from msdet.geometry import MicrophoneArray
from msdet.inference.microphones import unlike_training
from msdet.models.msdet import MSDET

Arrays = dict[str, MicrophoneArray]
PLANAR = {"shapes": [{"shape": "respeaker4"}], "drawn": 3, "radius": [0.03, 0.09]}
TALL = {"shapes": [{"shape": "tetrahedron", "edge": 0.06}], "drawn": 0}


def circle(radius: float) -> MicrophoneArray:
    places = ((radius, 0.0, 0.0), (0.0, radius, 0.0), (-radius, 0.0, 0.0), (0.0, -radius, 0.0))
    return MicrophoneArray("large", places)


@pytest.fixture
def trained_with(
    make_model: Callable[..., MSDET], describe: Callable[..., Description]
) -> Callable[..., Description]:
    def made(arrays: dict[str, Any]) -> Description:
        return describe(make_model(), config={"data": {"arrays": arrays}})

    return made


@pytest.mark.parametrize("more", [{}, PLANAR, TALL])
@pytest.mark.parametrize("name", ["circle4", "l5", "respeaker4", "respeaker6"])
def test_what_training_was_like_needs_no_word(
    trained_with: Callable[..., Description], arrays: Arrays, more: dict[str, Any], name: str
) -> None:
    assert unlike_training(arrays[name], trained_with(more)) == []


@pytest.mark.parametrize(("more", "warned"), [({}, True), (PLANAR, True), (TALL, False)])
def test_heights(
    trained_with: Callable[..., Description], arrays: Arrays, more: dict[str, Any], warned: bool
) -> None:
    found = unlike_training(arrays["tetrahedron"], trained_with(more))
    assert len(found) == warned
    assert all("all at one height" in sentence for sentence in found)


def test_distances(trained_with: Callable[..., Description]) -> None:
    (sentence,) = unlike_training(circle(0.2), trained_with({}))
    assert "up to 0.4 m apart, in training they were 0.1 m at most" in sentence
    assert unlike_training(circle(0.15), trained_with(PLANAR)) == []
    assert unlike_training(circle(0.2), trained_with(PLANAR)) != []
