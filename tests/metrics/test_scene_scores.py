# SPDX-License-Identifier: Apache-2.0
"""Scores of a scene: values against formulas, matchings, silence, and what cannot be scored."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from msdet.metrics import Claims, Metric, SceneScore, SceneTruth, score_scene
from msdet.metrics import scene as scene_module
from msdet.metrics.matching import match
from msdet.metrics.measures import METRICS
from msdet.metrics.metric import Signal
from msdet.metrics.signals.si_sdr import SiSdr

SAMPLE_RATE = 8000

FAST = ("si_sdr",)
PARTS = ("", "_unprocessed", "_improvement")


def score(
    estimates: NDArray[np.float64] | None,
    targets: NDArray[np.float64],
    azimuth_estimate: list[float] | None,
    azimuth_truth: list[float],
    **options: object,
) -> SceneScore:
    claims = {name: options.pop(name) for name in ("distance", "empty") if name in options}
    names = options.pop("metrics", FAST)
    truth = options.pop("truth", None) or SceneTruth(
        targets,
        targets.sum(axis=0),
        SAMPLE_RATE,
        azimuth_truth,
        options.pop("distance_truth", None),  # type: ignore[arg-type]
    )
    return score_scene(
        estimates,
        truth,  # type: ignore[arg-type]
        Claims(azimuth=azimuth_estimate, **claims),  # type: ignore[arg-type]
        metrics=[METRICS[name] for name in names],  # type: ignore[attr-defined]
        **options,  # type: ignore[arg-type]
    )


def plain_si_sdr(estimate: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    scaled = (estimate @ target) / (target @ target) * target
    error = estimate - scaled
    return float(10 * np.log10((scaled @ scaled) / (error @ error)))


# --- values -------------------------------------------------------------------------------


def test_improvement_is_over_the_reference_microphone(speech: NDArray[np.float64]) -> None:
    targets = speech[:2]
    estimates = targets + 0.1 * speech[2]
    found = score(estimates, targets, None, [10, 100])
    for speaker in found.speakers:
        before = plain_si_sdr(targets.sum(axis=0), targets[speaker.speaker])
        after = plain_si_sdr(estimates[speaker.speaker], targets[speaker.speaker])
        assert speaker.scores["si_sdr_unprocessed"] == pytest.approx(before, abs=1e-5)
        assert speaker.scores["si_sdr_improvement"] == pytest.approx(after - before, abs=1e-5)


def test_importing_the_module_is_cheap() -> None:
    """Worker processes import it before they know whether they need torch."""
    code = (
        "import sys, msdet.metrics, msdet.evaluation.exports;"
        "heavy = ('torch', 'torchmetrics', 'pesq', 'pystoi', 'fast_bss_eval', 'onnxruntime',"
        " 'matplotlib', 'scipy', 'rich', 'pandas', 'lightning', 'pyroomacoustics');"
        "print([m for m in heavy if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- matching -----------------------------------------------------------------------------


@given(
    st.integers(1, 4).flatmap(
        lambda speakers: st.integers(speakers, 4).flatmap(
            lambda slots: st.lists(
                st.lists(st.floats(-50, 50), min_size=speakers, max_size=speakers),
                min_size=slots,
                max_size=slots,
            )
        )
    )
)
@settings(deadline=None, max_examples=60)
def test_matching_and_its_margin_are_those_of_brute_force(rows: list[list[float]]) -> None:
    cost = np.array(rows)
    slots, speakers = cost.shape
    totals = sorted(
        np.mean([cost[slot, speaker] for speaker, slot in enumerate(chosen)])
        for chosen in permutations(range(slots), speakers)
    )
    speaker_of_slot, margin = match(cost)
    assert sorted(s for s in speaker_of_slot if s is not None) == list(range(speakers))
    mean = np.mean([cost[slot, s] for slot, s in enumerate(speaker_of_slot) if s is not None])
    assert mean == pytest.approx(totals[0])
    if len(totals) > 1:
        assert margin == pytest.approx(totals[1] - totals[0], abs=1e-9)
    else:
        assert margin is None


def test_permuting_the_slots_changes_only_what_is_about_slots(
    speech: NDArray[np.float64],
) -> None:
    estimates = speech + 0.2 * np.roll(speech, 1, axis=0)
    claimed, truth = [12.0, 95.0, 230.0], [10.0, 100.0, 220.0]
    straight = score(estimates, speech, claimed, truth, order=[0, 1, 2])
    turned = [2, 0, 1]
    permuted = score(
        estimates[turned], speech, [claimed[i] for i in turned], truth, order=[0, 1, 2]
    )
    assert straight.order_correct is True
    assert permuted.order_correct is False
    assert permuted.speaker_of_slot == (2, 0, 1)
    about_slots = {"slot"}
    for one, other in zip(straight.speakers, permuted.speakers, strict=True):
        a, b = asdict(one), asdict(other)
        assert {k: a[k] for k in a.keys() - about_slots} == {
            k: b[k] for k in b.keys() - about_slots
        }
    assert straight.wrong_slot == permuted.wrong_slot == (False,) * 3


def test_a_direction_in_the_wrong_slot_is_counted_as_claimed(speech: NDArray[np.float64]) -> None:
    found = score(speech[:2] + 0.1 * speech[2], speech[:2], [100.0, 10.0], [10.0, 100.0])
    assert found.speaker_of_slot == (0, 1)
    assert found.speaker_of_slot_by_azimuth == (1, 0)
    assert found.wrong_slot == (True, True)
    assert [s.azimuth_error for s in found.speakers] == [90.0, 90.0]
    assert [s.azimuth_error_best_matched for s in found.speakers] == [0.0, 0.0]


def test_azimuth_errors_wrap_at_zero(speech: NDArray[np.float64]) -> None:
    found = score(speech[:2] + 0.1 * speech[2], speech[:2], [1.0, 181.0], [359.0, 180.0])
    assert [s.azimuth_error for s in found.speakers] == [2.0, 1.0]
    assert found.wrong_slot == (False, False)


@pytest.mark.parametrize(
    ("leak", "claimed", "ambiguous"),
    [(0.1, [10.0, 100.0], False), (0.98, [10.0, 100.0], True), (0.1, [55.0, 56.0], True)],
)
def test_scenes_in_which_either_matching_is_a_toss_up_are_marked(
    speech: NDArray[np.float64], leak: float, claimed: list[float], ambiguous: bool
) -> None:
    estimates = speech[:2] + leak * speech[1::-1]
    assert score(estimates, speech[:2], claimed, [10.0, 100.0]).ambiguous is ambiguous


def test_a_model_without_doa_has_nulls(speech: NDArray[np.float64]) -> None:
    found = score(speech[:2] + 0.1 * speech[2], speech[:2], None, [10.0, 100.0])
    assert found.speaker_of_slot_by_azimuth is None
    assert found.wrong_slot == (None, None)
    assert found.order_correct is None
    assert all(s.azimuth_error is s.azimuth_error_best_matched is None for s in found.speakers)
    assert not found.failures


def test_what_is_the_same_in_every_slot_says_nothing_about_which_is_whose(
    speech: NDArray[np.float64],
) -> None:
    targets = speech[:2]
    silence = np.zeros_like(targets)
    for same in (np.stack([targets.sum(axis=0)] * 2), silence):
        for claimed in (None, [100.0, 10.0]):
            found = score(same, targets, claimed, [10.0, 100.0], order=[1, 0])
            assert found.wrong_slot == (None, None)
            assert found.si_sdr_margin_db is found.ambiguous is found.order_correct is None


def test_a_silent_slot_holds_nobody_and_the_others_are_judged(
    speech: NDArray[np.float64],
) -> None:
    estimates = np.stack([np.zeros_like(speech[0]), speech[0] + 0.1 * speech[2]])
    found = score(estimates, speech[:2], [10.0, 100.0], [10.0, 100.0], order=[0, 1])
    assert found.speaker_of_slot == (1, 0)
    assert found.wrong_slot == (None, True)
    assert found.order_correct is None  # of one who is heard
    assert found.ambiguous is False


@pytest.mark.parametrize(("order", "right"), [([0, 1, 2], True), ([2, 1, 0], False)])
def test_the_order_is_that_of_who_is_heard(
    speech: NDArray[np.float64], order: list[int], right: bool
) -> None:
    """A speaker who was not found is in nobody's way, nor is a slot that is left over."""
    estimates = speech + 0.1 * np.roll(speech, 1, axis=0)
    assert score(estimates[[0, 2]], speech, None, [0, 1, 2], order=order).order_correct is right
    left_over = np.stack([estimates[0], speech[2], estimates[1]])
    found = score(left_over, speech[:2], None, [0, 1], order=[s for s in order if s < 2])
    assert found.order_correct is right


# --- silence and failures -----------------------------------------------------------------


def test_silent_targets_are_left_out_and_their_slots_attenuation_reported(
    speech: NDArray[np.float64],
) -> None:
    targets = np.stack([speech[0], np.zeros_like(speech[0]), speech[1]])
    estimates = np.stack([targets.sum(axis=0) / 100, *targets[[0, 2]]]) + 1e-3 * speech[2]
    found = score(estimates, targets, [50.0, 11.0, 99.0], [10.0, 50.0, 100.0], order=[1, 0, 2])
    assert [s.silent for s in found.speakers] == [False, True, False]
    assert found.speakers[1].scores == {}
    assert found.speaker_of_slot == (None, 0, 2)
    assert found.wrong_slot == (None, False, False)
    assert found.order_correct is True
    (attenuation,) = found.attenuation_db
    assert attenuation == pytest.approx(40.0, abs=1.0)
    assert not found.failures


def test_slots_beyond_the_speakers_count_as_silent(speech: NDArray[np.float64]) -> None:
    spare = np.stack([np.zeros_like(speech[0]), np.full_like(speech[0], np.inf)])
    estimates = np.vstack([speech[:2] + 0.1 * speech[2], spare])
    nan = float("nan")
    found = score(estimates, speech[:2], [10.0, 100.0, nan, nan], [10.0, 100.0], order=[0, 1])
    assert found.order_correct is True
    assert found.speaker_of_slot == (0, 1, None, None)
    assert found.attenuation_db == (scene_module.ATTENUATION_CEILING_DB, None)
    assert [(f.metric, f.speaker) for f in found.failures] == [("attenuation", None)]


def test_what_cannot_be_scored_is_told_with_its_reason(speech: NDArray[np.float64]) -> None:
    estimates = np.stack([speech[0] + 0.1 * speech[2], np.full_like(speech[1], np.nan)])
    found = score(estimates, speech[:2], [10.0, float("nan")], [10.0, 100.0])
    assert found.speakers[1].scores["si_sdr_improvement"] == 0.0
    assert found.speakers[1].azimuth_error is None
    assert found.speakers[0].scores["si_sdr"] is not None
    assert {(f.metric, f.signal, f.speaker) for f in found.failures} == {
        ("si_sdr", "estimate", 1),
        ("azimuth", "estimate", 1),
        ("azimuth_best_matched", "estimate", 1),
    }
    assert "NaN" in found.failures[0].reason
    json.dumps(asdict(found), allow_nan=False)


def test_silence_is_scored_as_the_mixture_so_that_giving_up_never_pays(
    speech: NDArray[np.float64],
) -> None:
    estimates = np.stack([speech[0] + 0.1 * speech[2], np.zeros_like(speech[1])])
    scores = score(estimates, speech[:2], None, [10.0, 100.0]).speakers[1].scores
    assert scores["si_sdr"] == scores["si_sdr_unprocessed"]
    assert scores["si_sdr_improvement"] == 0.0
    found = score(estimates, speech[:2], None, [10.0, 100.0])
    assert "zeros; scored as the mixture" in found.failures[0].reason


def test_pesq_without_an_utterance_says_so(speech: NDArray[np.float64]) -> None:
    pytest.importorskip("pesq")
    targets = speech[:2].copy()
    targets[1] = 0.0
    targets[1, :200] = np.random.default_rng(0).standard_normal(200)  # 25 ms, then silence
    found = score(targets + 0.1 * speech[2], targets, None, [10.0, 100.0], metrics=("pesq_nb",))
    reasons = [f.reason for f in found.failures if f.metric == "pesq_nb" and f.speaker == 1]
    assert reasons
    assert all("utterance" in reason.lower() for reason in reasons)


# --- what a caller may get wrong ----------------------------------------------------------


def test_signals_of_different_lengths_are_refused(speech: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="same number of samples"):
        score(speech[:2, :-1], speech[:2], None, [10.0, 100.0])


# --- numbers of speakers, distances -------------------------------------------------------


def test_speakers_beyond_the_outputs_are_silence_that_says_nobody(
    speech: NDArray[np.float64],
) -> None:
    """The same as silence that was put out for them; what was put out keeps its scores."""
    truth = [10.0, 100.0, 200.0]
    estimates, azimuth = speech[:2] + 0.1 * speech[1::-1], [10.0, 100.0]
    fewer = score(estimates, speech, azimuth, truth, empty=[False, False])
    silence = np.vstack([estimates, np.zeros_like(speech[:1])])
    full = score(silence, speech, [*azimuth, np.nan], truth, empty=[False, False, True])
    assert fewer == full
    assert fewer.speakers_claimed == 2
    missed = fewer.speakers[2].scores
    assert missed["si_sdr_improvement"] == 0.0
    assert missed["si_sdr"] == missed["si_sdr_unprocessed"]
    assert fewer.speakers[2].azimuth_error is None  # which summaries count as 180 degrees
    assert fewer.speakers[0].azimuth_error == 0.0
    assert not fewer.failures  # nobody was found: an answer, which is counted
    nothing = score(speech[:0], speech, [], truth, empty=[])
    assert nothing.speakers_claimed == 0
    assert [s.scores["si_sdr_improvement"] for s in nothing.speakers] == [0.0] * 3


def test_slots_that_claim_a_speaker_are_counted(speech: NDArray[np.float64]) -> None:
    estimates = np.concatenate([speech[:2], 1e-3 * speech[2:3]])
    claims = [10.0, 90.0, float("nan")]
    found = score(estimates, speech[:2], claims, [10.0, 90.0], empty=[False, False, True])
    assert found.speakers_claimed == 2
    assert found.speaker_of_slot == (0, 1, None)
    assert found.failures == ()
    assert found.attenuation_db[0] is not None
    assert found.attenuation_db[0] > 50
    assert score(estimates, speech[:2], claims, [10.0, 90.0]).speakers_claimed is None


def test_a_slot_that_claims_nobody_is_silence(speech: NDArray[np.float64]) -> None:
    """However well it fits; how loud it was all the same stands in its attenuation."""
    found = score(speech[:2], speech[:2], [10.0, float("nan")], [10.0, 90.0], empty=[False, True])
    assert found.speakers_claimed == 1
    assert found.speakers[1].azimuth_error is None
    assert found.speakers[1].scores["si_sdr_improvement"] == 0.0
    assert not found.failures
    alone = score(speech[:2], speech[:1], [10.0, float("nan")], [10.0], empty=[False, True])
    assert abs(alone.attenuation_db[0]) < 10


def test_distances_are_scored_under_the_separation_s_matching(speech: NDArray[np.float64]) -> None:
    found = score(
        speech[[1, 0]],
        speech[:2],
        [90.0, 10.0],
        [10.0, 90.0],
        distance=[2.0, 0.9],
        distance_truth=[1.0, 2.5],
    )
    assert [s.distance_estimate for s in found.speakers] == [0.9, 2.0]
    assert [s.distance_error for s in found.speakers] == pytest.approx([0.1, 0.5])
    plain = score(speech[:2], speech[:2], [10.0, 90.0], [10.0, 90.0])
    assert plain.speakers[0].distance_error is None


# --- what is computed, and for whom -------------------------------------------------------


def test_an_improvement_is_positive_where_the_estimate_is_better(
    speech: NDArray[np.float64],
) -> None:
    """Also of an error, of which less is better."""

    class Deviation(Metric):
        name, higher_is_better = "deviation", False

        def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
            return float(np.abs(signal - truth.targets[speaker]).max())

    truth = SceneTruth(speech[:2], speech[:2].sum(axis=0), SAMPLE_RATE)
    estimates = speech[:2] + 0.1 * speech[2]
    found = score_scene(estimates, truth, Claims(), metrics=(METRICS["si_sdr"], Deviation()))
    for speaker in found.speakers:
        for name, sign in (("si_sdr", 1), ("deviation", -1)):
            after, before, gain = (speaker.scores[f"{name}{part}"] for part in PARTS)
            assert after is not None
            assert before is not None
            assert gain is not None
            assert gain == pytest.approx(sign * (after - before), abs=2e-6)
            assert gain > 0


def test_only_the_metrics_that_were_asked_for_are_there(speech: NDArray[np.float64]) -> None:
    found = score(speech[:2] + 0.1 * speech[2], speech[:2], None, [10.0, 100.0], metrics=("sdr",))
    keys = {f"{m}{part}" for m in ("si_sdr", "sdr") for part in PARTS}
    assert all(speaker.scores.keys() == keys for speaker in found.speakers)


def test_one_truth_serves_every_system(speech: NDArray[np.float64]) -> None:
    pytest.importorskip("pystoi")
    targets, short = speech[:2], speech[:2, :2000]
    for of in (targets, short):  # of the short ones ESTOI fails
        truth = SceneTruth(of, of.sum(axis=0), SAMPLE_RATE, [10.0, 100.0])
        estimates = of + 0.1 * speech[2, : of.shape[1]]
        score(estimates, of, None, [10.0, 100.0], truth=truth, metrics=("sdr", "estoi"))
        for metrics in (FAST, ("sdr",), ("estoi",)):
            alone = score(estimates, of, None, [10.0, 100.0], metrics=metrics)
            shared = score(estimates, of, None, [10.0, 100.0], metrics=metrics, truth=truth)
            assert alone == shared
            failed = {(f.metric, f.signal) for f in shared.failures}
            assert bool(failed) == (of is short and metrics == ("estoi",))


def test_the_mixture_as_an_estimate_is_not_scored_again(
    speech: NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = speech[:2]
    mixture = targets.sum(axis=0)
    truth = SceneTruth(targets, mixture, SAMPLE_RATE, [10.0, 100.0])
    first = score(targets, targets, None, [10.0, 100.0], truth=truth)

    def computed(*_: object) -> float:
        raise AssertionError("a metric of the mixture was computed again")

    monkeypatch.setattr(SiSdr, "__call__", computed)
    found = score(np.stack([mixture, mixture]), targets, None, [10.0, 100.0], truth=truth)
    assert not found.failures
    for speaker, known in zip(found.speakers, first.speakers, strict=True):
        before = known.scores["si_sdr_unprocessed"]
        assert speaker.scores["si_sdr"] == speaker.scores["si_sdr_unprocessed"] == before
        assert speaker.scores["si_sdr_improvement"] == 0.0


def test_a_single_speaker_has_no_sir_and_that_is_no_failure(speech: NDArray[np.float64]) -> None:
    pytest.importorskip("fast_bss_eval")
    targets = np.stack([speech[0], np.zeros_like(speech[0])])
    found = score(targets + 0.1 * speech[1:], targets, None, [10.0, 100.0], metrics=("sir", "sar"))
    assert found.speakers[0].scores["sir"] is None
    assert found.speakers[0].scores["sir_improvement"] is None
    assert found.speakers[0].scores["sar"] is not None
    assert {f.metric for f in found.failures} <= {"si_sdr", "sar"}
    assert all(f.signal == "unprocessed" for f in found.failures)  # the mixture is the target


# --- systems that find directions alone ---------------------------------------------------


def test_directions_alone_have_errors_best_matched_and_nothing_of_audio(
    speech: NDArray[np.float64],
) -> None:
    found = score(None, speech, [221.0, 12.0, 97.0], [10.0, 100.0, 220.0], order=[0, 1, 2])
    assert found.speaker_of_slot_by_azimuth == (2, 0, 1)
    assert [s.azimuth_error_best_matched for s in found.speakers] == [2.0, 3.0, 1.0]
    assert [s.azimuth_estimate_best_matched for s in found.speakers] == [12.0, 97.0, 221.0]
    for speaker in found.speakers:
        assert (speaker.slot, speaker.silent, speaker.scores) == (None, False, {})
        assert speaker.azimuth_estimate is speaker.azimuth_error is None
    assert found.speaker_of_slot == found.wrong_slot == (None, None, None)
    assert found.si_sdr_margin_db is found.order_correct is None
    assert found.attenuation_db == ()
    assert found.failures == ()
    json.dumps(asdict(found), allow_nan=False)


@given(st.permutations([0, 1, 2]), st.lists(st.floats(0, 359), min_size=3, max_size=3))
@settings(deadline=None, max_examples=25)
def test_the_order_of_directions_alone_does_not_matter(
    turned: list[int], claimed: list[float]
) -> None:
    targets = np.random.default_rng(0).standard_normal((3, 400))
    truth = [10.0, 100.0, 220.0]
    straight = score(None, targets, claimed, truth)
    permuted = score(None, targets, [claimed[i] for i in turned], truth)
    mean = [
        np.mean([s.azimuth_error_best_matched for s in found.speakers])
        for found in (straight, permuted)
    ]
    assert mean[0] == pytest.approx(mean[1], abs=1e-5)


def test_a_direction_that_was_not_found_is_null_and_a_failure(speech: NDArray[np.float64]) -> None:
    found = score(None, speech[:2], [float("nan"), 99.0], [10.0, 100.0])
    assert [s.azimuth_error_best_matched for s in found.speakers] == [None, 1.0]
    assert [(f.metric, f.speaker) for f in found.failures] == [("azimuth_best_matched", 0)]


def test_a_system_gives_something(speech: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="estimates, azimuths, or both"):
        score(None, speech[:2], None, [10.0, 100.0])
