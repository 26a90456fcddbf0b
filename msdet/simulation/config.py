# SPDX-License-Identifier: Apache-2.0
"""The family of a scene: the ranges that rooms, poses, speakers and levels are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.parts import OwnPart

Range = tuple[float, float]
Backend = Literal["exact", "hybrid", "anechoic"]
Target = Literal["direct", "early", "image"]
BackgroundKind = Literal["none", "diffuse", "babble", "point"]

MOST_SPEAKERS = 5
MOST_ABSORPTION = 1.01
"""A T60 counts as reachable within a percent: Sabine's formula is no closer itself."""

MOST_DECIBELS = 100.0
MOST_SIGMAS = 4.0
"""Errors of microphones' places are cut off here, so that it is known how far they reach."""

OCTAVES_HZ = (125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Centres of the bands that walls may absorb differently in."""


class Record(BaseModel):
    """Plain values that do not change, with these keys and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def is_none(value: object) -> bool:
    """Return whether a key of a record has no value, and is left out of its JSON."""
    return value is None


class RoomRanges(Record):
    """Inner size of the shoebox.

    Attributes:
        length, width, height: metres.
    """

    length: Range = (4.0, 8.0)
    width: Range = (4.0, 8.0)
    height: Range = (2.5, 3.5)


class ArrayRanges(Record):
    """The place of the array's centre and how it is turned about the vertical.

    Attributes:
        wall_distance: metres, of the array's centre from the side walls, at least.
        offset: metres, of the centre from the room's middle along its length and along its width,
            at most; null: anywhere between the walls.
        height: metres, of the centre above the floor.
        rotation: degrees about the vertical, of the array's x axis from the room's length axis.
    """

    wall_distance: float = 0.5
    offset: float | None = None
    height: Range = (1.0, 1.5)
    rotation: Range = (0.0, 360.0)


class SpeakerRanges(Record):
    """Where speakers stand, seen from the array.

    Attributes:
        azimuth: degrees in the array's frame; a linear array takes the part within [0, 180].
        distance: metres from the array's centre, in three dimensions.
        distance_law: what is drawn evenly: the `distance`, or the `area` (its square).
        height_offset: metres above the array's centre.
        min_angle: degrees between the azimuths of any two speakers, at least.
        wall_distance: metres from walls, floor and ceiling, at least.
    """

    azimuth: Range = (0.0, 360.0)
    distance: Range = (0.7, 2.5)
    distance_law: Literal["distance", "area"] = "distance"
    height_offset: Range = (-0.2, 0.2)
    min_angle: float = 15.0
    wall_distance: float = 0.3


class ConversationRanges(Record):
    """How people take turns; each scene draws its own values.

    Attributes:
        turn: seconds, median length of a turn.
        pause: seconds, mean of the pauses between turns.
        interruption: share of the turns that begin before the last one has ended.
        overlap: seconds, mean by which they do.
        backchannel: share of the turns into which somebody else says something short.
        most_heard: as many speakers are heard in a scene at most, those who speak longest; null:
            all of them.
    """

    turn: Range = (1.0, 4.0)
    pause: Range = (0.2, 4.0)
    interruption: Range = (0.1, 0.6)
    overlap: Range = (0.2, 1.0)
    backchannel: Range = (0.0, 0.3)
    most_heard: int | None = None


class MovementRanges(Record):
    """How speakers walk about: straight to a place in the ranges of `scene.speaker`, where they
    stand, and on to the next.

    Attributes:
        share: of the speakers who do, in the mean; the others stand still.
        speed: metres per second, the mean over a way.
        pause: seconds of standing before each way.
    """

    share: float = 1.0
    speed: Range = (0.3, 1.2)
    pause: Range = (0.0, 2.0)


class BackgroundRanges(Record):
    """The background: all that is heard besides the speakers and the microphones' own noise.

    Attributes:
        kinds: one is drawn for each scene. `diffuse`: noise from all directions alike. `babble`:
            people of the same split from all directions, not those of the scene where there are
            others. `point`: noise from places in the room. `none`: nothing in this scene. No kinds
            at all: never any.
        snr_db: all reverberant speech over the background, at the reference microphone.
        recordings: folder of noise recordings for `diffuse` and `point`, as long as a scene each;
            null: noise with the long-term spectrum of the scene's own speech.
        source: in their place, noise of your own (see *Your own corpus*):
            `{_target_: mine.Noise, ...}`.
        talkers: voices of a babble.
        sources: places that a `point` background comes from.
        shape_db: dB, standard deviation of the octaves of a smooth spectrum that is drawn around
            that of pink noise, for `diffuse` and `point` in place of the spectrum of speech; null:
            none is drawn.
        modulation_db: dB, standard deviation of a slow random level of `diffuse` and `point` noise
            (of each place its own); null: it is steady.
    """

    kinds: tuple[BackgroundKind, ...] = ()
    snr_db: Range = (5.0, 20.0)
    recordings: str | None = None
    source: OwnPart | None = None
    talkers: tuple[int, int] = (4, 8)
    sources: tuple[int, int] = (1, 1)
    shape_db: Range | None = None
    modulation_db: Range | None = None


class ImperfectionRanges(Record):
    """How an array and its recorder differ from their plans; all zero or null: not at all.

    Labels and targets stay those of the plans.

    Attributes:
        gain_db: standard deviation of each microphone's gain, relative to the reference.
        phase: degrees, standard deviation of each microphone's phase, the same at all frequencies.
        position: metres, standard deviation of each coordinate of a microphone.
        rotation: degrees about the vertical, at most.
        tilt: degrees about each of the two horizontal axes, at most.
        noise_slope: dB per octave, of the spectrum of the microphones' own noise.
        rumble_snr_db: all reverberant speech over a rumble below 30 to 120 Hz that all microphones
            hear alike, at the reference microphone.
        clicks: per second on average, each on one microphone, of .2 to 2 ms and 6 to 26 dB above
            the mixture.
        dc_offset: of each microphone, up or down, as a share of the mixture's RMS at the reference.
        clipping_db: dB below the highest peak of all microphones, at which all of them are clipped.
    """

    gain_db: float = 0.0
    phase: float = 0.0
    position: float = 0.0
    rotation: float = 0.0
    tilt: float = 0.0
    noise_slope: Range | None = None
    rumble_snr_db: Range | None = None
    clicks: Range | None = None
    dc_offset: Range | None = None
    clipping_db: Range | None = None

    @property
    def moves_microphones(self) -> bool:
        """Return whether microphones stand elsewhere than planned."""
        return max(self.position, self.rotation, self.tilt) > 0

    @property
    def of_recorder(self) -> dict[str, Range]:
        """Return the ranges of what is the recorder's, by their keys, of those that are given."""
        keys = ("noise_slope", "rumble_snr_db", "clicks", "dc_offset", "clipping_db")
        return {key: value for key in keys if (value := getattr(self, key)) is not None}


class SceneConfig(Record):
    """The ranges of a family of scenes; the defaults are the quickstart's task.

    Attributes:
        num_speakers: 1 to 5. Training on a varying number, such as [1, 3], makes a network that
            says which of its outputs are empty.
        conversation: people take turns, and who says nothing in a scene is not in it: it may hold
            fewer speakers than `num_speakers`, or none. The keys of its ranges, such as
            {turn: [1, 4]}, or {} for their defaults; null: all speak as `overlap` says.
        movement: speakers walk about; the keys of its ranges, such as {speed: [0.5, 1]}, or {} for
            their defaults; null: all stand still. Needs `rirs` hybrid or anechoic.
        t60: asked reverberation time, seconds (Sabine); labels carry the measured one.
        t60_per_octave: seven factors on it, at 125, 250, 500, 1000, 2000, 4000 and 8000 Hz, such as
            [1.2, 1.1, 1, 1, 0.9, 0.8, 0.6]; null: walls absorb all frequencies alike.
        rirs: how room responses are computed: `exact` (all image sources), `hybrid` (image
            sources, then a diffuse tail with the same decay: many times as fast in long
            reverberation) or `anechoic` (no walls).
        level_db: of further speakers relative to the first.
        level_law: `uniform`, or `triangular`: the middle of the range is the likeliest.
        overlap: 0: speakers take turns, 1: all speak all the time. Each of n speakers speaks
            (1 + (n - 1) overlap) / n of the scene, starting at even steps, in random order. With
            two speakers it is the share of the scene in which both speak.
        snr_db: all reverberant speech over the microphones' own white noise, at the reference.
        target: what is to be separated: `direct` path, `early` (50 ms), or all of it (`image`).
        reference_mic: the microphone that targets and scores belong to.
        use_symmetry: scenes in rooms of a fixed set also listen with the array turned by its own
            symmetries, which costs no new room responses: four times the scenes with four
            microphones on a circle.
    """

    num_speakers: tuple[int, int] = (2, 2)
    conversation: ConversationRanges | None = None
    movement: MovementRanges | None = None
    room: RoomRanges = RoomRanges()
    t60: Range = (0.15, 0.35)
    t60_per_octave: tuple[float, ...] | None = None
    rirs: Backend = "exact"
    array: ArrayRanges = ArrayRanges()
    speaker: SpeakerRanges = SpeakerRanges()
    level_db: Range = (-5.0, 5.0)
    level_law: Literal["uniform", "triangular"] = "uniform"
    overlap: Range = (1.0, 1.0)
    snr_db: Range = (20.0, 30.0)
    background: BackgroundRanges = BackgroundRanges()
    imperfections: ImperfectionRanges = ImperfectionRanges()
    target: Target = "direct"
    reference_mic: int = 0
    use_symmetry: bool = True

    @property
    def heard_speakers(self) -> tuple[int, int]:
        """Return how many speakers are heard in a scene, at least and at most."""
        fewest, most = self.num_speakers
        if self.conversation is None:
            return fewest, most
        return 0, min(most, self.conversation.most_heard or most)


def sabine_absorption(size: Sequence[float], t60: float) -> float:
    """Energy absorption of the walls for a T60 by Sabine's formula; over 1 = not reachable."""
    length, width, height = size
    surface = 2 * (length * width + length * height + width * height)
    return 24 * math.log(10) * length * width * height / (SPEED_OF_SOUND * surface * t60)


def observable_azimuths(config: SceneConfig, array: MicrophoneArray) -> Range:
    """The range of azimuth labels, degrees; [0, 180] at most for a linear array."""
    low, high = config.speaker.azimuth
    return (max(low, 0.0), min(high, 180.0)) if array.is_linear else (low, high)
