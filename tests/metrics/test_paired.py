# SPDX-License-Identifier: Apache-2.0
"""Two systems on the same scenes: numbers by hand, and what can be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from msdet.metrics import compare_systems, score_table
from msdet.metrics.scores import SceneRow
from msdet.metrics.summary import summarise

MakeRow = Callable[..., SceneRow]


def compared(rows: Sequence[SceneRow], reference: Sequence[SceneRow]) -> dict[str, dict[str, Any]]:
    both = [
        row.model_copy(
            update={"systems": {"mine": row.systems["model"], "theirs": other.systems["model"]}}
        )
        for row, other in zip(rows, reference, strict=True)
    ]
    found = compare_systems(score_table(both), "mine", "theirs")
    return {entry["measure"]: entry for entry in found}


def test_numbers_by_hand(make_row: MakeRow) -> None:
    mine = [
        make_row(0, improvement=(6.0, 6.0), error=(1.0, 3.0), scores={"wer": 0.1}),
        make_row(1, improvement=(4.0, 2.0), error=(9.0, 9.0), scores={"wer": 0.5}),
        make_row(2, improvement=(5.0, 5.0), error=(2.0, 2.0), scores={"wer": 0.5}, wrong=True),
    ]
    theirs = [
        make_row(0, improvement=(5.0, 4.0), error=(2.0, 4.0), scores={"wer": 0.3}),
        make_row(1, improvement=(4.0, 4.0), error=(8.0, 11.0), scores={"wer": 0.5}),
        make_row(2, improvement=(5.0, 5.0), error=(3.0, 2.0), scores={"wer": 0.2, "sdr": 1.0}),
    ]
    found = compared(mine, theirs)
    gain = found["si_sdr_improvement_db"]
    assert gain["difference"] == pytest.approx((1.5 - 1.0 + 0.0) / 3, abs=1e-6)
    assert gain["won_share"] == pytest.approx(1.5 / 3)
    assert gain["low"] <= gain["difference"] <= gain["high"]
    assert gain["scenes"] == 3
    # Of errors, less wins.
    assert found["azimuth_error_mean_deg"]["difference"] == pytest.approx(-2 / 3, abs=1e-6)
    assert found["azimuth_error_mean_deg"]["won_share"] == 1.0
    assert found["wer"]["difference"] == pytest.approx((-0.2 + 0.3) / 3, abs=1e-6)
    assert found["wer"]["won_share"] == pytest.approx(0.5)
    assert found["wrong_slot_rate"]["won_share"] == pytest.approx(1 / 3)
    assert found["order_accuracy"]["won_share"] == 0.5
    assert "sdr_db" not in found


def test_a_difference_is_that_of_the_summaries_and_turns_with_the_systems(
    make_row: MakeRow,
) -> None:
    rng = np.random.default_rng(0)

    def rows(gain: float) -> list[SceneRow]:
        return [
            make_row(
                i,
                improvement=rng.normal(gain, 2, 2).tolist(),
                error=rng.exponential(6, 2).tolist(),
                scores={"sdr": float(rng.normal(8, 1)), "estoi": float(rng.uniform(0, 1))},
            )
            for i in range(40)
        ]

    mine, theirs = rows(6.0), rows(5.0)
    forth, back = compared(mine, theirs), compared(theirs, mine)
    summaries = [summarise(of_system) for of_system in (mine, theirs)]
    assert {"sdr_db", "estoi", "azimuth_within_10deg"} <= forth.keys() == back.keys()
    assert "si_sdr_db" not in forth  # the same as of the improvement
    for name, entry in forth.items():
        wanted = summaries[0][name] - summaries[1][name]
        assert entry["difference"] == pytest.approx(wanted, abs=2e-6), name
        assert back[name]["difference"] == pytest.approx(-wanted, abs=2e-6)
        assert back[name]["won_share"] == pytest.approx(1 - entry["won_share"])
        assert (back[name]["low"], back[name]["high"]) == pytest.approx(
            (-entry["high"], -entry["low"]), abs=1e-5
        )


def test_directions_alone_are_compared_best_matched(make_row: MakeRow) -> None:
    alone = [make_row(i, separates=False, error=(2.0, None)) for i in range(3)]
    model = [make_row(i, error=(2.0, 8.0)) for i in range(3)]
    found = compared(alone, model)
    assert all(name.endswith("_best_matched") for name in found)
    assert found["azimuth_error_mean_deg_best_matched"]["difference"] == 86.0  # a miss is 180
    assert found["azimuth_within_10deg_best_matched"]["won_share"] == 0.0


def test_one_scene_has_no_interval(make_row: MakeRow) -> None:
    entry = compared([make_row(0)], [make_row(0)])["si_sdr_improvement_db"]
    assert entry["low"] is entry["high"] is None
    assert entry["won_share"] == 0.5
