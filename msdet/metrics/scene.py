# SPDX-License-Identifier: Apache-2.0
"""Scores of one scene: separation, angular errors, and which slot holds which speaker.

What cannot be scored is null and listed in ``failures`` with its reason; it is never left out
silently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.errors import InputError
from msdet.metrics.choose import MATCHING, choose_metrics, number_of
from msdet.metrics.matching import match
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
from msdet.metrics.tracks import frames_within, heard_moments, identity_switches, track_errors
from msdet.moments import TRACK_SECONDS
from msdet.parts import OwnPart

AMBIGUOUS_DB = 1.0
AMBIGUOUS_DEGREES = 5.0
"""Below either margin between the best and the second best permutation, a matching means little."""

ATTENUATION_CEILING_DB = 120.0
"""The attenuation of a slot of exact zeros, since JSON knows no infinity."""

Matching = tuple[int | None, ...]
Claimed = NDArray[np.float64] | None

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
    images: ArrayLike | None = None,
    early: ArrayLike | None = None,
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
        images, early: ``[speaker, sample]``, as :class:`msdet.metrics.SceneTruth` has them; needed
            for the parts of the error, and for ``si_sdr_early``.
        metrics: names, or :class:`msdet.metrics.Metric` objects; SI-SDR is always there.
    Raises:
        ValueError: shapes do not fit. InputError: a metric is not known, or not installed.
    """
    truth = SceneTruth(targets, mixture, sample_rate, azimuth, images=images, early=early)
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
    audio, azimuth, distance, nobody = _slots(estimates, truth, claims)
    speaker_of_slot: Matching = (None,) * len(nobody)
    by_azimuth = margin = azimuth_margin = errors = range_errors = order_correct = None
    walked: _Walked | None = None
    scores: dict[int, Scores] = {}
    failures: list[Failure] = []
    attenuation: tuple[float | None, ...] = ()
    signals: list[int | None] = []  # a number that slots of the same audio share; None for silence
    if audio is not None:
        heard = np.where(nobody[:, None], 0.0, audio)
        cost = np.zeros((len(heard), len(truth.targets)))
        for slot, speaker in product(range(len(heard)), truth.active):
            cost[slot, speaker] = -_si_sdr_or_last(heard[slot], truth.targets[speaker])
        speaker_of_slot, margin = _match_active(cost, truth)
        signals = [
            None if why_unusable(one) else [np.array_equal(one, x) for x in heard].index(True)
            for one in heard
        ]
        # SI-SDR is always there, and first.
        computed = (MATCHING, *(metric for metric in metrics if metric.name != MATCHING.name))
        slots = {speaker: slot for slot, speaker in enumerate(speaker_of_slot)}
        for speaker in truth.active:
            slot = slots[speaker]
            scores[speaker], wrong = _scores(computed, heard[slot], nobody[slot], truth, speaker)
            failures += wrong
        left_over = [slot for slot, speaker in enumerate(speaker_of_slot) if speaker is None]
        attenuation = tuple(_attenuation(audio[slot], truth.mixture) for slot in left_over)
        failures += [Failure("attenuation", "estimate", None, NOT_FINITE)] * attenuation.count(None)
    if azimuth is not None:
        from msdet.geometry import angular_error

        errors = angular_error(azimuth[:, None], np.asarray(truth.azimuth)[None, :])
        if truth.track is not None:
            walked = _Walked(truth, claims, azimuth)
            errors = walked.errors
        # A slot without an azimuth is as wrong as can be, for the matching only.
        by_azimuth, azimuth_margin = _match_active(np.nan_to_num(errors, nan=180.0), truth)
    if distance is not None:
        range_errors = np.abs(distance[:, None] - np.asarray(truth.distance)[None, :])

    speakers: list[SpeakerScore] = []
    for speaker in range(len(truth.targets)):
        where = None if truth.azimuth is None else _rounded(truth.azimuth[speaker])
        if speaker not in truth.active:
            speakers.append(SpeakerScore(speaker, None, True, {}, where, None, None, None))
            continue
        own = speaker_of_slot.index(speaker) if audio is not None else None
        best = None if by_azimuth is None else by_azimuth.index(speaker)
        speakers.append(
            SpeakerScore(
                speaker=speaker,
                slot=own,
                silent=False,
                scores=scores.get(speaker, {}),
                azimuth=where,
                azimuth_estimate=_at(azimuth, own),
                azimuth_error=_at(errors, own, speaker),
                azimuth_error_best_matched=_at(errors, best, speaker),
                distance_estimate=_at(distance, own),
                distance_error=_at(range_errors, own, speaker),
                azimuth_estimate_best_matched=_at(azimuth, best),
                frames_within=None if walked is None else walked.within(own, speaker),
            )
        )
        for name, of in (("azimuth", own), ("azimuth_best_matched", best)):
            known = errors is None or of is None or np.isfinite(errors[of, speaker])
            if not (known or nobody[of]):
                failures.append(Failure(name, "estimate", speaker, _UNCLAIMED))

    # Silence, and what another slot holds too, does not say who is in it.
    told = [signal is not None and signals.count(signal) == 1 for signal in signals]
    all_the_same = len(signals) > 1 and len(set(signals)) == 1
    found = [slot for slot, signal in enumerate(signals) if signal is not None]
    found = [slot for slot in found if speaker_of_slot[slot] is not None]
    if order is not None and len(found) > 1 and all(told[slot] for slot in found):
        in_slots = [speaker_of_slot[slot] for slot in found]
        order_correct = in_slots == [int(speaker) for speaker in order if speaker in in_slots]
    margin = None if all_the_same else margin
    ambiguous = _below(margin, AMBIGUOUS_DB) or _below(azimuth_margin, AMBIGUOUS_DEGREES)
    return SceneScore(
        speakers=tuple(speakers),
        speaker_of_slot=speaker_of_slot,
        speaker_of_slot_by_azimuth=by_azimuth,
        wrong_slot=tuple(
            speaker != by_azimuth[slot]
            if by_azimuth is not None and speaker is not None and told[slot]
            else None
            for slot, speaker in enumerate(speaker_of_slot)
        ),
        si_sdr_margin_db=margin,
        azimuth_margin_deg=azimuth_margin,
        ambiguous=None if all_the_same else ambiguous,
        order_correct=order_correct,
        attenuation_db=attenuation,
        failures=tuple(failures),
        speakers_claimed=None
        if claims.empty is None
        else int((~np.asarray(claims.empty, bool)).sum()),
        identity_switches=None if walked is None else walked.switches(speaker_of_slot),
    )


class _Walked:
    """The directions of a scene in which people walk.

    Args:
        azimuth: ``[slot]``, claimed for all of the scene.
    """

    def __init__(self, truth: SceneTruth, claims: Claims, azimuth: NDArray[np.float64]) -> None:
        assert truth.track is not None
        self.true, moments = truth.track, truth.track.shape[1]
        self.claimed = np.repeat(azimuth[:, None], moments, axis=1)
        if claims.track is not None:
            track = np.asarray(claims.track, np.float64)
            if track.shape[1:] != (moments,) or len(track) > len(azimuth):
                raise ValueError(f"expected tracks of {moments} moments, got {track.shape}")
            self.claimed[: len(track)] = track
            self.claimed[np.isnan(azimuth)] = np.nan
        self.tracks = claims.track is not None
        seconds = np.asarray(np.arange(moments) * TRACK_SECONDS, np.float64)
        self.heard = heard_moments(truth.targets, truth.sample_rate, seconds)
        self.minutes = truth.targets.shape[1] / truth.sample_rate / 60
        self.errors = track_errors(self.claimed, self.true, self.heard)

    def within(self, slot: int | None, speaker: int) -> dict[int, float] | None:
        """Return the shares of the moments by their error; None without a slot."""
        if slot is None:
            return None
        return frames_within(self.claimed[slot], self.true[speaker], self.heard[speaker])

    def switches(self, speaker_of_slot: Matching) -> float | None:
        """Return how often tracks change over, per minute; None where there are no two."""
        if not self.tracks:
            return None
        slots = {one: slot for slot, one in enumerate(speaker_of_slot) if one is not None}
        count = identity_switches(self.claimed, self.true, self.heard, slots)
        return None if count is None else _rounded(count / self.minutes)


def _slots(
    estimates: ArrayLike | None, truth: SceneTruth, claims: Claims
) -> tuple[NDArray[np.float64] | None, Claimed, Claimed, NDArray[np.bool_]]:
    """Audio, azimuths and distances of at least as many slots as there are speakers, and whether
    nobody is there; checked against the truth and one another."""
    audio, azimuth, distance = (
        None if given is None else np.asarray(given, np.float64)
        for given in (estimates, claims.azimuth, claims.distance)
    )
    samples = truth.targets.shape[1]
    if audio is None and azimuth is None:
        raise ValueError("a system must give estimates, azimuths, or both")
    if audio is not None and (audio.ndim != 2 or audio.shape[1] != samples):
        raise ValueError(
            f"expected estimates [slot, sample] with the same number of samples as the "
            f"targets, {samples}, got {audio.shape}"
        )
    count = len(azimuth if audio is None else audio)  # type: ignore[arg-type]
    if azimuth is not None and azimuth.shape != (count,):
        raise ValueError(f"azimuth estimates must be one for each of {count} slots: {azimuth}")
    if azimuth is not None and truth.azimuth is None:
        raise ValueError("azimuth: the true azimuths are needed to score estimated ones")
    nobody = np.zeros(count, np.bool_) if claims.empty is None else np.asarray(claims.empty, bool)
    missing = max(0, len(truth.targets) - count)
    return (
        None if audio is None else np.pad(audio, ((0, missing), (0, 0))),
        None if azimuth is None else np.pad(azimuth, (0, missing), constant_values=np.nan),
        None
        if distance is None or truth.distance is None
        else np.pad(distance, (0, missing), constant_values=np.nan),
        np.pad(nobody, (0, missing), constant_values=True),
    )


def _match_active(cost: NDArray[np.float64], truth: SceneTruth) -> tuple[Matching, float | None]:
    """``match`` over the active speakers alone, in the scene's own numbering of speakers."""
    columns, margin = match(cost[:, list(truth.active)])
    named = tuple(None if column is None else truth.active[column] for column in columns)
    return named, None if margin is None else _rounded(margin)


def _scores(
    metrics: Sequence[Metric], signal: Signal, nobody: bool, truth: SceneTruth, speaker: int
) -> tuple[Scores, list[Failure]]:
    """The ``scores`` of a speaker, and what failed; of the mixture once for all systems."""
    failures: list[Failure] = []
    of_mixture: list[Failure] = []
    of_signal: list[Failure] = []
    if (reason := why_unusable(signal)) is not None:
        # Left out, a system that is silent where it is hard would be scored on the rest alone.
        if not nobody:  # an answer, and counted as such
            reason = f"{reason}; scored as the mixture"
            failures += [Failure(m.name, "estimate", speaker, reason) for m in metrics]
        signal = truth.mixture
    scores: dict[str, float | None] = {}
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
    return scores, failures + of_mixture + of_signal


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
