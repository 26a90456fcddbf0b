# SPDX-License-Identifier: Apache-2.0
"""Speakers asked for by direction: slots keep the order of training, people get their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.checkpoints import Checkpoint, Description
from msdet.errors import InputError
from msdet.inference.guidance import checked_directions, guide, missed
from msdet.inference.separator import Separator
from msdet.models.msdet import MSDET

Describe = Callable[..., Description]
Make = Callable[..., MSDET]
RATE = 8000


@pytest.fixture(scope="module")
def described(make_model: Make, describe: Describe) -> Describe:
    def made(slots: int = 2, changes: dict[str, Any] | None = None, **kind: Any) -> Description:
        model = make_model(slots=slots, **kind)
        stored = describe(model, empty_slots=model.empty_slots, **changes or {})
        return Description.model_validate(stored.model_dump(mode="json"))

    return made


@pytest.mark.parametrize(
    ("assignment", "asked", "slots"),
    [
        ("azimuth", [200.0, 40.0], (1, 0)),
        ("azimuth", [350.0, 10.0], (1, 0)),
        ("cyclic", [350.0, 10.0], (0, 1)),  # the largest empty arc ends at 350
        ("cyclic", [10.0, 350.0], (1, 0)),
    ],
)
def test_all_slots_asked_for_are_in_the_order_of_training(
    described: Describe, assignment: str, asked: list[float], slots: tuple[int, ...]
) -> None:
    guidance = guide(np.array(asked), None, described(changes={"assignment": assignment}))
    assert guidance.slots == slots
    assert (guidance.estimate_of == -1).all()
    for direction, slot in zip(asked, slots, strict=True):
        assert float(guidance.azimuth[0, slot]) == direction


@pytest.mark.parametrize("assignment", ["azimuth", "cyclic"])
@pytest.mark.parametrize("asked", [38.0, 110.0, 210.0, 330.0])
def test_the_nearest_speaker_is_replaced_and_the_other_kept(
    described: Describe, assignment: str, asked: float
) -> None:
    own = [40.0, 200.0]
    guidance = guide(np.array([asked]), own, described(changes={"assignment": assignment}))
    (slot,) = guidance.slots
    kept = 1 if abs(asked - 40) < abs(asked - 200) or asked == 330 else 0
    assert guidance.estimate_of[0].tolist()[1 - slot] == kept
    assert guidance.estimate_of[0, slot] == -1
    there = [asked, own[kept]] if slot == 0 else [own[kept], asked]
    if assignment == "azimuth":
        assert there == sorted(there)
    else:
        assert (there[1] - there[0]) % 360 <= 180


def test_who_is_not_there_takes_the_slot_of_nobody(described: Describe) -> None:
    description = described(3, empty_slots=True)
    guidance = guide(np.array([300.0]), [40.0, 200.0, np.nan], description)
    assert guidance.slots == (2,)
    assert guidance.estimate_of[0].tolist() == [0, 1, -1]


def test_where_the_order_is_free_a_direction_stays_where_it_was_found(described: Describe) -> None:
    for assignment in ("pit", "distance"):
        description = described(changes={"assignment": assignment})
        guidance = guide(np.array([35.0, 190.0]), [200.0, 40.0], description)
        assert guidance.slots == (1, 0)


@pytest.mark.parametrize(
    ("azimuth", "changes", "says"),
    [
        (40, {"guidance": "none"}, "guidance=none"),
        ([1, 2, 3], {}, "3 directions"),
        ([], {}, "degrees"),
        ([np.nan], {}, "degrees"),
        ([10, 370], {}, "twice"),
        (200, {"array": "line4"}, "0 to 180"),
        (200, {"guidance": "oracle"}, "all 2"),
    ],
)
def test_what_cannot_be_asked(
    described: Describe, azimuth: Any, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        checked_directions(azimuth, described(**changes))


@pytest.fixture(autouse=True)
def everybody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of random weights put out noise that comes from anywhere."""
    monkeypatch.setattr("msdet.inference.window_network.PRESENT", 0.0)
    monkeypatch.setattr("msdet.inference.window_network.MISSED_DEGREES", 181.0)


def separator(make_model: Make, describe: Describe, **kind: Any) -> Separator:
    model = make_model(**kind).eval()
    return Separator(Checkpoint(Path("model.ckpt"), model, describe(model)))


def test_the_asked_order_comes_out(
    make_model: Make, describe: Describe, recording: NDArray[np.float32]
) -> None:
    model = separator(make_model, describe)
    one, other = (model.separate(recording, RATE, azimuth=a) for a in ([200, 40], [40, 200]))
    np.testing.assert_array_equal(one.audio, other.audio[::-1])
    assert model.separate(recording, RATE, azimuth=40.0).audio.shape[0] == 1
    moved = model.separate(recording, RATE, azimuth=[200, 70])
    assert np.abs(moved.audio[1] - one.audio[1]).max() > 1e-5


def test_no_more_are_asked_for_than_there_were_in_training(described: Describe) -> None:
    spare = described(3, {"config": {"scene": {"num_speakers": [2, 2]}}})
    with pytest.raises(InputError, match="3 directions, but the model separates 2 speakers"):
        checked_directions([10.0, 100.0, 200.0], spare)
    assert checked_directions([10.0, 100.0, 200.0], described(3)).tolist() == [10.0, 100.0, 200.0]


def test_a_network_that_needs_directions_separates_where_they_are_given(
    make_model: Make, describe: Describe, recording: NDArray[np.float32]
) -> None:
    model = separator(make_model, describe, guidance="oracle")
    with pytest.raises(InputError, match="azimuth"):
        model.separate(recording, RATE)
    assert model.separate(recording, RATE, azimuth=[40, 200]).audio.shape[0] == 2


def test_own_estimates_guide_the_slots_that_are_told_so(make_model: Make) -> None:
    model = make_model().eval()
    mixture = torch.randn(1, 4, 4000, generator=torch.Generator().manual_seed(0))
    own = model(mixture)
    nothing = torch.full((1, 2), torch.nan)
    same = model(mixture, azimuth=nothing, estimate_of=torch.tensor([[0, 1]]))
    torch.testing.assert_close(same.audio, own.audio)
    swapped = model(mixture, azimuth=nothing, estimate_of=torch.tensor([[1, 0]]))
    assert (swapped.audio - own.audio).abs().max() > 1e-5


def test_who_was_not_found_is_said() -> None:
    assert missed(np.array([355.0, 90.0]), [0, 1]) == []
    (said,) = missed(np.array([40.0, 300.0]), [1])
    assert said.startswith("asked for 40 degrees: nobody was found")


def test_as_many_as_in_training_take_every_slot(described: Describe) -> None:
    """Else a slot that found a voice elsewhere would keep it from who asked for its direction."""
    spare = described(3, {"config": {"scene": {"num_speakers": [2, 2]}}}, empty_slots=True)
    guidance = guide(np.array([100.0, 300.0]), [101.0, 190.0, np.nan], spare)
    assert sorted(guidance.azimuth[0].tolist())[:2] == [100.0, 300.0]
    assert (guidance.estimate_of == -1).all()
