# SPDX-License-Identifier: Apache-2.0
"""Scores of one scene: separation, angular errors, and which slot holds which speaker.

Pure functions of numpy arrays. The heavy libraries are imported inside the functions that need
them, so that a worker process starts fast. What cannot be scored is null and listed in
``failures`` with its reason; it is never left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.errors import InputError
from msdet.evaluation.matching import in_order, match_active, wrong_slots
from msdet.evaluation.scores import (
    Claims,
    Failure,
    SceneScore,
    Scores,
    SpeakerScore,
    Unprocessed,
)
from msdet.evaluation.signal_metrics import METRIC, METRICS, Signal, one_line, rms, si_sdr
from msdet.evaluation.signal_scores import NOT_FINITE, SignalScorer, why_unusable

AMBIGUOUS_DB = 1.0
AMBIGUOUS_DEGREES = 5.0
"""Below either margin between the best and the second best permutation, a matching means little."""

SILENT_DB = -60.0
"""A target this far below the mixture is silent: even at 30 dB SNR it lies under the noise."""

ATTENUATION_CEILING_DB = 120.0
"""What a slot of exact zeros gets as attenuation, since JSON knows no infinity."""

_UNCLAIMED = "no azimuth claimed; counted as 180 degrees"
_UNMATCHABLE_DB = -300.0  # for the matching only: an estimate without an SI-SDR goes last


def score_unprocessed(
    targets: ArrayLike,
    reference: ArrayLike,
    *,
    sample_rate: int,
    metrics: Sequence[str],
    recogniser: str | None = None,
    texts: Sequence[str | None] | None = None,
) -> Unprocessed:
    """Score the mixture of a scene once, for all systems that are scored on it.

    Args:
        metrics: all that any of the systems will be scored with.
        targets, reference, recogniser, texts: as of ``score_scene``.
    """
    tgt, mix = np.asarray(targets, np.float64), np.asarray(reference, np.float64)
    _check_scene(tgt, mix)
    active = _active(tgt, mix)
    scorer = SignalScorer(tgt, active, sample_rate, recogniser, texts)
    found, failures = _score_signals(scorer, dict.fromkeys(active, mix), "unprocessed", metrics)
    scores = tuple(found.get(speaker, {}) for speaker in range(len(tgt)))
    return Unprocessed(scores, tuple(failures), scorer.texts)


def score_scene(
    estimates: ArrayLike | None,
    targets: ArrayLike,
    reference: ArrayLike,
    claims: Claims,
    azimuth_truth: ArrayLike,
    *,
    sample_rate: int,
    metrics: Sequence[str],
    distance_truth: ArrayLike | None = None,
    order: Sequence[int] | None = None,
    unprocessed: Unprocessed | None = None,
    recogniser: str | None = None,
    texts: Sequence[str | None] | None = None,
) -> SceneScore:
    """Score what a system made of one scene.

    Args:
        estimates: ``[slot, sample]``; None of a system that finds directions alone, which has no
            scores of separation and no errors as claimed. Slots that hold nobody by ``claims``
            are silence, and so are those of speakers beyond the last slot, where no direction is
            claimed either; a speaker who gets silence has the scores of the mixture.
        targets: ``[speaker, sample]`` at the reference microphone.
        reference: ``[sample]``, the mixture at the reference microphone.
        claims: what the system says of its slots.
        azimuth_truth: ``[speaker]`` degrees, in the array's frame.
        metrics: from ``choose_metrics``.
        distance_truth: ``[speaker]`` metres; needed where the model claims distances.
        order: the speakers in the order of the slots that the assignment prescribes; None where it
            prescribes none (permutation-invariant training).
        unprocessed: from ``score_unprocessed`` with these metrics or more; None computes it.
        recogniser: ``package.module:function``, needed for ``wer``.
        texts: ``[speaker]`` what was said, for ``wer``; see ``SignalScorer``.
    """
    tgt, mix = np.asarray(targets, np.float64), np.asarray(reference, np.float64)
    est = None if estimates is None else np.asarray(estimates, np.float64)
    truth = np.asarray(azimuth_truth, np.float64)
    claimed = None if claims.azimuth is None else np.asarray(claims.azimuth, np.float64)
    far = None if claims.distance is None else np.asarray(claims.distance, np.float64)
    _check_scene(tgt, mix)
    num_slots = _check_slots(est, tgt, claimed, truth)
    nobody = np.zeros(num_slots, np.bool_)
    if claims.empty is not None:
        nobody = np.asarray(claims.empty, np.bool_)
    speakers_claimed = None if claims.empty is None else int((~nobody).sum())
    if (missing := len(tgt) - num_slots) > 0:
        num_slots = len(tgt)
        nobody = np.pad(nobody, (0, missing), constant_values=True)
        est = None if est is None else np.pad(est, ((0, missing), (0, 0)))
        claimed, far = (
            None if x is None else np.pad(x, (0, missing), constant_values=np.nan)
            for x in (claimed, far)
        )

    active = _active(tgt, mix)
    separation = _Separation((None,) * num_slots)
    if est is not None:
        before = unprocessed or score_unprocessed(
            tgt, mix, sample_rate=sample_rate, metrics=metrics, recogniser=recogniser, texts=texts
        )
        scorer = SignalScorer(tgt, active, sample_rate, recogniser, before.texts)
        separation = _separation(est, nobody, tgt, mix, active, scorer, before, metrics)
    by_separation, by_azimuth = separation.speaker_of_slot, None
    azimuth_margin: float | None = None
    errors = np.full((num_slots, len(tgt)), np.nan)
    if claimed is not None:
        from msdet.geometry import angular_error

        errors = angular_error(claimed[:, None], truth[None, :])
        # A slot without an azimuth is as wrong as can be, for the matching only.
        costs = np.where(np.isfinite(errors), errors, 180.0)
        by_azimuth, azimuth_margin = match_active(costs, active)

    speakers: list[SpeakerScore] = []
    failures = list(separation.failures)
    for speaker in range(len(tgt)):
        azimuth = _rounded(truth[speaker])
        if speaker not in active:
            speakers.append(SpeakerScore(speaker, None, True, {}, azimuth, None, None, None))
            continue
        slot = by_separation.index(speaker) if speaker in by_separation else None
        estimate = error = nearest = best_matched = distance = distance_error = None
        if claimed is not None and by_azimuth is not None:
            best = by_azimuth.index(speaker)
            nearest, best_matched = _finite(claimed[best]), _finite(errors[best, speaker])
            wanted = {"azimuth_best_matched": (best, best_matched)}
            if slot is not None:
                estimate, error = _finite(claimed[slot]), _finite(errors[slot, speaker])
                wanted = {"azimuth": (slot, error), **wanted}
            for name, (of, value) in wanted.items():
                if value is None and not nobody[of]:
                    failures.append(Failure(name, "estimate", speaker, _UNCLAIMED))
        if far is not None and distance_truth is not None and slot is not None:
            distance = _finite(far[slot])
            distance_error = _finite(abs(far[slot] - np.asarray(distance_truth)[speaker]))
        speakers.append(
            SpeakerScore(
                speaker,
                slot,
                False,
                separation.scores.get(speaker, {}),
                azimuth,
                estimate,
                error,
                best_matched,
                distance,
                distance_error,
                nearest,
            )
        )

    prescribes = est is not None and order is not None
    return SceneScore(
        speakers=tuple(speakers),
        speaker_of_slot=by_separation,
        speaker_of_slot_by_azimuth=by_azimuth,
        wrong_slot=wrong_slots(by_separation, by_azimuth, separation.signals),
        si_sdr_margin_db=separation.margin_db,
        azimuth_margin_deg=azimuth_margin,
        ambiguous=None
        if separation.tells_nothing
        else _below(separation.margin_db, AMBIGUOUS_DB)
        or _below(azimuth_margin, AMBIGUOUS_DEGREES),
        order_correct=in_order(by_separation, order or (), separation.signals)
        if prescribes
        else None,
        attenuation_db=separation.attenuation_db,
        failures=tuple(failures),
        speakers_claimed=speakers_claimed,
    )


@dataclass(frozen=True)
class _Separation:
    """What the audio of a system says; see ``SceneScore``.

    Attributes:
        signals: ``[slot]``, a number that slots of the same signal share; None for silence and NaN.
        scores: of each active speaker.
    """

    speaker_of_slot: tuple[int | None, ...]
    signals: tuple[int | None, ...] = ()
    margin_db: float | None = None
    scores: Mapping[int, Scores] = field(default_factory=dict)
    attenuation_db: tuple[float | None, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def tells_nothing(self) -> bool:
        """All slots hold the same, as where nothing was done to the mixture."""
        return len(self.signals) > 1 and len(set(self.signals)) == 1


def _separation(
    given: NDArray[np.float64],
    nobody: NDArray[np.bool_],
    targets: NDArray[np.float64],
    reference: Signal,
    active: Sequence[int],
    scorer: SignalScorer,
    before: Unprocessed,
    metrics: Sequence[str],
) -> _Separation:
    estimates = np.where(nobody[:, None], 0.0, given)
    cost = np.zeros((len(estimates), len(targets)))
    for slot, speaker in product(range(len(estimates)), active):
        cost[slot, speaker] = -_si_sdr_or_last(estimates[slot], targets[speaker])
    speaker_of_slot, margin = match_active(cost, active)
    numbers = _numbered(estimates)
    signals = {s: estimates[slot] for slot, s in enumerate(speaker_of_slot) if s is not None}
    unusable = []
    for held, signal in signals.items():
        if (reason := why_unusable(signal)) is not None:
            # Left out, a system that is silent where it is hard would be scored on the rest alone.
            signals[held] = reference
            if not nobody[speaker_of_slot.index(held)]:  # which is an answer, and counted as such
                reason = f"{reason}; scored as the mixture"
                unusable += [Failure(m, "estimate", held, reason) for m in _computed(metrics)]
    # The mixture as an estimate has the mixture's scores, which are there already.
    same = {held for held, signal in signals.items() if np.array_equal(signal, reference)}
    others = {held: signal for held, signal in signals.items() if held not in same}
    after, failures = _score_signals(scorer, others, "estimate", metrics)
    after |= {held: {m: before.scores[held][m] for m in _computed(metrics)} for held in same}
    failures = unusable + failures
    failures += [f for f in before.failures if f.metric in _computed(metrics)]
    left_over = [slot for slot, s in enumerate(speaker_of_slot) if s is None]
    attenuations = tuple(_attenuation(given[slot], reference) for slot in left_over)
    failures += [Failure("attenuation", "estimate", None, NOT_FINITE)] * attenuations.count(None)
    return _Separation(
        speaker_of_slot,
        numbers,
        None if len(set(numbers)) == 1 else margin,
        {s: _with_improvements(found, before.scores[s]) for s, found in after.items()},
        attenuations,
        tuple(failures),
    )


def _computed(metrics: Sequence[str]) -> tuple[str, ...]:
    """In the order of the tables, with the SI-SDR that is always there."""
    return tuple(name for name in METRICS if name in {"si_sdr", *metrics})


def _score_signals(
    scorer: SignalScorer,
    signals: Mapping[int, Signal],
    name: Literal["estimate", "unprocessed"],
    metrics: Sequence[str],
) -> tuple[dict[int, dict[str, float | None]], list[Failure]]:
    """The metrics of each speaker's signal ``[sample]``, and what failed among them."""
    scores: dict[int, dict[str, float | None]] = {}
    failures: list[Failure] = []
    for speaker, signal in sorted(signals.items()):
        scores[speaker] = {}
        for metric in _computed(metrics):
            value = None
            try:
                if scorer.applies(metric):
                    value = _rounded(scorer(metric, signal, speaker))
            except InputError:  # the user's to mend, and the same for every scene
                raise
            except Exception as error:  # whatever a metric stumbles on belongs in the row
                failures.append(Failure(metric, name, speaker, one_line(error)))
            scores[speaker][metric] = value
    return scores, failures


def _with_improvements(after: Scores, before: Scores) -> Scores:
    """The ``scores`` of a speaker from the estimate's and the mixture's."""
    scores: dict[str, float | None] = {}
    for metric, value in after.items():
        old = before[metric]
        scores[metric], scores[f"{metric}_unprocessed"] = value, old
        gain = None if value is None or old is None else value - old
        if gain is not None:
            gain = _rounded(gain if METRIC[metric].higher_is_better else -gain)
        scores[f"{metric}_improvement"] = gain
    return scores


def _si_sdr_or_last(estimate: Signal, target: Signal) -> float:
    if why_unusable(estimate) is not None:
        return _UNMATCHABLE_DB
    return max(si_sdr(estimate, target), _UNMATCHABLE_DB)


def _numbered(estimates: NDArray[np.float64]) -> tuple[int | None, ...]:
    """See ``_Separation.signals``."""
    first = [
        next(i for i, other in enumerate(estimates) if np.array_equal(other, signal))
        if why_unusable(signal) is None
        else None
        for signal in estimates
    ]
    return tuple(first)


def _active(targets: NDArray[np.float64], mixture: Signal) -> list[int]:
    """The speakers that are not silent."""
    floor = rms(mixture) * 10 ** (SILENT_DB / 20)
    return [speaker for speaker, target in enumerate(targets) if rms(target) > floor]


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


def _check_scene(targets: NDArray[np.float64], reference: Signal) -> None:
    if targets.ndim != 2 or reference.ndim != 1 or targets.shape[1] != len(reference):
        raise ValueError(
            "expected targets [speaker, sample] and reference [sample] with the same number of "
            f"samples, got {targets.shape} and {reference.shape}"
        )
    if not np.isfinite(targets).all() or not np.isfinite(reference).all() or not reference.any():
        raise ValueError("targets and reference must be finite, and the reference not silent")


def _check_slots(
    estimates: NDArray[np.float64] | None,
    targets: NDArray[np.float64],
    azimuth_estimate: NDArray[np.float64] | None,
    azimuth_truth: NDArray[np.float64],
) -> int:
    """The number of slots."""
    if estimates is None and azimuth_estimate is None:
        raise ValueError("a system must give estimates, azimuths, or both")
    if estimates is not None:
        if estimates.ndim != 2 or estimates.shape[1] != targets.shape[1]:
            raise ValueError(
                f"expected estimates [slot, sample] with the same number of samples as the "
                f"targets, {targets.shape[1]}, got {estimates.shape}"
            )
        num_slots = len(estimates)
    elif azimuth_estimate is not None:
        num_slots = len(azimuth_estimate)
    if len(azimuth_truth) != len(targets) or not np.isfinite(azimuth_truth).all():
        raise ValueError(f"azimuth_truth must be {len(targets)} finite degrees: {azimuth_truth}")
    if azimuth_estimate is not None and len(azimuth_estimate) != num_slots:
        raise ValueError(f"azimuth_estimate must have an entry for each of {num_slots} slots")
    return num_slots
