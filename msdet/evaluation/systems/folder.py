# SPDX-License-Identifier: Apache-2.0
"""Estimates that any system made of a file of scenes, as files in a folder.

::

    FOLDER/SCENE ID/speaker1.wav ...    one slot each: mono, as long as the scene, at its rate
    FOLDER/SCENE ID/directions.json     {"speakers": [{"file": "speaker1.wav", "azimuth_deg": 40.0},
                                        ...]}, in the order of the slots

``msdet separate`` writes the same audio, and ``speakers.json``, which is read where there is no
``directions.json``: it says more of each speaker, in the same words. A system may give audio alone
or directions alone (without ``file``), the same for all scenes. There may be more slots than
speakers, and fewer where a file says that no more were found. Where there are more or fewer in any
scene, or one is silent, their number is a claim in all.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from msdet.errors import InputError, first_mistake
from msdet.evaluation.systems.estimate import Estimate
from msdet.geometry import wrap_degrees
from msdet.inference.speakers_file import SPEAKERS_NAME, Located, SpeakersFile
from msdet.moments import moments_of, nearest_known
from msdet.simulation import Example, Scene
from msdet.simulation.mixture_files import scale_of

DIRECTIONS_NAME = "directions.json"
_SPEAKER_FILE = re.compile(r"speaker([1-9][0-9]*)\.wav")
_SHOWN = 3
"""Mistakes that an error names; of the rest it says how many there are."""


class _Slot(Located):
    model_config = ConfigDict(extra="forbid")


class _Directions(BaseModel):
    """The content of `DIRECTIONS_NAME`; ``recording`` is not read."""

    model_config = ConfigDict(title="directions", frozen=True, extra="forbid", strict=True)

    recording: str | None = None
    sample_rate: int | None = None
    speakers: tuple[_Slot, ...]


@dataclass(frozen=True)
class _Found:
    """The files of a scene's folder.

    Attributes:
        audio: files, if any, turned down by ``gain``. directions: None where no file tells any.
        clipped: samples at full scale in files of integers, by name. silent: a file is all zeros.
    """

    audio: tuple[Path, ...]
    directions: tuple[Located, ...] | None
    gain: float
    clipped: Mapping[str, int]
    silent: bool

    def numbers(self, key: str) -> NDArray[np.float64]:
        """``[slot]``, NaN for what is not said."""
        return np.array([getattr(of, key) for of in self.directions or ()], np.float64)


class FolderEstimates:
    """Estimates in a folder; can be sent to other processes.

    Attributes:
        separates: whether there is audio. localises: whether any azimuth is claimed. tracks:
            whether any is over time.
        clipped: samples at full scale in files of integers, by ``SCENE ID/FILE``.
    """

    def __init__(self, folder: Path | str, scenes: Sequence[Scene], key: str = "estimates") -> None:
        """Check that the folder has all files of every scene.

        Args:
            key: of the config, that the folder was named by.
        Raises:
            InputError: names the first scenes with a file that is missing or does not fit, what
                was found and what was expected, and how many more there are.
        """
        root = Path(folder)
        if not root.is_dir():
            reason = "is no folder" if root.exists() else "no such folder"
            raise InputError(f"{key}={folder}: {reason}")
        self._found: dict[str, _Found] = {}
        ids, mistakes = Counter(scene.id for scene in scenes), []
        twice = "of the scenes have this id, so that one folder cannot be told from another"
        mistakes += [f"{id}: {count} {twice}" for id, count in ids.items() if count > 1]
        for scene in scenes:
            try:
                self._found[scene.id] = _look(root / scene.id, scene)
            except ValueError as error:
                mistakes.append(f"{scene.id}/{error}")
        found = self._found.values()
        self.separates = any(of.audio for of in found)
        self.localises, self._ranges = (
            any(np.isfinite(of.numbers(name)).any() for of in found)
            for name in ("azimuth_deg", "distance_m")
        )
        self.tracks = any(s.track for of in found for s in of.directions or ())
        for id, of in {} if mistakes else self._found.items():
            if self.separates and not of.audio and of.directions != ():
                mistakes.append(f"{id}/speaker1.wav: is missing, though other scenes have audio")
            if self.localises and of.directions is None:
                mistakes.append(f"{id}/{DIRECTIONS_NAME}: is missing, though other scenes have one")
        if mistakes:
            more = len(mistakes) - _SHOWN
            rest = f"; and {more} more mistakes" if more > 0 else ""
            there = [(root / scene.id).is_dir() for scene in scenes]
            if False in there and (first := there.index(False)):
                rest += f"; the first {first} scenes are there: num_scenes={first} scores these"
            raise InputError(f"{key}={folder}: {'; '.join(mistakes[:_SHOWN])}{rest}")
        if not (self.separates or self.localises):
            raise InputError(f"{key}={folder}: there is no audio, and no azimuth is claimed")
        self.clipped = {
            f"{id}/{name}": count
            for id, of in self._found.items()
            for name, count in of.clipped.items()
        }
        wanted = {scene.id: len(scene.heard) for scene in scenes}
        self._counts = any(
            of.silent or len(of.audio or of.directions or ()) != wanted[id]
            for id, of in self._found.items()
        )

    @property
    def fingerprint(self) -> str:
        """A hash of the files' names and contents, and of all directions."""
        digest = hashlib.sha256()
        for name, found in sorted(self._found.items()):
            for path in found.audio:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{name}/{path.name} {content}\n".encode())
            for speaker in found.directions or ():
                digest.update(f"{name} {speaker.model_dump_json()}\n".encode())
        return digest.hexdigest()

    def estimate(self, scene: Scene) -> Estimate:
        """Return the system's output for a scene, which must be one of those that were given.

        Raises:
            InputError: names a file that is not what it was, and what is wrong with it now.
        """
        found = self._found[scene.id]
        azimuth = distance = audio = empty = track = None
        if self.localises:
            azimuth = found.numbers("azimuth_deg")
            if not scene.microphone_array().is_linear:
                azimuth = wrap_degrees(azimuth)
            if self.tracks:
                track = _tracks(found.directions or (), azimuth, scene)
        if self._ranges:
            distance = found.numbers("distance_m")
        if self.separates:
            audio = np.zeros((len(found.audio), scene.num_samples), np.float32)
            for slot, path in enumerate(found.audio):
                try:
                    audio[slot] = _examined(path, scene)[0] / np.float32(found.gain)
                except ValueError as error:
                    raise InputError(
                        f"{path}: {error}; it was changed since the evaluation began"
                    ) from error
        if self._counts:  # how many it claims is then a part of its answer
            if audio is not None:
                empty = np.asarray(~audio.any(axis=1))
            elif azimuth is not None:
                empty = np.isnan(azimuth)
        return Estimate(audio, azimuth, distance, empty, track=track)


def _tracks(
    speakers: Sequence[Located], azimuth: NDArray[np.float64], scene: Scene
) -> NDArray[np.float64]:
    """``[slot, moment]``, between the times of a track that of the nearest; without a track the
    slot's one azimuth."""
    moments = moments_of(scene.num_samples / scene.sample_rate)
    found = np.repeat(azimuth[:, None], len(moments), axis=1)
    for row, speaker in zip(found, speakers, strict=True):
        if speaker.track is not None and speaker.track.seconds:
            known = np.array(speaker.track.seconds), np.array(speaker.track.azimuth_deg)
            row[:] = nearest_known(*known, moments)
    return found


def as_rendered(estimate: Estimate, example: Example) -> Estimate:
    """Return an estimate at the level of its scene as it is rendered; files are as loud as `msdet
    simulate` writes the mixture. Beamformers and pictures compare it with that."""
    if estimate.audio is None:
        return estimate
    return replace(estimate, audio=estimate.audio / np.float32(scale_of(example)))


def _look(folder: Path, scene: Scene) -> _Found:
    """Read a scene's folder. Raises ValueError with the name of a file and what is wrong."""
    if not folder.is_dir():
        raise ValueError(" no such folder")
    for truth in ("labels.json", "mixture.wav"):
        if (folder / truth).exists():
            raise ValueError(
                f"{truth}: is of a rendered scene, whose speakers are the truth; name a folder of "
                "what a system made of them"
            )
    names = (_SPEAKER_FILE.fullmatch(path.name) for path in folder.iterdir())
    numbers = sorted(int(match[1]) for match in names if match)
    audio = tuple(folder / f"speaker{number}.wav" for number in numbers)
    for expected, number in enumerate(numbers, 1):
        if number != expected:
            raise ValueError(
                f"speaker{expected}.wav: is missing, though there is speaker{number}.wav"
            )
    tables, wanted = (folder / DIRECTIONS_NAME, folder / SPEAKERS_NAME), len(scene.heard)
    table = next((path for path in tables if path.exists()), None)
    if table is None and not audio:
        raise ValueError(f" holds neither speaker1.wav nor {DIRECTIONS_NAME}")
    if table is None and len(audio) < wanted:
        raise ValueError(
            f"speaker{len(audio) + 1}.wav: is missing, the scene has {wanted} speakers (for one "
            f"that was not found, give silence, or a {DIRECTIONS_NAME} without it)"
        )
    read, clipped, silent = table or folder, {}, False
    try:
        directions, gain = _read_directions(table, scene, len(audio)) if table else (None, 1.0)
        for read in audio:
            samples, bits = _examined(read, scene)
            silent |= not samples.any()
            if bits and (count := int((np.abs(samples) >= 1 - 2.0 ** (1 - bits)).sum())):
                clipped[read.name] = count
    except ValueError as error:
        raise ValueError(f"{read.name}: {error}") from error
    return _Found(audio, directions, gain, clipped, silent)


def _examined(path: Path, scene: Scene) -> tuple[NDArray[np.float32], int | None]:
    """A slot's samples, and the bits of integers. Raises ValueError with what is wrong."""
    import soundfile

    try:
        info = soundfile.info(path)
    except (RuntimeError, OSError, TypeError) as error:
        raise ValueError(f"cannot be read as audio ({str(error).splitlines()[0]})") from error
    compared = (
        ("channels", info.channels, 1),
        ("Hz", info.samplerate, scene.sample_rate),
        ("samples", info.frames, scene.num_samples),
    )
    wrong = [f"{found} {unit}, expected {want}" for unit, found, want in compared if found != want]
    if wrong:
        raise ValueError("; ".join(wrong))
    samples, _ = soundfile.read(path, dtype="float32")
    if not np.isfinite(samples).all():
        raise ValueError("holds NaN or infinite samples")
    integers = re.fullmatch(r"PCM_[SU]?(8|16|24|32)", info.subtype)
    return samples, int(integers[1]) if integers else None


def _read_directions(path: Path, scene: Scene, num_files: int) -> tuple[tuple[Located, ...], float]:
    """The slots of a scene, and their gain. Raises ValueError with what is wrong."""
    model = SpeakersFile if path.name == SPEAKERS_NAME else _Directions
    try:
        directions = model.model_validate_json(path.read_bytes())
    except ValidationError as error:
        (first, *_) = error.errors()
        # Of what is no JSON, the whole file would be shown.
        broken = first["type"] == "json_invalid"
        raise ValueError(first["msg"] if broken else first_mistake(error)) from error
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if directions.sample_rate not in (None, scene.sample_rate):
        raise ValueError(f"sample_rate={directions.sample_rate}, expected {scene.sample_rate}")
    speakers = directions.speakers
    if num_files and len(speakers) != num_files:
        raise ValueError(f"{len(speakers)} speakers, expected {num_files}, one for each WAV file")
    is_linear = scene.microphone_array().is_linear
    for i, speaker in enumerate(speakers):
        expected = f"speaker{i + 1}.wav"
        if speaker.file is not None and not (num_files and speaker.file == expected):
            wanted = repr(expected) if num_files else "none, as there is no audio"
            raise ValueError(f"speakers.{i}.file={speaker.file!r}: expected {wanted}")
        azimuth = speaker.azimuth_deg
        if is_linear and azimuth is not None and not 0 <= azimuth <= 180:
            raise ValueError(
                f"speakers.{i}.azimuth_deg={azimuth:g}: expected 0 to 180, the angle to the line "
                "of the microphones"
            )
        if speaker.track is not None and azimuth is None:
            raise ValueError(f"speakers.{i}.track: there is no azimuth_deg beside it")
    gain_db = directions.gain_db if isinstance(directions, SpeakersFile) else 0.0
    return speakers, 10 ** (gain_db / 20)
