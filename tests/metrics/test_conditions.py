# SPDX-License-Identifier: Apache-2.0
"""Conditions: every speaker in one group of each, and names that cannot be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics.conditions import (
    DEFAULT_CONDITIONS,
    LABELS,
    check_conditions,
    groups_of,
)
from msdet.metrics.scores import SceneLabels, SceneRow
from msdet.metrics.summary import summarise

MakeRow = Callable[..., SceneRow]
Groups = list[tuple[str, NDArray[np.bool_]]]


def names(groups: Groups) -> list[str]:
    return [name for name, chosen in groups if chosen.any()]


def members(groups: Groups) -> dict[str, list[int]]:
    """The scenes of each group that has any."""
    return {
        name: np.unique(chosen.nonzero()[0]).tolist() for name, chosen in groups if chosen.any()
    }


def test_labels_with_limits_of_their_own(make_row: MakeRow) -> None:
    rows = [
        make_row(
            i,
            scene_labels={"overlap": overlap, "snr_db": snr},
            speaker_labels={"drr_db": (drr, -drr), "sir_db": (sir, -sir)},
        )
        for i, (overlap, snr, drr, sir) in enumerate(
            [(0.0, -3.0, 3.0, 1.0), (1.0, 30.0, 7.0, 4.0), (0.5, None, 20.0, 6.0)]
        )
    ]
    found = groups_of(rows, ["overlap", "snr", "drr", "sir"])
    assert members(found["overlap"]) == {
        "0 to 25 % overlap": [0],
        "50 to 75 % overlap": [2],
        "75 to 100 % overlap": [1],
    }
    assert members(found["snr"]) == {"under 0 dB SNR": [0], "30 dB SNR or more": [1]}
    # A speaker counts where it stands itself: two groups of each scene.
    assert members(found["drr"]) == {
        "under -5 dB DRR": [1, 2],
        "-5 to 0 dB DRR": [0],
        "0 to 5 dB DRR": [0],
        "5 to 10 dB DRR": [1],
        "10 dB DRR or more": [2],
    }
    slightly_below = dict(found["sir"])["-2.5 to 0 dB SIR"]
    assert np.argwhere(slightly_below).tolist() == [[0, 1]]


def test_words_are_groups_of_their_own(make_row: MakeRow) -> None:
    kinds = ["babble", "none", None, "babble"]
    rows = [make_row(i, scene_labels={"background": kind}) for i, kind in enumerate(kinds)]
    found = groups_of(rows, ["background", "array"])
    assert members(found["background"]) == {"background: babble": [0, 3], "background: none": [1]}
    assert "array" not in found


def test_other_numbers_come_in_thirds(make_row: MakeRow) -> None:
    rows = [make_row(i, scene_labels={"room_volume_m3": float(i)}) for i in range(31)]
    found = members(groups_of(rows, ["room_volume_m3"])["room_volume_m3"])
    assert list(found) == [
        "room_volume_m3: 0 to 10",
        "room_volume_m3: 10 to 20",
        "room_volume_m3: 20 to 30",
    ]
    assert [len(scenes) for scenes in found.values()] == [10, 10, 11]


def test_few_numbers_are_groups_of_their_own(make_row: MakeRow) -> None:
    rows = [make_row(i, speaker_labels={"elevation": (0.0, 20.0 if i else None)}) for i in range(4)]
    found = groups_of(rows, ["elevation"])["elevation"]
    assert names(found) == ["elevation: 0", "elevation: 20"]
    assert int(found[1][1].sum()) == 3


@given(
    values=st.lists(st.floats(-1e3, 1e3) | st.none(), min_size=1, max_size=30),
    azimuths=st.lists(
        st.tuples(st.floats(0, 359.9), st.floats(0, 359.9)), min_size=30, max_size=30
    ),
)
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_speaker_whose_label_is_known_is_in_one_group(
    make_row: MakeRow, values: list[float | None], azimuths: list[tuple[float, float]]
) -> None:
    rows = [
        make_row(i, azimuth=azimuths[i], t60=None if v is None else abs(v)).model_copy(
            update={
                "labels": SceneLabels(
                    scene={"t60": None if v is None else abs(v), "snr_db": v, "depth": v},
                    speaker={"sir_db": (v, None)},
                )
            }
        )
        for i, v in enumerate(values)
    ]
    known = np.array([[v is not None] * 2 for v in values])
    found = groups_of(rows, ["t60", "snr", "depth", "sir", "angle", "seam", "opposition"])
    for name, groups in found.items():
        total = np.sum([chosen for _, chosen in groups], axis=0)
        wanted = known if name in ("t60", "snr", "depth") else np.ones_like(known)
        if name == "sir":
            wanted = known & np.array([True, False])
        np.testing.assert_array_equal(total, wanted.astype(int), err_msg=name)
    assert {"angle", "seam", "opposition"} <= found.keys()
    assert ("t60" in found) == known.any()


def test_what_no_row_knows_has_no_breakdown(make_row: MakeRow) -> None:
    """As in the validation of a training, whose rows know distances alone."""
    rows = [
        make_row(i).model_copy(
            update={"labels": SceneLabels(scene={}, speaker={"distance": (1.0, 2.0)})}
        )
        for i in range(3)
    ]
    wanted = {"num_speakers", "angle", "seam", "opposition", "distance"}
    assert summarise(rows)["breakdowns"].keys() == wanted
    assert "room_volume_m3" not in summarise(rows, conditions=["room_volume_m3"])["breakdowns"]


def test_breakdowns_come_as_asked(make_row: MakeRow) -> None:
    rows = [make_row(i, scene_labels={"mood": "good" if i else "bad"}) for i in range(3)]
    found = summarise(rows, conditions=["mood", "t60"])["breakdowns"]
    assert list(found) == ["mood", "t60"]
    assert [entry["num_scenes"] for entry in found["mood"]] == [1, 2]


def test_an_unknown_condition_is_named_with_the_choices(make_row: MakeRow) -> None:
    check_conditions(DEFAULT_CONDITIONS)
    check_conditions(["room_volume_m3", "sensor_snr_db"])
    with pytest.raises(InputError, match=r"'snr_db' is none of num_speakers, angle, .*elevation"):
        check_conditions(["angle", "snr_db"], LABELS)
    with pytest.raises(InputError, match="'mood' is none of"):
        summarise([make_row(0)], conditions=["mood"])


def test_an_array_that_is_a_line_has_no_seam_even_if_asked(make_row: MakeRow) -> None:
    assert groups_of([make_row(0)], ["seam", "opposition"], linear_array=True) == {}
