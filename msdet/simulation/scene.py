# SPDX-License-Identifier: Apache-2.0
"""Scenes: everything that is drawn about one mixture, as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from msdet.corpora import Corpus, Split
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray, rotate_about_vertical
from msdet.parts import OwnPart
from msdet.simulation.config import Record, SceneConfig, Target, is_none
from msdet.simulation.noise_sources import Recordings, open_noise
from msdet.simulation.paths import SpeakerPath, draw_paths
from msdet.simulation.rooms import (
    BACKGROUND,
    FRESH_ROOM,
    MISMATCH,
    PATHS,
    RECORDER,
    SPEECH,
    Room,
    draw_room,
    draw_symmetry,
    random_generator,
    split_key,
)
from msdet.simulation.speech import SpeechCrop, draw_speech, draw_talkers, draw_utterances

_RUMBLE_HZ = (30.0, 120.0)
"""The corner of a rumble: of handling, traffic and ventilation."""
_STRETCHES = 20
"""Draws of a stretch of noise for each stream of a background."""


class ArrayRecord(Record):
    """The array a scene was drawn for; `positions` ``[mic][3]`` in the array's frame, metres."""

    name: str
    positions: tuple[tuple[float, float, float], ...]


class Noise(Record):
    """The microphones' own noise, white; `snr_db` is set at the reference, over the whole scene; of
    a conversation, where somebody speaks. Where nobody does, levels of noise are those that they
    have under speech of an RMS of 1."""

    snr_db: float
    seed: int = Field(ge=0)


class NoiseStretch(Record):
    """A stretch of a recording of noise, as long as the scene.

    Attributes:
        file: its name; of a folder's, the path within. offset: in samples at the scene's rate.
        shift: samples by which it is turned around its end, where several streams of a background
            are made of one stretch.
    """

    file: str
    offset: int = Field(ge=0)
    shift: int = Field(default=0, ge=0)


class Background(Record):
    """Sound besides that of the speakers; `snr_db` as in `Noise`.

    Attributes:
        recordings_folder: as the config named it, or the source of the user's own;
            recordings_fingerprint: what it held.
        recordings: one for each stream of the background: a microphone of a diffuse one, a place
            of a point one. Empty: noise with the spectrum of the scene's speech.
        shape_db, modulation_db: of noise that is made, see `BackgroundRanges`; None: as speech, and
            steady.
        talkers: the voices of a babble; where nobody speaks in the scene, the voice whose spectrum
            noise has.
    """

    kind: Literal["diffuse", "babble", "point"]
    snr_db: float
    seed: int = Field(ge=0)
    recordings_folder: str | OwnPart | None = None
    recordings_fingerprint: str | None = None
    recordings: tuple[NoiseStretch, ...] = ()
    talkers: tuple[SpeechCrop, ...] = ()
    shape_db: float | None = Field(default=None, exclude_if=is_none)
    modulation_db: float | None = Field(default=None, exclude_if=is_none)


class Mismatch(Record):
    """Each microphone's gain (dB) and phase (degrees) against the reference."""

    gain_db: tuple[float, ...]
    phase: tuple[float, ...]


class Recorder(Record):
    """The faults of what records a scene; None: it has not this one. See `ImperfectionRanges`.

    Attributes:
        rumble_hz: its corner. dc_offset: of each microphone, signed.
        seed: of the rumble, and of when and how clicks sound.
    """

    seed: int = Field(ge=0)
    noise_slope: float | None = None
    rumble_snr_db: float | None = None
    rumble_hz: float | None = None
    clicks: float | None = None
    dc_offset: tuple[float, ...] | None = None
    clipping_db: float | None = None


class Scene(Record):
    """One mixture as plain numbers.

    Attributes:
        speech: one crop a speaker, in the order of `room`; of a conversation its turns, which name
            their speakers.
        paths: of the speakers who walk; labels of `room` are those at the start.
    """

    id: str
    split: Split
    index: int
    epoch: int
    sample_rate: int = Field(gt=0)
    num_samples: int = Field(gt=0)
    array: ArrayRecord
    reference_mic: int = Field(ge=0)
    target: Target
    room: Room
    speech: tuple[SpeechCrop, ...]
    noise: Noise
    background: Background | None = None
    mismatch: Mismatch | None = None
    recorder: Recorder | None = Field(default=None, exclude_if=is_none)
    paths: tuple[SpeakerPath, ...] = Field(default=(), exclude_if=lambda paths: not paths)
    corpus: str

    @model_validator(mode="after")
    def _paths_are_of_the_room_s_speakers(self) -> Scene:
        numbers = [path.speaker for path in self.paths]
        if len(set(numbers)) < len(numbers) or max(numbers, default=0) >= len(self.room.speakers):
            raise ValueError(
                f"paths: of speakers {numbers}; expected one each, of 0 to "
                f"{len(self.room.speakers) - 1}"
            )
        return self

    def microphone_array(self) -> MicrophoneArray:
        return MicrophoneArray(self.array.name, self.array.positions)

    @property
    def is_conversation(self) -> bool:
        """Return whether people take turns; then some, or all, may not be heard."""
        return all(crop.speaker is not None for crop in self.speech)

    def turns(self) -> list[tuple[int, SpeechCrop]]:
        """Return all crops, each with the number in the room of who speaks."""
        return [
            (number if crop.speaker is None else crop.speaker, crop)
            for number, crop in enumerate(self.speech)
        ]

    def crops(self) -> dict[int, list[SpeechCrop]]:
        """Return the crops of each speaker who is heard, by number in the room, ascending."""
        turns = self.turns()
        return {
            number: [crop for speaker, crop in turns if speaker == number]
            for number in sorted({speaker for speaker, _ in turns})
        }

    def positions(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Return where the speakers of the room are at times ``[time]``, in metres from the array's
        centre and in its frame, ``[speaker, time, 3]``."""
        moments = np.asarray(seconds, np.float64)
        paths = {path.speaker: path for path in self.paths}
        places = [
            paths[number].at(moments)
            if number in paths
            else np.broadcast_to(speaker.position, (*moments.shape, 3))
            for number, speaker in enumerate(self.room.speakers)
        ]
        offsets = np.reshape(places, (len(places), *moments.shape, 3)) - self.room.array_centre
        return np.asarray(rotate_about_vertical(offsets, -self.room.array_rotation))

    def azimuths(self, seconds: ArrayLike) -> NDArray[np.float64]:
        """Return azimuth labels of the room's speakers at times ``[time]``, degrees
        ``[speaker, time]``."""
        return self.microphone_array().azimuth_of(self.positions(seconds))

    @property
    def heard(self) -> tuple[int, ...]:
        """Return the numbers in the room of the speakers who are heard, ascending."""
        return tuple(self.crops())


def draw_scene(
    config: SceneConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    *,
    seed: int = 0,
    split: Split = "train",
    index: int = 0,
    epoch: int = 0,
    sample_rate: int | None = None,
    num_samples: int | None = None,
    room: Room | None = None,
) -> Scene:
    """Draw the scene that belongs to (seed, split, index, epoch), and to nothing else.

    Args:
        corpus: the split's own part of a corpus.
        sample_rate: that of the corpus, hertz, which None takes.
        num_samples: length of the scene; None for whole utterances, as long as the longest, which
            makes no conversation.
        room: one that other scenes share (with `use_symmetry`, its array is turned by one of its
            symmetries); None draws a fresh one.
    Raises:
        InputError: the corpus has too few speakers, or one who is silent, no room fits the ranges,
            or no recording of noise is long enough.
    """
    sample_rate = sample_rate or corpus.sample_rate
    if corpus.sample_rate != sample_rate:
        raise InputError(
            f"corpus {corpus.name!r} is opened at {corpus.sample_rate} Hz, scenes are drawn at "
            f"{sample_rate} Hz"
        )

    def generator(stream: int) -> np.random.Generator:
        return random_generator(seed, split_key(split), stream, index, epoch)

    rng = generator(SPEECH)
    if room is None:
        room = draw_room(config, array, generator(FRESH_ROOM))
    elif config.use_symmetry:
        room = draw_symmetry(config, array, room, rng)
    if num_samples is None:
        if config.conversation is not None:
            raise InputError(
                "scene.conversation: is of scenes of a given length, not of whole utterances "
                "(seconds=null)"
            )
        speech = draw_utterances(config, corpus, len(room.speakers), rng)
        num_samples = max(crop.onset + crop.length for crop in speech)
    else:
        speech = draw_speech(config, corpus, len(room.speakers), num_samples, rng)
    return Scene(
        id=f"{split}-e{epoch:03d}-{index:06d}",
        split=split,
        index=index,
        epoch=epoch,
        sample_rate=sample_rate,
        num_samples=num_samples,
        array=ArrayRecord(name=array.name, positions=array.positions),
        reference_mic=config.reference_mic,
        target=config.target,
        room=room,
        speech=speech,
        noise=Noise(
            snr_db=round(float(rng.uniform(*config.snr_db)), 3),
            seed=int(rng.integers(2**53)),
        ),
        background=_draw_background(
            config, corpus, room, array.num_mics, speech, num_samples, generator(BACKGROUND)
        ),
        mismatch=_draw_mismatch(config, array.num_mics, generator(MISMATCH)),
        recorder=_draw_recorder(config, array.num_mics, generator(RECORDER)),
        paths=draw_paths(config, array, room, num_samples / sample_rate, generator(PATHS)),
        corpus=corpus.fingerprint,
    )


def fixed_scenes(
    scene: SceneConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    *,
    seed: int,
    split: Split,
    count: int,
    sample_rate: int,
    seconds: float,
) -> tuple[Scene, ...]:
    """Scenes of epoch 0, each in a room of its own. ``corpus``: the split's part."""
    given: dict[str, Any] = {"seed": seed, "split": split, "sample_rate": sample_rate}
    given["num_samples"] = round(seconds * sample_rate)
    return tuple(draw_scene(scene, array, corpus, index=index, **given) for index in range(count))


def _draw_background(
    config: SceneConfig,
    corpus: Corpus,
    room: Room,
    num_mics: int,
    speech: Sequence[SpeechCrop],
    num_samples: int,
    rng: np.random.Generator,
) -> Background | None:
    ranges = config.background
    kind = ranges.kinds[int(rng.integers(len(ranges.kinds)))] if ranges.kinds else "none"
    if kind == "none":
        return None
    snr_db = round(float(rng.uniform(*ranges.snr_db)), 3)
    seed = int(rng.integers(2**53))
    if kind == "babble":
        count = int(rng.integers(ranges.talkers[0], ranges.talkers[1] + 1))
        talkers = draw_talkers(corpus, speech, count, num_samples, rng)
        return Background(kind=kind, snr_db=snr_db, seed=seed, talkers=talkers)
    recordings = open_noise(ranges, corpus.sample_rate)
    if recordings is None:
        talkers = () if speech else draw_talkers(corpus, speech, 1, num_samples, rng)
        shape, modulation = (
            None if bounds is None else round(float(rng.uniform(*bounds)), 3)
            for bounds in (ranges.shape_db, ranges.modulation_db)
        )
        return Background(
            kind=kind,
            snr_db=snr_db,
            seed=seed,
            talkers=talkers,
            shape_db=shape,
            modulation_db=modulation,
        )
    count = num_mics if kind == "diffuse" else len(room.noise_sources)
    return Background(
        kind=kind,
        snr_db=snr_db,
        seed=seed,
        recordings_folder=ranges.source or ranges.recordings,
        recordings_fingerprint=recordings.fingerprint,
        recordings=_draw_recordings(recordings, count, num_samples, rng),
    )


def _draw_recordings(
    recordings: Recordings, count: int, num_samples: int, rng: np.random.Generator
) -> tuple[NoiseStretch, ...]:
    """Stretches that are not silent and share no sound.

    Where the recordings hold too little for that, one stretch, turned around its end by even parts
    of its length: what is heard at one time then comes from different times of it.
    """
    files = recordings.at_least(num_samples)
    drawn: list[NoiseStretch] = []
    for _ in range(_STRETCHES * count):
        file = files[int(rng.integers(len(files)))]
        offset = int(rng.integers(recordings.lengths[file] - num_samples + 1))
        shared = any(r.file == file and abs(r.offset - offset) < num_samples for r in drawn)
        if not shared and recordings.read(file, offset, num_samples).any():
            drawn.append(NoiseStretch(file=file, offset=offset))
        if len(drawn) == count:
            return tuple(drawn)
    if not drawn:
        raise InputError(
            f"{recordings.key}: {_STRETCHES * count} stretches of "
            f"{num_samples / recordings.sample_rate:g} s were silent, the last of {file}"
        )
    start = int(rng.integers(num_samples))
    shifts = [(start + stream * num_samples // count) % num_samples for stream in range(count)]
    return tuple(drawn[0].model_copy(update={"shift": shift}) for shift in shifts)


def _draw_mismatch(config: SceneConfig, num_mics: int, rng: np.random.Generator) -> Mismatch | None:
    imperfections = config.imperfections
    if not (imperfections.gain_db or imperfections.phase):
        return None
    gain_db, phase = rng.standard_normal((2, num_mics))
    gain_db, phase = gain_db * imperfections.gain_db, phase * imperfections.phase
    gain_db[config.reference_mic] = phase[config.reference_mic] = 0.0
    return Mismatch(gain_db=tuple(gain_db.round(4).tolist()), phase=tuple(phase.round(4).tolist()))


def _draw_recorder(config: SceneConfig, num_mics: int, rng: np.random.Generator) -> Recorder | None:
    ranges = config.imperfections.of_recorder
    if not ranges:
        return None
    drawn: dict[str, Any] = {"seed": int(rng.integers(2**53))}
    for key, bounds in ranges.items():
        size = num_mics if key == "dc_offset" else 1
        values = rng.uniform(*bounds, size) * (rng.choice([-1, 1], size) if size > 1 else 1)
        drawn[key] = tuple(values.round(4).tolist()) if size > 1 else round(float(values[0]), 4)
    if "rumble_snr_db" in drawn:
        drawn["rumble_hz"] = round(float(rng.uniform(*_RUMBLE_HZ)), 2)
    return Recorder(**drawn)
