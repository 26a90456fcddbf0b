# SPDX-License-Identifier: Apache-2.0
"""Sources of noise for backgrounds: a folder of recordings, or a class of the user's own."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from msdet.audio_files import AUDIO_SUFFIXES, find_audio, reading
from msdet.corpora import checked_signal, resampled
from msdet.corpora.listing import read_header
from msdet.errors import InputError
from msdet.parts import OwnPart, build
from msdet.simulation.config import BackgroundRanges

_log = logging.getLogger(__name__)

OWN_NOISE = "scene.background.source"

_PROBE_SECONDS = 0.1
"""The start of each of the user's own recordings is read before work starts."""


class NoiseSource(Protocol):
    """Noise of the user's own: ``scene.background.source={_target_: mine.Noise, ...}``.

    The class is made with the arguments of the config and with ``sample_rate`` (hertz).

    Attributes:
        lengths: how long each recording is, samples at that rate, by its name.
        fingerprint: another text for other noise; scenes name their noise by it.
    """

    lengths: Mapping[str, int]
    fingerprint: str

    def read(self, name: str, offset: int, num_samples: int) -> NDArray[np.float32]:
        """Return a stretch of a recording, ``[num_samples]`` of float32, from sample `offset` on.

        A function of its arguments: the same stretch is the same sound in every process.
        """
        ...


@dataclass(frozen=True)
class Recordings:
    """Recordings of noise at one sample rate.

    Attributes:
        key: what names them in errors. lengths, fingerprint: as in `NoiseSource`.
        read: as `NoiseSource.read`; raises InputError for what cannot be read, ends too early, or
            is not finite.
    """

    key: str
    sample_rate: int
    lengths: Mapping[str, int]
    fingerprint: str
    read: Callable[[str, int, int], NDArray[np.float32]]

    def at_least(self, num_samples: int) -> tuple[str, ...]:
        """Return the recordings that are long enough.

        Raises:
            InputError: none is; names the longest.
        """
        enough = tuple(name for name, length in self.lengths.items() if length >= num_samples)
        short = len(self.lengths) - len(enough)
        if not enough:
            longest = max(self.lengths, key=lambda name: self.lengths[name])
            raise InputError(
                f"{self.key}: no recording is as long as a scene of "
                f"{num_samples / self.sample_rate:g} s; the longest is {longest} with "
                f"{self.lengths[longest] / self.sample_rate:.2f} s"
            )
        if short:
            _warn_once(
                f"{self.key}: {short} of {len(self.lengths)} recordings are shorter than a "
                f"scene of {num_samples / self.sample_rate:g} s and are not used"
            )
        return enough


def open_noise(ranges: BackgroundRanges, sample_rate: int) -> Recordings | None:
    """Open the noise that a config names; None where it names none."""
    noise = ranges.recordings if ranges.source is None else ranges.source
    return None if noise is None else open_recordings(noise, sample_rate)


def open_recordings(noise: str | OwnPart, sample_rate: int) -> Recordings:
    """Open a folder of noise, or a source of the user's own; once in each process.

    Raises:
        InputError: there is no such folder, it holds no audio, or a file cannot be read; or the
            class cannot be made, or is no `NoiseSource`.
    """
    if isinstance(noise, OwnPart):
        return _open_own(noise.model_dump_json(), sample_rate)
    return _open_folder(noise, sample_rate)


@lru_cache(maxsize=8)
def _open_own(part: str, sample_rate: int) -> Recordings:
    source = build(OwnPart.model_validate_json(part), OWN_NOISE, sample_rate=sample_rate)
    lengths, fingerprint = (getattr(source, key, None) for key in ("lengths", "fingerprint"))
    if not isinstance(fingerprint, str) or not fingerprint:
        raise InputError(f"{OWN_NOISE}: fingerprint={fingerprint!r}: expected a text")
    if not isinstance(lengths, Mapping) or not lengths:
        raise InputError(
            f"{OWN_NOISE}: lengths={lengths!r}: expected names with numbers of samples"
        )
    for name, length in lengths.items():
        if not isinstance(name, str) or not isinstance(length, int) or length < 1:
            raise InputError(
                f"{OWN_NOISE}: lengths: {name!r}: {length!r}: expected a name with a number of "
                "samples"
            )

    def read(name: str, offset: int, num_samples: int) -> NDArray[np.float32]:
        where = f"{OWN_NOISE}: read({name!r}, {offset}, {num_samples})"
        return checked_signal(lambda: source.read(name, offset, num_samples), where, num_samples)

    for name, length in lengths.items():
        read(name, 0, min(length, max(1, round(_PROBE_SECONDS * sample_rate))))
    return Recordings(OWN_NOISE, sample_rate, dict(lengths), fingerprint, read)


@lru_cache(maxsize=8)
def _open_folder(folder: str, sample_rate: int) -> Recordings:
    key = f"scene.background.recordings={folder}"
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"{key}: {'is a file' if root.exists() else 'does not exist'}")
    lengths = {}
    digest = hashlib.sha256()
    for path in find_audio(root):
        seconds, rate = read_header(path)
        name, frames = path.relative_to(root).as_posix(), round(seconds * rate)
        if frames == 0:
            raise InputError(f"{path}: is empty")
        # A sample less than resampling may give at the end.
        lengths[name] = max(0, frames * sample_rate // rate - 1)
        row = [name, frames, rate, path.stat().st_size]
        digest.update(json.dumps(row).encode() + b"\n")
    if not lengths:
        raise InputError(f"{key}: holds no audio ({', '.join(AUDIO_SUFFIXES)})")

    def read(name: str, offset: int, num_samples: int) -> NDArray[np.float32]:
        return _read_file(root / name, offset, num_samples, sample_rate)

    return Recordings(key, sample_rate, lengths, digest.hexdigest()[:16], read)


def _read_file(path: Path, offset: int, num_samples: int, sample_rate: int) -> NDArray[np.float32]:
    """The first channel of a stretch of a file; `offset` and `num_samples` at `sample_rate`."""
    import soundfile

    with reading(path), soundfile.SoundFile(path) as sound:
        rate = sound.samplerate
        begin = offset * rate // sample_rate
        sound.seek(min(begin, sound.frames))
        frames = -(-num_samples * rate // sample_rate) + 1
        native = sound.read(frames, dtype="float32", always_2d=True)[:, 0]
    audio = resampled(native.copy(), rate, sample_rate)[:num_samples]
    if len(audio) < num_samples:
        raise InputError(
            f"{path}: ends at {(offset + len(audio)) / sample_rate:.2f} s, a scene needs "
            f"it up to {(offset + num_samples) / sample_rate:.2f} s"
        )
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: holds NaN or infinite samples")
    return audio


@lru_cache(maxsize=32)
def _warn_once(message: str) -> None:
    _log.warning("%s", message)
