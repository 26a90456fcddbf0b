# SPDX-License-Identifier: Apache-2.0
"""The scores of one scene as plain data: a row holds them as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

Scores = Mapping[str, float | None]
"""By metric; None where it could not be computed."""


@dataclass(frozen=True)
class Failure:
    """One value that could not be computed.

    Attributes:
        metric: the name of a metric, ``azimuth``, ``azimuth_best_matched``, ``attenuation``.
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
        slot: the output that pi_sep gives this speaker; None for a silent target, and of a system
            that finds directions alone. A number beyond the outputs is none of them.
        silent: the target is silent: no scores, not part of any mean.
        scores: for each metric ``m`` that was computed: ``m`` (estimate against target),
            ``m_unprocessed`` (reference microphone against target) and ``m_improvement`` (their
            difference, positive where the estimate is better). dB for SI-SDR, SDR, SIR and SAR.
            None where it failed, and for the SIR of a single speaker.
        azimuth: degrees, the truth (where people walk, of the start); None where it is not known.
        azimuth_estimate: degrees, of the speaker's slot, as claimed.
        azimuth_error: degrees, of ``azimuth_estimate``, where people walk the mean over the moments
            at which the speaker is heard; None for a system that does not both separate and find
            directions.
        azimuth_error_best_matched: degrees, under pi_doa.
        distance_estimate, distance_error: metres, of the speaker's slot; None for a model that
            does not say.
        azimuth_estimate_best_matched: degrees, of the slot that pi_doa gives this speaker.
        frames_within: of these moments, by a limit in degrees, the share with at most that error as
            claimed; None where nobody walks.
    """

    speaker: int
    slot: int | None
    silent: bool
    scores: Scores
    azimuth: float | None
    azimuth_estimate: float | None
    azimuth_error: float | None
    azimuth_error_best_matched: float | None
    distance_estimate: float | None = None
    distance_error: float | None = None
    azimuth_estimate_best_matched: float | None = None
    frames_within: Mapping[int, float] | None = None


@dataclass(frozen=True)
class SceneScore:
    """One scene.

    Attributes:
        speakers: one entry per speaker of the scene, silent ones included.
        speaker_of_slot: pi_sep, which maximises the mean SI-SDR; None for a slot left over, and
            for all of a system that finds directions alone.
        speaker_of_slot_by_azimuth: pi_doa, which minimises the mean angular error; None as a
            whole for a model without DoA.
        wrong_slot: per slot, whether the two differ; None for a slot left over, without DoA, and
            where the audio does not say who is in it: silence, or the same as in another slot.
        si_sdr_margin_db, azimuth_margin_deg: by how much the best permutation beats the second
            best; None where there is only one, and of audio that is the same in every slot.
        ambiguous: one of the margins is below 1 dB or 5 degrees; None where the audio is the same
            in every slot, as of a mixture to which nothing was done.
        order_correct: the speakers come in the order that the assignment prescribes; None where
            it prescribes none, where fewer than two are heard, and where a speaker's slot holds
            the same as another.
        attenuation_db: for each slot left over by silent targets or by fewer speakers than
            slots, how far its energy lies below the reference microphone's.
        failures: everything that is null above, or scored as the mixture, although it should be
            a number; that nobody was found is none.
        speakers_claimed: how many slots the system says hold a speaker; None for one that does
            not say.
        identity_switches: per minute, how often the tracks of two speakers change over; None where
            nobody walks, and of a system that has no two tracks.
    """

    speakers: tuple[SpeakerScore, ...]
    speaker_of_slot: tuple[int | None, ...]
    speaker_of_slot_by_azimuth: tuple[int | None, ...] | None
    wrong_slot: tuple[bool | None, ...]
    si_sdr_margin_db: float | None
    azimuth_margin_deg: float | None
    ambiguous: bool | None
    order_correct: bool | None
    attenuation_db: tuple[float | None, ...]
    failures: tuple[Failure, ...]
    speakers_claimed: int | None = None
    identity_switches: float | None = None


@dataclass(frozen=True)
class Claims:
    """A system's statements about its slots, beside their audio.

    Attributes:
        azimuth: ``[slot]`` degrees; NaN for a slot that claims none; None for a model without DoA.
        distance: ``[slot]`` metres; None for a model that does not say.
        empty: ``[slot]`` whether nobody is there; None for a model that cannot say so.
        track: ``[slot, moment]`` degrees, at the moments of :attr:`SceneTruth.track`; None for a
            system that claims one direction a slot.
    """

    azimuth: ArrayLike | None = None
    distance: ArrayLike | None = None
    empty: ArrayLike | None = None
    track: ArrayLike | None = None


class Record(BaseModel):
    """Plain data that a line of JSON holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SceneLabels(Record):
    """Labels of a scene, by name, which breakdowns group by.

    Attributes:
        scene: of the whole scene: numbers, or words such as the kind of background; None where
            there is none, as the T60 where no decay could be fitted.
        speaker: of each speaker ``[speaker]``, in the scene's order.
    """

    scene: Mapping[str, float | str | None] = {}
    speaker: Mapping[str, tuple[float | None, ...]] = {}


class SceneRow(Record):
    """One scored scene: a line of ``rows.jsonl``, with the score of every system by name.

    Attributes:
        index: the scene's place in the scenes file.
    """

    index: int = Field(ge=0)
    id: str
    labels: SceneLabels = SceneLabels()
    systems: Mapping[str, SceneScore]

    @classmethod
    def of(cls, score: SceneScore, index: int, labels: SceneLabels | None = None) -> Self:
        """Return the row of one system, called ``model``."""
        labels = labels or SceneLabels()
        return cls(index=index, id=str(index), labels=labels, systems={"model": score})
