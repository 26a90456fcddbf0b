# SPDX-License-Identifier: Apache-2.0
"""Summaries: numbers that can be checked by hand, intervals, breakdowns, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from msdet.evaluation.tables import clipping_warnings, result_tables, systems_table
from msdet.metrics.bootstrap import interval, weighted_median
from msdet.metrics.measures import MEASURES
from msdet.metrics.scores import Failure, SceneRow
from msdet.metrics.signals.error_parts import PARTS
from msdet.metrics.summary import summarise
from msdet.metrics.table import arrays_of, score_table

MakeRow = Callable[..., SceneRow]


@pytest.fixture
def three(make_row: MakeRow) -> list[SceneRow]:
    return [
        make_row(0, improvement=(4.0, 6.0), error=(1.0, 3.0)),
        make_row(1, improvement=(2.0, 2.0), error=(6.0, 12.0), order_correct=False),
        make_row(2, improvement=(8.0, 10.0), error=(90.0, 90.0), wrong=True, ambiguous=True),
    ]


def test_numbers_by_hand(three: list[SceneRow]) -> None:
    found = summarise(three)
    assert found["num_scenes"] == 3
    assert found["num_speakers"] == 6
    assert found["si_sdr_improvement_db"] == pytest.approx((5 + 2 + 9) / 3)
    assert found["si_sdr_unprocessed_db"] == 0.0
    assert found["azimuth_error_mean_deg"] == pytest.approx((2 + 9 + 90) / 3)
    assert found["azimuth_error_median_deg"] == pytest.approx((6 + 12) / 2)
    assert found["azimuth_within_5deg"] == pytest.approx(2 / 6)
    assert found["azimuth_within_10deg"] == pytest.approx(3 / 6)
    assert found["azimuth_within_15deg"] == pytest.approx(4 / 6)
    assert found["wrong_slot_rate"] == pytest.approx(1 / 3)
    assert found["wrong_slot_rate_unambiguous"] == 0.0
    assert found["ambiguous_share"] == pytest.approx(1 / 3)
    assert found["order_accuracy"] == pytest.approx(2 / 3)
    assert found["pesq_nb"] is None


def test_the_mean_is_over_speakers_then_scenes(make_row: MakeRow) -> None:
    many = {"error": (0.0,) * 3, "azimuth": (0.0, 90.0, 200.0), "distance": (1.0,) * 3}
    rows = [
        make_row(0, improvement=(0.0, 0.0)),
        make_row(1, improvement=(6.0, 6.0, 6.0), **many),
    ]
    assert summarise(rows)["si_sdr_improvement_db"] == pytest.approx(3.0)


def test_silent_targets_are_counted_and_left_out(make_row: MakeRow) -> None:
    rows = [make_row(0, improvement=(4.0, 100.0), silent=(1,)), make_row(1, improvement=(6.0, 6.0))]
    found = summarise(rows)
    assert found["si_sdr_improvement_db"] == pytest.approx(5.0)
    assert found["num_speakers"] == 3
    assert found["num_silent_targets"] == 1
    assert found["attenuation_db"] == 30.0


def test_without_doa_and_order_there_are_nulls_and_all_names(
    make_row: MakeRow, three: list[SceneRow]
) -> None:
    rows = [make_row(i, error=(None, None), order_correct=None) for i in range(3)]
    found = summarise(rows)
    for name in ("azimuth_error_median_deg", "azimuth_within_10deg_best_matched"):
        assert found[name] is None
        assert name not in found["intervals"]
    assert found["wrong_slot_rate"] is None
    assert found["order_accuracy"] is None
    assert found.keys() == summarise(three).keys()


def test_failures_are_counted_with_their_reasons(make_row: MakeRow) -> None:
    failures = [
        Failure("si_sdr", "estimate", 0, "all zeros"),
        Failure("pesq_nb", "estimate", 0, "no utterances"),
        Failure("pesq_nb", "unprocessed", 0, "no utterances"),
    ]
    rows = [make_row(0, improvement=(None, 4.0), failures=failures), make_row(1)]
    found = summarise(rows)
    assert found["failures"] == {
        "pesq_nb": {"estimate": 1, "unprocessed": 1, "reasons": {"no utterances": 2}},
        "si_sdr": {"estimate": 1, "unprocessed": 0, "reasons": {"all zeros": 1}},
    }
    assert found["si_sdr_improvement_db"] == pytest.approx(4.5)


def test_the_interval_covers_the_mean_and_is_as_wide_as_theory_says(make_row: MakeRow) -> None:
    rng = np.random.default_rng(3)
    gains = rng.normal(5.0, 2.0, size=400)
    rows = [make_row(i, improvement=(g, g)) for i, g in enumerate(gains)]
    found = summarise(rows)
    low, high = found["intervals"]["si_sdr_improvement_db"]
    assert low < found["si_sdr_improvement_db"] < high
    assert high - low == pytest.approx(2 * 1.96 * gains.std() / np.sqrt(400), rel=0.1)
    low, high = found["intervals"]["azimuth_error_median_deg"]
    assert low <= found["azimuth_error_median_deg"] <= high


def test_the_median_of_a_resample_is_the_median_of_its_speakers(three: list[SceneRow]) -> None:
    """Each weighted median of the bootstrap, against numpy on the repeated speakers."""
    weights = np.random.default_rng(0).multinomial(3, [1 / 3] * 3, size=30).astype(float)
    errors = arrays_of(score_table(three), "model")["azimuth_error"]
    found = weighted_median(errors, weights)
    for value, counts in zip(found, weights, strict=True):
        repeated = np.repeat(errors, counts.astype(int), axis=0)
        assert value == pytest.approx(np.median(repeated))


def test_the_same_rows_and_seed_give_the_same_intervals(make_row: MakeRow) -> None:
    gains = np.random.default_rng(5).normal(5.0, 2.0, size=50)
    rows = [make_row(i, improvement=(gain, gain + 1)) for i, gain in enumerate(gains)]
    assert summarise(rows) == summarise(rows)
    assert summarise(rows)["intervals"] != summarise(rows, seed=1)["intervals"]


def test_intervals_are_those_that_a_study_of_one_network_has(make_row: MakeRow) -> None:
    """One bootstrap for both."""
    gains = np.random.default_rng(6).normal(5.0, 2.0, size=(40, 2))
    rows = [make_row(i, improvement=pair) for i, pair in enumerate(gains)]
    found = interval(gains[None], MEASURES["si_sdr_improvement_db"])
    summary = summarise(rows)
    assert summary["si_sdr_improvement_db"] == pytest.approx(found.value, abs=1e-6)
    assert summary["intervals"]["si_sdr_improvement_db"] == pytest.approx(
        [found.low, found.high], abs=1e-6
    )


def test_one_scene_has_no_interval(make_row: MakeRow) -> None:
    assert summarise([make_row(0)])["intervals"] == {}


def test_breakdowns_put_each_scene_where_it_belongs(make_row: MakeRow) -> None:
    rows = [
        make_row(0, azimuth=(350.0, 20.0), improvement=(1.0, 1.0)),  # 30 deg, on the seam
        make_row(1, azimuth=(90.0, 260.0), improvement=(3.0, 3.0)),  # 170 deg: opposite
        make_row(2, azimuth=(90.0, 110.0), improvement=(5.0, 7.0), distance=(0.8, 2.5), t60=0.35),
    ]
    found = summarise(rows)["breakdowns"]

    def gains(name: str) -> dict[str, tuple[int, float]]:
        return {e["group"]: (e["num_scenes"], e["si_sdr_improvement_db"]) for e in found[name]}

    assert gains("angle") == {
        "15 to 30 deg apart": (1, 6.0),
        "30 to 60 deg apart": (1, 1.0),
        "90 to 180 deg apart": (1, 3.0),
    }
    assert gains("seam") == {
        "seam within 15 deg": (1, 1.0),
        "seam further away": (2, 4.5),
    }
    assert gains("opposition") == {
        "over 165 deg apart": (1, 3.0),
        "up to 165 deg apart": (2, 3.5),
    }
    assert gains("t60") == {"0.2 to 0.3 s T60": (2, 2.0), "0.3 to 0.4 s T60": (1, 6.0)}
    # A speaker counts where it stands itself, not where its scene does.
    assert gains("distance")["0 to 1 m away"] == (1, 5.0)
    assert gains("distance")["2 to 3 m away"] == (3, round((1 + 3 + 7) / 3, 6))


def test_a_linear_array_has_no_seam(three: list[SceneRow]) -> None:
    found = summarise(three, linear_array=True)["breakdowns"]
    assert "seam" not in found
    assert "opposition" not in found


def test_a_summary_is_json_without_nan(three: list[SceneRow], make_row: MakeRow) -> None:
    rows = [*three, make_row(3, improvement=(None, None), t60=None)]
    assert json.loads(json.dumps(summarise(rows), allow_nan=False))["num_scenes"] == 4


def printed(*tables: Table) -> str:
    console = Console(width=80, file=StringIO())
    for table in tables:
        console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_tables_fit_a_terminal_and_show_what_failed(make_row: MakeRow) -> None:
    failures = [Failure("pesq_nb", "estimate", 0, "no utterances")]
    more = {f"error_{part}{of}": -12.5 for part in PARTS for of in ("", "_improvement")}
    more |= {"si_sdr_early": 7.0, "si_sdr_early_improvement": 6.0}
    rows = [make_row(0, failures=failures), make_row(1, silent=(1,)), make_row(2)]
    rows += [make_row(3, scores=more), make_row(4, scores=more)]
    text = printed(*result_tables(summarise(rows, unavailable={"estoi": "no module"})))
    for expected in (
        "SI-SDR",
        "pesq_nb 1",
        "estoi is not installed",
        "1 silent",
        "within 10 degrees",
        "target to what varies, dB",
    ):
        assert expected in text
    assert "SIR" not in text
    assert "…" not in text


def test_a_system_of_directions_alone_has_no_table_of_separation(make_row: MakeRow) -> None:
    rows = [make_row(i, separates=False, azimuth=(10.0, 30.0 + 60 * i)) for i in range(3)]
    text = printed(*result_tables(summarise(rows)))
    assert "Separation" not in text
    assert "Direction of arrival" in text
    assert "best matched" in text


def test_systems_side_by_side_with_blanks_for_what_does_not_apply(make_row: MakeRow) -> None:
    more = {"sdr": 9.0, "estoi": 0.71, "pesq_wb": 1.9, "si_sdr_early_improvement": 6.0}
    summaries = {
        "model": summarise([make_row(i, improvement=(i, i + 1), scores=more) for i in range(9)]),
        "srp_phat": summarise([make_row(i, separates=False) for i in range(9)]),
        "delay_and_sum": summarise([make_row(i, error=(None, None)) for i in range(9)]),
    }
    text = printed(systems_table(summaries))
    assert "…" not in text
    for expected in ("model", "4.5", "0.71", "100 %"):
        assert expected in text
    (srp,) = (line for line in text.splitlines() if "srp_phat" in line)
    assert srp.split() == ["srp_phat", "3.0", "100", "%"]
    assert "PESQ" not in printed(systems_table({"srp_phat": summaries["srp_phat"]}))


def test_systems_side_by_side_count_what_was_not_scored(make_row: MakeRow) -> None:
    more = {"sdr": 9.0, "estoi": 0.71, "pesq_wb": 1.9}
    failures = [Failure("pesq_wb", "estimate", 0, "no utterances")]
    whole = summarise([make_row(i, scores=more) for i in range(3)])
    failed = summarise([make_row(i, scores=more, failures=failures) for i in range(3)])
    assert (whole["not_scored"], failed["not_scored"]) == (0, 3)
    text = printed(systems_table({"whole": whole, "oracle_mvdr": failed}))
    assert "values not scored: 3 of oracle_mvdr" in " ".join(text.split())
    assert "…" not in text
    assert "scored" not in printed(systems_table({"whole": whole}))


def test_a_warning_of_many_clipped_files_is_short() -> None:
    many = {f"scene-{i:04d}/speaker1.wav": i + 1 for i in range(400)}
    one, other = clipping_warnings({"mine": many, "theirs": {"a/speaker2.wav": 3}})
    assert one.startswith("mine: 400 files have samples at full scale")
    assert "scene-0000/speaker1.wav (1)" in one
    assert "and 395 more" in one
    assert len(one) < 400
    assert "a/speaker2.wav (3); turn" in other


@pytest.mark.parametrize(("count", "few"), [(1, False), (9, True), (10, False)])
def test_intervals_of_few_scenes_come_with_a_warning(
    make_row: MakeRow, count: int, few: bool
) -> None:
    for separates in (True, False):
        rows = [make_row(i, separates=separates) for i in range(count)]
        text = " ".join(printed(*result_tables(summarise(rows))).split())
        assert (f"only {count} scenes are too narrow" in text) is few


def test_breakdowns_count_speakers_and_scenes(make_row: MakeRow) -> None:
    rows = [make_row(i, distance=(0.5, 2.5)) for i in range(4)]
    text = printed(*result_tables(summarise(rows)))
    (near,) = (line for line in text.splitlines() if "0 to 1 m away" in line)
    assert near.split()[5:7] == ["4", "4"]
    assert "groups speakers" in " ".join(text.split())
    assert "…" not in text


def test_a_speaker_whom_no_slot_claims_counts_as_180_degrees_off(
    make_row: Callable[..., SceneRow],
) -> None:
    """A network that says "nobody" wherever it is unsure must not look the better for it."""
    rows = [
        *(make_row(i, error=(2.0, 2.0), claimed=2) for i in range(4)),
        *(make_row(4 + i, error=(2.0, None), claimed=1) for i in range(4)),
    ]
    found = summarise(rows)
    assert found["speaker_count_confusion"] == {"2": {"1": 4, "2": 4}}
    for part in ("", "_best_matched"):
        assert found[f"azimuth_error_mean_deg{part}"] == pytest.approx((2 + (2 + 180) / 2) / 2)
        assert found[f"azimuth_within_10deg{part}"] == pytest.approx(0.75)
    assert found["speaker_count_accuracy"] == 0.5


# --- systems that find directions alone ---------------------------------------------------


def test_a_direction_that_was_not_found_is_a_miss(make_row: MakeRow) -> None:
    rows = [make_row(i, separates=False, error=(4.0, None)) for i in range(2)]
    rows.append(make_row(2, separates=False, error=(2.0, 6.0)))
    found = summarise(rows)
    assert found["azimuth_error_mean_deg_best_matched"] == pytest.approx((92 + 92 + 4) / 3)
    assert found["azimuth_within_5deg_best_matched"] == pytest.approx(0.5)
    for name in ("azimuth_error_mean_deg", "wrong_slot_rate", "order_accuracy", "si_sdr_db"):
        assert found[name] is None
    assert found["num_speakers"] == 6
    assert found["breakdowns"]["angle"][0]["azimuth_error_median_deg_best_matched"] == 5.0


def test_silent_speakers_are_no_misses(make_row: MakeRow) -> None:
    found = summarise([make_row(i, silent=(1,), claimed=1) for i in range(2)])
    assert found["azimuth_error_mean_deg_best_matched"] == 3.0
    assert found["speaker_count_confusion"] == {"1": {"1": 2}}


def test_the_count_of_speakers_is_null_for_a_system_that_cannot_say(three: list[SceneRow]) -> None:
    found = summarise(three)
    assert found["speaker_count_accuracy"] is found["speaker_count_confusion"] is None


def test_every_metric_has_its_three_keys(make_row: MakeRow) -> None:
    scores = {"wer": 0.25, "wer_unprocessed": 0.75, "wer_improvement": 0.5, "sir": 12.0}
    found = summarise([make_row(i, scores=scores) for i in range(2)])
    assert (found["wer"], found["wer_unprocessed"], found["wer_improvement"]) == (0.25, 0.75, 0.5)
    assert found["sir_db"] == 12.0
    assert found["dnsmos"] is found["pesq_wb_improvement"] is None
