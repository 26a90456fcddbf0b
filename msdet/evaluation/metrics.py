# SPDX-License-Identifier: Apache-2.0
"""Scores of one scene: separation, angular errors, and which slot holds which speaker.

Pure functions of numpy arrays. The heavy libraries are imported inside the functions that need
them, so that a worker process starts fast. What cannot be scored is null and listed in
``failures`` with its reason; it is never left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.errors import InputError
from msdet.evaluation.signal_metrics import (
    METRICS,
    Signal,
    estoi,
    one_line,
    pesq,
    pesq_mode,
    rms,
    sdr,
    si_sdr,
)

AMBIGUOUS_DB = 1.0
AMBIGUOUS_DEGREES = 5.0
"""Below either margin between the best and the second best permutation, a matching means little."""

SILENT_DB = -60.0
"""A target this far below the mixture is silent: even at 30 dB SNR it lies under the noise."""

ATTENUATION_CEILING_DB = 120.0
"""What a slot of exact zeros gets as attenuation, since JSON knows no infinity."""

_NOT_FINITE = "the signal holds NaN or infinite samples"
_UNMATCHABLE_DB = -300.0  # for the matching only: an estimate without an SI-SDR goes last
_FORBIDDEN = 1e9


@dataclass(frozen=True)
class Failure:
    """One value that could not be computed.

    Attributes:
        metric: a name of ``METRICS``, ``azimuth``, ``azimuth_best_matched``, ``attenuation``.
        signal: ``estimate`` or ``unprocessed``.
        speaker: index of the speaker in the scene; None for a slot that holds none.
        reason: one line.
    """

    metric: str
    signal: Literal["estimate", "unprocessed"]
    speaker: int | None
    reason: str


@dataclass(frozen=True)
class SpeakerScore:
    """One speaker of a scene.

    Attributes:
        speaker: index in the scene.
        slot: the output that pi_sep gives this speaker; None for a silent target.
        silent: the target is silent: no scores, not part of any mean.
        scores: for each metric ``m``: ``m`` (estimate against target), ``m_unprocessed``
            (reference microphone against target) and ``m_improvement`` (their difference).
            dB for SI-SDR and SDR. None where it failed.
        azimuth: degrees, the truth.
        azimuth_estimate: degrees, of the speaker's slot, as claimed.
        azimuth_error: degrees, of ``azimuth_estimate``; None for a model without DoA.
        azimuth_error_best_matched: degrees, under pi_doa.
        distance_estimate, distance_error: metres, of the speaker's slot; None for a model that
            does not say.
    """

    speaker: int
    slot: int | None
    silent: bool
    scores: Mapping[str, float | None]
    azimuth: float
    azimuth_estimate: float | None
    azimuth_error: float | None
    azimuth_error_best_matched: float | None
    distance_estimate: float | None = None
    distance_error: float | None = None


@dataclass(frozen=True)
class SceneScore:
    """One scene.

    Attributes:
        speakers: one entry per speaker of the scene, silent ones included.
        speaker_of_slot: pi_sep, which maximises the mean SI-SDR; None for a slot left over.
        speaker_of_slot_by_azimuth: pi_doa, which minimises the mean angular error; None as a
            whole for a model without DoA.
        wrong_slot: per slot, whether the two differ; None for a slot left over or without DoA.
        si_sdr_margin_db, azimuth_margin_deg: by how much the best permutation beats the second
            best; None where there is only one.
        ambiguous: one of the margins is below 1 dB or 5 degrees.
        order_correct: pi_sep is the order that the assignment prescribes; None where the
            assignment prescribes none.
        attenuation_db: for each slot left over by silent targets or by fewer speakers than
            slots, how far its energy lies below the reference microphone's.
        pesq_mode: ``wb`` or ``nb``; None where PESQ was not asked for.
        failures: everything that is null above although it should be a number.
        speakers_claimed: how many slots the model says hold a speaker; None for a model that
            cannot leave a slot empty.
    """

    speakers: tuple[SpeakerScore, ...]
    speaker_of_slot: tuple[int | None, ...]
    speaker_of_slot_by_azimuth: tuple[int | None, ...] | None
    wrong_slot: tuple[bool | None, ...]
    si_sdr_margin_db: float | None
    azimuth_margin_deg: float | None
    ambiguous: bool
    order_correct: bool | None
    attenuation_db: tuple[float | None, ...]
    pesq_mode: Literal["nb", "wb"] | None
    failures: tuple[Failure, ...]
    speakers_claimed: int | None = None


@dataclass(frozen=True)
class Claims:
    """What a model says of its slots, beside their audio.

    Attributes:
        azimuth: ``[slot]`` degrees; NaN for a slot that claims none; None for a model without DoA.
        distance: ``[slot]`` metres; None for a model that does not say.
        empty: ``[slot]`` whether nobody is there; None for a model that cannot say so.
    """

    azimuth: ArrayLike | None = None
    distance: ArrayLike | None = None
    empty: ArrayLike | None = None


# --- matching -----------------------------------------------------------------------------


def match(cost: ArrayLike) -> tuple[tuple[int | None, ...], float | None]:
    """Give each speaker a slot of its own such that the mean cost is the least.

    Args:
        cost: ``[slot, speaker]``, finite, at least as many slots as speakers.
    Returns:
        ``[slot]`` -> speaker, or None for a slot left over, and by how much the second best
        matching is worse on average over the speakers (None where there is no second).
    """
    from scipy.optimize import linear_sum_assignment

    costs = np.asarray(cost, np.float64)
    num_slots, num_speakers = costs.shape
    if num_speakers == 0:
        return (None,) * num_slots, None

    slots, speakers = linear_sum_assignment(costs)
    best = costs[slots, speakers].sum()
    # Any other matching lacks at least one pair of the best: forbid each of them in turn.
    second = math.inf
    for slot, speaker in zip(slots, speakers, strict=True):
        without = costs.copy()
        without[slot, speaker] = _FORBIDDEN
        second = min(second, without[linear_sum_assignment(without)].sum())
    speaker_of_slot: list[int | None] = [None] * num_slots
    for slot, speaker in zip(slots, speakers, strict=True):
        speaker_of_slot[slot] = int(speaker)
    margin = None if second > _FORBIDDEN / 2 else float(second - best) / num_speakers
    return tuple(speaker_of_slot), margin


# --- a scene ------------------------------------------------------------------------------


def score_scene(
    estimates: ArrayLike,
    targets: ArrayLike,
    reference: ArrayLike,
    claims: Claims,
    azimuth_truth: ArrayLike,
    *,
    sample_rate: int,
    distance_truth: ArrayLike | None = None,
    order: Sequence[int] | None = None,
    metrics: Sequence[str] = METRICS,
) -> SceneScore:
    """Score what a model made of one scene.

    Args:
        estimates: ``[slot, sample]``, at least as many slots as speakers.
        targets: ``[speaker, sample]`` at the reference microphone.
        reference: ``[sample]``, the mixture at the reference microphone.
        claims: what the model says of its slots.
        azimuth_truth: ``[speaker]`` degrees, in the array's frame.
        distance_truth: ``[speaker]`` metres; needed where the model claims distances.
        order: ``[slot]`` -> speaker that the assignment prescribes; the slots behind its end are
            to be empty. None where it prescribes none (permutation-invariant training).
        metrics: from ``choose_metrics``.
    """
    est, tgt = np.asarray(estimates, np.float64), np.asarray(targets, np.float64)
    mix, truth = np.asarray(reference, np.float64), np.asarray(azimuth_truth, np.float64)
    claimed = None if claims.azimuth is None else np.asarray(claims.azimuth, np.float64)
    far = None if claims.distance is None else np.asarray(claims.distance, np.float64)
    _check_shapes(est, tgt, mix, claimed, truth, order)

    active = [s for s in range(len(tgt)) if _is_active(tgt[s], mix)]
    matrix = np.array([[_si_sdr_or_last(e, tgt[s]) for s in active] for e in est])
    by_separation, si_sdr_margin = _match_active(-matrix, active)
    slot_of = {speaker: slot for slot, speaker in enumerate(by_separation) if speaker is not None}

    errors = np.full((len(est), len(tgt)), np.nan)
    by_azimuth: tuple[int | None, ...] | None = None
    azimuth_margin: float | None = None
    if claimed is not None:
        from msdet.geometry import angular_error

        errors = angular_error(claimed[:, None], truth[None, :])
        # A slot without an azimuth is as wrong as can be, for the matching only.
        costs = np.where(np.isfinite(errors), errors, 180.0)[:, active]
        by_azimuth, azimuth_margin = _match_active(costs, active)

    speakers, failures = [], []
    for speaker in range(len(tgt)):
        azimuth, slot = _rounded(truth[speaker]), slot_of.get(speaker)
        if slot is None:
            speakers.append(SpeakerScore(speaker, None, True, {}, azimuth, None, None, None))
            continue
        scores, failed = _score_speaker(
            speaker, est[slot], mix, tgt[speaker], metrics=metrics, sample_rate=sample_rate
        )
        failures += failed
        estimate = error = best_matched = None
        if claimed is not None and by_azimuth is not None:
            estimate = _finite(claimed[slot])
            error = _finite(errors[slot, speaker])
            best_matched = _finite(errors[by_azimuth.index(speaker), speaker])
            for name, value in (("azimuth", error), ("azimuth_best_matched", best_matched)):
                if value is None:
                    failures.append(Failure(name, "estimate", speaker, "no azimuth claimed"))
        distance = distance_error = None
        if far is not None and distance_truth is not None:
            distance = _finite(far[slot])
            distance_error = _finite(abs(far[slot] - np.asarray(distance_truth)[speaker]))
        speakers.append(
            SpeakerScore(
                speaker,
                slot,
                False,
                scores,
                azimuth,
                estimate,
                error,
                best_matched,
                distance,
                distance_error,
            )
        )

    left_over = [slot for slot, speaker in enumerate(by_separation) if speaker is None]
    attenuations = [_attenuation(est[slot], mix) for slot in left_over]
    failures += [Failure("attenuation", "estimate", None, _NOT_FINITE)] * attenuations.count(None)

    return SceneScore(
        speakers=tuple(speakers),
        speaker_of_slot=by_separation,
        speaker_of_slot_by_azimuth=by_azimuth,
        wrong_slot=_wrong_slots(by_separation, by_azimuth),
        si_sdr_margin_db=si_sdr_margin,
        azimuth_margin_deg=azimuth_margin,
        ambiguous=_below(si_sdr_margin, AMBIGUOUS_DB) or _below(azimuth_margin, AMBIGUOUS_DEGREES),
        order_correct=None if order is None else _in_order(by_separation, order, active),
        attenuation_db=tuple(attenuations),
        pesq_mode=pesq_mode(sample_rate) if "pesq" in metrics else None,
        failures=tuple(failures),
        speakers_claimed=None if claims.empty is None else int((~np.asarray(claims.empty)).sum()),
    )


def _score_speaker(
    speaker: int,
    estimate: Signal,
    reference: Signal,
    target: Signal,
    *,
    metrics: Sequence[str],
    sample_rate: int,
) -> tuple[dict[str, float | None], list[Failure]]:
    """The ``scores`` of one speaker, signals ``[sample]``, and what failed among them."""
    scores: dict[str, float | None] = {}
    failures: list[Failure] = []

    def attempt(metric: str, name: Literal["estimate", "unprocessed"]) -> float | None:
        signal = estimate if name == "estimate" else reference
        try:
            return _rounded(_value(metric, signal, target, sample_rate))
        except Exception as error:  # whatever a metric stumbles on belongs in the row
            failures.append(Failure(metric, name, speaker, one_line(error)))
            return None

    for metric in METRICS:
        if metric != "si_sdr" and metric not in metrics:
            continue
        after, before = attempt(metric, "estimate"), attempt(metric, "unprocessed")
        scores[metric], scores[f"{metric}_unprocessed"] = after, before
        scores[f"{metric}_improvement"] = (
            None if after is None or before is None else _rounded(after - before)
        )
    return scores, failures


def _value(metric: str, signal: Signal, target: Signal, sample_rate: int) -> float:
    """One metric of one signal ``[sample]``; ValueError where it has no finite value."""
    if not np.isfinite(signal).all():
        raise ValueError(_NOT_FINITE)
    if not signal.any():
        raise ValueError("the signal is all zeros")
    value = {
        "si_sdr": lambda: si_sdr(signal, target),
        "sdr": lambda: sdr(signal, target),
        "estoi": lambda: estoi(signal, target, sample_rate),
        "pesq": lambda: pesq(signal, target, sample_rate),
    }[metric]()
    if not math.isfinite(value):
        raise ValueError(f"the value is {value}")
    return value


def _si_sdr_or_last(estimate: Signal, target: Signal) -> float:
    if not np.isfinite(estimate).all() or not estimate.any():
        return _UNMATCHABLE_DB
    return max(si_sdr(estimate, target), _UNMATCHABLE_DB)


def _match_active(
    costs: NDArray[np.float64], active: Sequence[int]
) -> tuple[tuple[int | None, ...], float | None]:
    """``match`` over the active speakers, in the scene's own numbering of speakers."""
    columns, margin = match(costs.reshape(len(costs), len(active)))
    named = tuple(None if column is None else active[column] for column in columns)
    return named, None if margin is None else _rounded(margin)


def _wrong_slots(
    by_separation: Sequence[int | None], by_azimuth: Sequence[int | None] | None
) -> tuple[bool | None, ...]:
    if by_azimuth is None:
        return (None,) * len(by_separation)
    return tuple(
        None if speaker is None else speaker != other
        for speaker, other in zip(by_separation, by_azimuth, strict=True)
    )


def _in_order(
    speaker_of_slot: Sequence[int | None], order: Sequence[int], active: Sequence[int]
) -> bool:
    prescribed = [int(speaker) if speaker in active else None for speaker in order]
    prescribed += [None] * (len(speaker_of_slot) - len(order))
    return list(speaker_of_slot) == prescribed


def _is_active(target: Signal, mixture: Signal) -> bool:
    return rms(target) > rms(mixture) * 10 ** (SILENT_DB / 20)


def _attenuation(estimate: Signal, mixture: Signal) -> float | None:
    if not np.isfinite(estimate).all():
        return None
    floor = rms(mixture) * 10 ** (-ATTENUATION_CEILING_DB / 20)
    return _rounded(20 * math.log10(rms(mixture) / max(rms(estimate), floor)))


def _below(margin: float | None, limit: float) -> bool:
    return margin is not None and margin < limit


def _rounded(value: float) -> float:
    """Six decimals: more than any of these metrics means, and the same on every machine."""
    return round(float(value), 6)


def _finite(value: float) -> float | None:
    return _rounded(value) if math.isfinite(value) else None


def _check_shapes(
    estimates: NDArray[np.float64],
    targets: NDArray[np.float64],
    reference: Signal,
    azimuth_estimate: NDArray[np.float64] | None,
    azimuth_truth: NDArray[np.float64],
    order: Sequence[int] | None,
) -> None:
    if estimates.ndim != 2 or targets.ndim != 2 or reference.ndim != 1:
        raise ValueError(
            "expected estimates [slot, sample], targets [speaker, sample] and reference [sample], "
            f"got {estimates.shape}, {targets.shape} and {reference.shape}"
        )
    if not estimates.shape[1] == targets.shape[1] == len(reference):
        raise ValueError(
            "estimates, targets and reference must have the same number of samples, "
            f"got {estimates.shape[1]}, {targets.shape[1]} and {len(reference)}"
        )
    if len(estimates) < len(targets):
        raise InputError(
            f"the model has {len(estimates)} outputs and the scene {len(targets)} speakers: "
            "evaluate on scenes with at most as many speakers as outputs"
        )
    if not np.isfinite(targets).all() or not np.isfinite(reference).all() or not reference.any():
        raise ValueError("targets and reference must be finite, and the reference not silent")
    if len(azimuth_truth) != len(targets) or not np.isfinite(azimuth_truth).all():
        raise ValueError(f"azimuth_truth must be {len(targets)} finite degrees: {azimuth_truth}")
    if azimuth_estimate is not None and len(azimuth_estimate) != len(estimates):
        raise ValueError(f"azimuth_estimate must have an entry for each of {len(estimates)} slots")
    if order is not None and len(order) > len(estimates):
        raise ValueError(f"order has {len(order)} entries and the model {len(estimates)} slots")
