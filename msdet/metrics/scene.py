# SPDX-License-Identifier: Apache-2.0
"""Scores of one scene: separation, angular errors, and which slot holds which speaker.

What cannot be scored is null and listed in ``failures`` with its reason; it is never left out
silently.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.errors import InputError
from msdet.metrics.choose import MATCHING, choose_metrics, number_of
from msdet.metrics.matching import in_order, match_active, wrong_slots
from msdet.metrics.metric import (
    NOT_FINITE,
    Metric,
    SceneTruth,
    Signal,
    one_line,
    rms,
    say,
    why_unusable,
)
from msdet.metrics.scores import Claims, Failure, SceneScore, Scores, SpeakerScore
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.parts import OwnPart

AMBIGUOUS_DB = 1.0
AMBIGUOUS_DEGREES = 5.0
"""Below either margin between the best and the second best permutation, a matching means little."""

ATTENUATION_CEILING_DB = 120.0
"""The attenuation of a slot of exact zeros, since JSON knows no infinity."""

_UNCLAIMED = "no azimuth claimed; counted as 180 degrees"
_UNMATCHABLE_DB = -300.0  # for the matching only: an estimate without an SI-SDR goes last


def score(
    estimates: ArrayLike | None,
    targets: ArrayLike,
    mixture: ArrayLike,
    sample_rate: int,
    *,
    azimuth_estimate: ArrayLike | None = None,
    azimuth: ArrayLike | None = None,
    metrics: Sequence[str | Metric | OwnPart] = ("si_sdr",),
) -> SceneScore:
    """Score what any system made of one scene.

    Args:
        estimates: ``[slot, sample]``, in any order; None of a system that finds directions alone.
        targets: ``[speaker, sample]``, what the estimates should be.
        mixture: ``[sample]``, the microphone that improvements are over.
        sample_rate: hertz.
        azimuth_estimate: ``[slot]`` degrees, NaN for a slot that claims none.
        azimuth: ``[speaker]`` degrees, the truth; needed with ``azimuth_estimate``.
        metrics: names, or :class:`msdet.metrics.Metric` objects; SI-SDR is always there.
    Raises:
        ValueError: shapes do not fit. InputError: a metric is not known, or not installed.
    """
    truth = SceneTruth(targets, mixture, sample_rate, azimuth)
    chosen, _ = choose_metrics(metrics, sample_rate)
    return score_scene(estimates, truth, Claims(azimuth=azimuth_estimate), metrics=chosen)


def score_scene(
    estimates: ArrayLike | None,
    truth: SceneTruth,
    claims: Claims,
    *,
    metrics: Sequence[Metric] = (MATCHING,),
    order: Sequence[int] | None = None,
) -> SceneScore:
    """Score what a system made of one scene.

    Args:
        estimates: ``[slot, sample]``; None of a system that finds directions alone, which has no
            scores of separation and no errors as claimed. Slots that hold nobody by ``claims``
            are silence, and so are those of speakers beyond the last slot, where no direction is
            claimed either; a speaker who gets silence has the scores of the mixture.
        truth: of the scene; one object for all systems, so that the mixture is scored once.
        claims: what the system says of its slots.
        metrics: from ``choose_metrics``; SI-SDR is always computed.
        order: the speakers in the order of the slots that the assignment prescribes; None where it
            prescribes none (permutation-invariant training).
    """
    audio = None if estimates is None else np.asarray(estimates, np.float64)
    claimed = None if claims.azimuth is None else np.asarray(claims.azimuth, np.float64)
    far = None if claims.distance is None else np.asarray(claims.distance, np.float64)
    far = None if truth.distance is None else far
    num_slots, num_speakers = _num_slots(audio, claimed, truth), len(truth.targets)
    empty = None if claims.empty is None else np.asarray(claims.empty, np.bool_)
    nobody = np.zeros(num_slots, np.bool_) if empty is None else empty
    if (missing := num_speakers - num_slots) > 0:
        num_slots = num_speakers
        nobody = np.pad(nobody, (0, missing), constant_values=True)
        audio = None if audio is None else np.pad(audio, ((0, missing), (0, 0)))
        claimed, far = (
            None if x is None else np.pad(x, (0, missing), constant_values=np.nan)
            for x in (claimed, far)
        )
    separation = _Separation((None,) * num_slots)
    if audio is not None:
        separation = _separation(audio, nobody, truth, _computed(metrics))
    by_separation, by_azimuth = separation.speaker_of_slot, None
    azimuth_margin = errors = range_errors = None
    if claimed is not None:
        from msdet.geometry import angular_error

        errors = angular_error(claimed[:, None], np.asarray(truth.azimuth)[None, :])
        # A slot without an azimuth is as wrong as can be, for the matching only.
        costs = np.where(np.isfinite(errors), errors, 180.0)
        by_azimuth, azimuth_margin = match_active(costs, truth.active)
    if far is not None:
        range_errors = np.abs(far[:, None] - np.asarray(truth.distance)[None, :])

    speakers: list[SpeakerScore] = []
    failures = list(separation.failures)
    for speaker in range(num_speakers):
        azimuth = None if truth.azimuth is None else _rounded(truth.azimuth[speaker])
        if speaker not in truth.active:
            speakers.append(SpeakerScore(speaker, None, True, {}, azimuth, None, None, None))
            continue
        slot = by_separation.index(speaker) if speaker in by_separation else None
        best = None if by_azimuth is None else by_azimuth.index(speaker)
        found = SpeakerScore(
            speaker=speaker,
            slot=slot,
            silent=False,
            scores=separation.scores.get(speaker, {}),
            azimuth=azimuth,
            azimuth_estimate=_at(claimed, slot),
            azimuth_error=_at(errors, slot, speaker),
            azimuth_error_best_matched=_at(errors, best, speaker),
            distance_estimate=_at(far, slot),
            distance_error=_at(range_errors, slot, speaker),
            azimuth_estimate_best_matched=_at(claimed, best),
        )
        speakers.append(found)
        for name, of in (("azimuth", slot), ("azimuth_best_matched", best)):
            known = errors is None or of is None or np.isfinite(errors[of, speaker])
            if not (known or nobody[of]):
                failures.append(Failure(name, "estimate", speaker, _UNCLAIMED))
    ambiguous = _below(separation.margin_db, AMBIGUOUS_DB) or _below(
        azimuth_margin, AMBIGUOUS_DEGREES
    )
    prescribes = audio is not None and order is not None
    return SceneScore(
        speakers=tuple(speakers),
        speaker_of_slot=by_separation,
        speaker_of_slot_by_azimuth=by_azimuth,
        wrong_slot=wrong_slots(by_separation, by_azimuth, separation.signals),
        si_sdr_margin_db=separation.margin_db,
        azimuth_margin_deg=azimuth_margin,
        ambiguous=None if separation.tells_nothing else ambiguous,
        order_correct=in_order(by_separation, order or (), separation.signals)
        if prescribes
        else None,
        attenuation_db=separation.attenuation_db,
        failures=tuple(failures),
        speakers_claimed=None if empty is None else int((~empty).sum()),
    )


@dataclass(frozen=True)
class _Separation:
    """The findings from the audio of a system; see ``SceneScore``.

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
    truth: SceneTruth,
    metrics: Sequence[Metric],
) -> _Separation:
    estimates = np.where(nobody[:, None], 0.0, given)
    cost = np.zeros((len(estimates), len(truth.targets)))
    for slot, speaker in product(range(len(estimates)), truth.active):
        cost[slot, speaker] = -_si_sdr_or_last(estimates[slot], truth.targets[speaker])
    speaker_of_slot, margin = match_active(cost, truth.active)
    signals = {s: estimates[slot] for slot, s in enumerate(speaker_of_slot) if s is not None}
    failures: list[Failure] = []
    scores: dict[int, Scores] = {}
    for speaker, signal in sorted(signals.items()):
        if (reason := why_unusable(signal)) is not None:
            # Left out, a system that is silent where it is hard would be scored on the rest alone.
            if not nobody[speaker_of_slot.index(speaker)]:  # an answer, and counted as such
                reason = f"{reason}; scored as the mixture"
                failures += [Failure(m.name, "estimate", speaker, reason) for m in metrics]
            signal = truth.mixture
        scores[speaker], wrong = _scores(metrics, signal, truth, speaker)
        failures += wrong
    numbers = tuple(
        next(i for i, other in enumerate(estimates) if np.array_equal(other, signal))
        if why_unusable(signal) is None
        else None
        for signal in estimates
    )
    left_over = [slot for slot, s in enumerate(speaker_of_slot) if s is None]
    attenuations = tuple(_attenuation(given[slot], truth.mixture) for slot in left_over)
    failures += [Failure("attenuation", "estimate", None, NOT_FINITE)] * attenuations.count(None)
    same = len(set(numbers)) == 1
    return _Separation(
        speaker_of_slot, numbers, None if same else margin, scores, attenuations, tuple(failures)
    )


def _computed(metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """The metrics with SI-SDR, which is always there, first."""
    return (MATCHING, *(metric for metric in metrics if metric.name != MATCHING.name))


def _scores(
    metrics: Sequence[Metric], signal: Signal, truth: SceneTruth, speaker: int
) -> tuple[Scores, list[Failure]]:
    """The ``scores`` of a speaker, and what failed; of the mixture once for all systems."""
    scores: dict[str, float | None] = {}
    of_mixture: list[Failure] = []
    of_signal: list[Failure] = []
    unchanged = np.array_equal(signal, truth.mixture)
    for metric in metrics:
        name = metric.name
        compute = partial(_value, metric, truth.mixture, truth, speaker)
        before, why = truth.once(f"{name} of {speaker}", truth.mixture, compute)
        if why is not None:
            of_mixture.append(Failure(name, "unprocessed", speaker, why))
        value = before
        if not unchanged:
            value, why = _value(metric, signal, truth, speaker)
            if why is not None:
                of_signal.append(Failure(name, "estimate", speaker, why))
        gain = None if value is None or before is None else value - before
        if gain is not None:
            gain = _rounded(gain if say(metric, "higher_is_better") else -gain)
        scores |= {name: value, f"{name}_unprocessed": before, f"{name}_improvement": gain}
    return scores, of_mixture + of_signal


def _value(
    metric: Metric, signal: Signal, truth: SceneTruth, speaker: int
) -> tuple[float | None, str | None]:
    """Return the score of a signal ``[sample]`` by a metric, and why it failed."""
    try:
        value = number_of(metric, metric(signal, truth, speaker))
    except InputError:  # the user's to mend, and the same for every scene
        raise
    except Exception as error:  # whatever a metric stumbles on belongs in the row
        return None, one_line(error)
    if value is None:
        return None, None
    return (_rounded(value), None) if math.isfinite(value) else (None, f"the value is {value}")


def _si_sdr_or_last(estimate: Signal, target: Signal) -> float:
    if why_unusable(estimate) is not None:
        return _UNMATCHABLE_DB
    return max(si_sdr(estimate, target), _UNMATCHABLE_DB)


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


def _at(values: NDArray[np.float64] | None, slot: int | None, *speaker: int) -> float | None:
    """The finite value of a slot, if there is one."""
    if values is None or slot is None:
        return None
    value = float(values[(slot, *speaker)])
    return _rounded(value) if math.isfinite(value) else None


def _num_slots(
    estimates: NDArray[np.float64] | None, claimed: NDArray[np.float64] | None, truth: SceneTruth
) -> int:
    """The number of slots, of arrays that fit the truth and one another."""
    if estimates is None and claimed is None:
        raise ValueError("a system must give estimates, azimuths, or both")
    samples = truth.targets.shape[1]
    if estimates is not None and (estimates.ndim != 2 or estimates.shape[1] != samples):
        raise ValueError(
            f"expected estimates [slot, sample] with the same number of samples as the "
            f"targets, {samples}, got {estimates.shape}"
        )
    num_slots = len(claimed if estimates is None else estimates)  # type: ignore[arg-type]
    if claimed is not None and claimed.shape != (num_slots,):
        raise ValueError(f"azimuth estimates must be one for each of {num_slots} slots: {claimed}")
    if claimed is not None and truth.azimuth is None:
        raise ValueError("azimuth: the true azimuths are needed to score estimated ones")
    return num_slots
