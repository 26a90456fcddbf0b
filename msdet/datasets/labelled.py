# SPDX-License-Identifier: Apache-2.0
"""Recordings with the labels that they have: the list that names them, and stretches of them.

A list is a JSONL file, a recording a line; its paths start from the folder of the list::

    {"mixture": "a.wav", "azimuth": [10, 200], "distance": [1.2, 2.0]}
    {"mixture": "b.wav", "targets": ["b1.wav", "b2.wav"], "azimuth": [90, 45]}

Each has ``azimuth`` (degrees in the array's frame) or ``targets`` (mono, at the reference
microphone, as long as the mixture and at the level that they have in it) or both; ``elevation``
(degrees) and ``distance`` (metres) where they are known. All that a line lists is in one order of
speakers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.audio import resample
from msdet.audio_files import reading
from msdet.datasets.examples import (
    LABELLED_CROP,
    LABELLED_ORDER,
    ExampleSet,
    in_turn,
    start_of_crop,
)
from msdet.errors import InputError, first_mistake, naming
from msdet.geometry import MicrophoneArray
from msdet.high_pass import HighPass, high_passed, reach
from msdet.simulation.rooms import random_generator
from msdet.tasks import Label

_BLOCK = 1 << 18
"""Frames that are checked at a time."""
_FILTER_REACH = 8
"""Samples, at the lower rate, from which a resampled one is computed: torchaudio takes 6 a side."""


class Row(BaseModel):
    """A line of a list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    mixture: str = Field(min_length=1)
    azimuth: tuple[float, ...] | None = Field(default=None, min_length=1)
    elevation: tuple[Annotated[float, Field(ge=-90, le=90)], ...] | None = Field(
        default=None, min_length=1
    )
    distance: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(default=None, min_length=1)
    targets: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None, min_length=1
    )

    @property
    def num_speakers(self) -> int:
        return len(self.azimuth or self.targets or ())

    @property
    def labels(self) -> frozenset[Label]:
        """Those that it has."""
        names: tuple[Label, ...] = ("targets", "azimuth", "distance")
        return frozenset(name for name in names if getattr(self, name) is not None)


@dataclass(frozen=True)
class Recording:
    """A checked line of a list.

    Attributes:
        mixture, targets: files. channels: which of the mixture's are the microphones, in order.
        num_channels: how many it has.
        num_samples: at the sample rate of the training. rate: of the files, hertz.
        level: RMS of the reference microphone, over all of it.
    """

    row: Row
    mixture: Path
    targets: tuple[Path, ...]
    channels: tuple[int, ...]
    num_channels: int
    num_samples: int
    rate: int
    level: float


@dataclass(frozen=True)
class LabelledRecordings:
    """The recordings of a list, any stretch of them at a time; can be sent to other processes.

    Attributes:
        sample_rate: of what is read, hertz; files with a higher one are resampled.
        identity: of the list and of its files' names, lengths and sizes.
    """

    path: Path
    recordings: tuple[Recording, ...]
    sample_rate: int
    identity: str

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def labels(self) -> frozenset[Label]:
        """Those that every recording has."""
        return frozenset.intersection(*(r.row.labels for r in self.recordings))

    @property
    def any_labels(self) -> frozenset[Label]:
        """Those that one recording or more has."""
        return frozenset[Label]().union(*(r.row.labels for r in self.recordings))

    def read(
        self, number: int, begin: int, num_samples: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """A stretch of a recording from sample `begin` on, and no more of its files than that.

        Returns:
            The mixture ``[mic, sample]`` and the targets ``[speaker, sample]``, if it has some.
        Raises:
            InputError: a file cannot be read any more, or is another one than it was.
        """
        recording = self.recordings[number]
        rate, where = recording.rate, (begin, num_samples)
        mixture = self._stretch(recording.mixture, rate, recording.num_channels, *where)
        targets = [self._stretch(target, rate, 1, *where) for target in recording.targets]
        return mixture[list(recording.channels)], np.concatenate(targets) if targets else None

    def _stretch(
        self, path: Path, rate: int, num_channels: int, begin: int, num_samples: int
    ) -> NDArray[np.float32]:
        """``[channel, num_samples]``, the same samples as of the whole file, resampled and rid of
        offsets and rumble."""
        import soundfile

        common = math.gcd(rate, self.sample_rate)
        step, made = rate // common, self.sample_rate // common  # so many make so many
        margin = math.ceil((_FILTER_REACH + reach(self.sample_rate)) / made)
        first = max(0, begin // made - margin)
        last = -(-(begin + num_samples) // made) + margin
        with reading(path), soundfile.SoundFile(path) as sound:
            as_checked = (sound.samplerate, sound.channels) == (rate, num_channels)
            sound.seek(min(first * step, sound.frames))
            native = sound.read((last - first) * step, dtype="float32", always_2d=True)
        audio = resample(torch.from_numpy(native.T.copy()), rate, self.sample_rate)
        start = begin - first * made
        found = high_passed(audio.numpy(), self.sample_rate)[:, start : start + num_samples]
        if not as_checked or found.shape[-1] < num_samples or not np.isfinite(found).all():
            raise InputError(f"{path}: has changed since training began; start it anew")
        return found


# --- as training examples -----------------------------------------------------------------


@dataclass(frozen=True)
class LabelledExample:
    """A stretch of a recording, with None for what is not known.

    Attributes:
        mixture: float32 ``[mic, sample]``; the reference microphone has an RMS of 1.
        targets: ``[speaker, sample]``, with the same gain. azimuth, elevation: degrees
            ``[speaker]``. distance: metres ``[speaker]``.
        index: of the recording in its list. array: that of the training.
    """

    mixture: NDArray[np.float32]
    targets: NDArray[np.float32] | None
    azimuth: NDArray[np.float32] | None
    elevation: NDArray[np.float32] | None
    distance: NDArray[np.float32] | None
    num_speakers: int
    index: int
    track: None = None
    array: None = None


class LabelledExamples(ExampleSet):
    """Stretches of recordings: each a pure function of (seed, index, epoch)."""

    def __init__(
        self,
        recordings: LabelledRecordings,
        *,
        seed: int,
        num_samples: int,
        length: int,
        reference_mic: int,
    ) -> None:
        super().__init__(length, recordings.labels, recordings.any_labels)
        self.recordings, self.seed = recordings, seed
        self.num_samples, self.reference_mic = num_samples, reference_mic

    def number(self, epoch: int, index: int) -> int:
        """Return the recording that an example is from: every one once before any comes again."""
        position = epoch * self.length + index
        return in_turn(self.seed, position, len(self.recordings), LABELLED_ORDER)

    def example(self, epoch: int, index: int) -> LabelledExample:
        """Take a stretch in which all targets speak; without targets: in which there is sound."""
        number = self.number(epoch, index)
        recording = self.recordings.recordings[number]
        read = cache(partial(self.recordings.read, number, num_samples=self.num_samples))

        def quietest(start: int) -> float:
            mixture, targets = read(start)
            heard = mixture[[self.reference_mic]] if targets is None else targets
            return min(map(_rms, heard)) / recording.level

        rng = random_generator(self.seed, LABELLED_CROP, epoch, index)
        spare = recording.num_samples - self.num_samples
        mixture, targets = read(start_of_crop(spare, rng, quietest))
        level = _rms(mixture[self.reference_mic])
        gain = np.float32(1 / level if level > 0 else 1)
        row = recording.row
        return LabelledExample(
            mixture=mixture * gain,
            targets=None if targets is None else targets * gain,
            azimuth=_float32(row.azimuth),
            elevation=_float32(row.elevation),
            distance=_float32(row.distance),
            num_speakers=row.num_speakers,
            index=number,
        )


def _rms(signal: NDArray[np.float32]) -> float:
    return math.sqrt(float(np.mean(np.square(signal, dtype=np.float64))))


def _float32(values: Sequence[float] | None) -> NDArray[np.float32] | None:
    return None if values is None else np.array(values, np.float32)


# --- opening a list -----------------------------------------------------------------------


def open_labelled(
    path: Path,
    *,
    array: MicrophoneArray,
    sample_rate: int,
    reference_mic: int,
    num_speakers: tuple[int, int],
    num_samples: int,
) -> LabelledRecordings:
    """See that all recordings of a list serve a training; every file is read once.

    Args:
        num_speakers: least and most that a recording may have.
        num_samples: that it has at least, at `sample_rate`.
    Raises:
        InputError: names the list, the line and the first thing that does not fit.
    """
    key = f"data.labelled={path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{key}: cannot be read as a list of recordings ({reason})") from error
    rows = [
        (f"{path}:{n}", _row(f"{path}:{n}", line, array, num_speakers))
        for n, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]
    if not rows:
        raise InputError(f"{key}: names no recordings")
    digest = hashlib.sha256()
    recordings = []
    for where, row in rows:
        with naming(where):
            recording = _recording(row, path.parent, array, sample_rate, reference_mic)
        if recording.num_samples < num_samples:
            raise InputError(
                f"{where}: mixture: {recording.mixture} is "
                f"{recording.num_samples / sample_rate:.4g} s long, shorter than "
                f"data.crop_seconds={num_samples / sample_rate:g}"
            )
        recordings.append(recording)
        sizes = [file.stat().st_size for file in (recording.mixture, *recording.targets)]
        digest.update(json.dumps([row.model_dump(), recording.num_samples, sizes]).encode())
    return LabelledRecordings(path, tuple(recordings), sample_rate, digest.hexdigest())


def _row(where: str, line: str, array: MicrophoneArray, num_speakers: tuple[int, int]) -> Row:
    try:
        row = Row.model_validate_json(line)
    except ValidationError as error:
        (first, *_) = error.errors()
        broken = first["type"] in ("json_invalid", "model_type")  # else all of it would be shown
        mistake = f"row: {first['msg']}" if broken else first_mistake(error)
        raise InputError(f"{where}: {mistake}") from error
    if row.azimuth is None and row.targets is None:
        raise InputError(f"{where}: has neither azimuth nor targets; give one of them or both")
    counts = {
        name: len(values)
        for name in ("azimuth", "elevation", "distance", "targets")
        if (values := getattr(row, name)) is not None
    }
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise InputError(f"{where}: lists of different lengths ({shown}); one entry a speaker")
    fewest, most = num_speakers
    if not fewest <= row.num_speakers <= most:
        count = row.num_speakers
        mend = f"scene.num_speakers=[{min(count, fewest)}, {max(count, most)}] trains on them"
        raise InputError(
            f"{where}: {count} {'speaker' if count == 1 else 'speakers'}, but "
            f"scene.num_speakers=[{fewest}, {most}]; {mend}"
        )
    low, high, which = (0, 180, "to 180") if array.is_linear else (0, 360, "to less than 360")
    for azimuth in row.azimuth or ():
        if not low <= azimuth <= high or (azimuth == high and not array.is_linear):
            raise InputError(
                f"{where}: azimuth={azimuth:g}: that of the array {array.name!r} is from 0 {which} "
                "degrees"
            )
    return row


def _recording(
    row: Row, folder: Path, array: MicrophoneArray, sample_rate: int, reference_mic: int
) -> Recording:
    mixture = folder / row.mixture
    rate, frames, count = _header("mixture", mixture)
    channels = array.microphones_of(count)
    if channels is None:
        wanted = array.file_channels
        full = "" if wanted is None else f", or {wanted} of which they are {list(array.channels)}"
        raise InputError(
            f"mixture: {mixture} has {count} channels, but the array {array.name!r} has "
            f"{array.num_mics} microphones{full}"
        )
    if rate < sample_rate:
        raise InputError(
            f"mixture: {mixture} has a sample rate of {rate} Hz, below the {sample_rate} Hz of the "
            "training: the upper frequencies are missing; give recordings of it or a higher one"
        )
    level = _level("mixture", mixture, frames, channels[reference_mic])
    if not level > 0:
        raise InputError(f"mixture: {mixture} is silent at the reference microphone")
    targets = tuple(folder / name for name in row.targets or ())
    for target in targets:
        found = _header("targets", target)
        if found != (rate, frames, 1):
            raise InputError(
                f"targets: {target} has {found[2]} channels of {found[1]} samples at {found[0]} "
                f"Hz; expected 1 of {frames} at {rate} Hz, as {row.mixture} has"
            )
        if not _level("targets", target, frames, 0) > 0:
            raise InputError(f"targets: {target} is silent; list the speakers who speak")
    return Recording(
        row=row,
        mixture=mixture,
        targets=targets,
        channels=channels,
        num_channels=count,
        num_samples=frames * sample_rate // rate,
        rate=rate,
        level=level,
    )


def _header(key: str, path: Path) -> tuple[int, int, int]:
    """Sample rate, samples and channels of a file."""
    import soundfile

    if not path.is_file():
        raise InputError(f"{key}: {path}: no such file")
    with naming(key), reading(path):
        info = soundfile.info(path)
    return info.samplerate, info.frames, info.channels


def _level(key: str, path: Path, frames: int, channel: int) -> float:
    """RMS of a channel without offset and rumble; all of the file is read, so that nothing bad
    shows up in training."""
    import soundfile

    energy, read = 0.0, 0
    with naming(key), reading(path), soundfile.SoundFile(path) as sound:
        high_pass = HighPass(sound.samplerate)
        for block in sound.blocks(_BLOCK, dtype="float32", always_2d=True):
            if not np.isfinite(block).all():
                raise InputError(f"{path} holds NaN or infinite samples")
            heard = high_pass.feed(block[None, :, channel])
            energy += float(np.square(heard, dtype=np.float64).sum())
            read += len(block)
    energy += float(np.square(high_pass.feed(heard[:, :0], last=True)).sum()) if read else 0.0
    if read != frames:
        raise InputError(f"{key}: {path} is cut off: {read} of {frames} samples can be read")
    return math.sqrt(energy / max(1, read))
