# SPDX-License-Identifier: Apache-2.0
"""Folders of noise recordings, for backgrounds."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from msdet.audio import resample
from msdet.audio_files import AUDIO_SUFFIXES, find_audio
from msdet.errors import InputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recordings:
    """Recordings below a folder, at one sample rate; the first channel of each.

    Attributes:
        lengths: of each file, by its path within the folder: samples at `sample_rate`.
        fingerprint: of the files' names, lengths and sizes.
    """

    folder: Path
    sample_rate: int
    lengths: Mapping[str, int]
    fingerprint: str

    def at_least(self, num_samples: int) -> tuple[str, ...]:
        """The files that are long enough.

        Raises:
            InputError: none is; names the longest.
        """
        enough = tuple(name for name, length in self.lengths.items() if length >= num_samples)
        short = len(self.lengths) - len(enough)
        if not enough:
            longest = max(self.lengths, key=lambda name: self.lengths[name])
            raise InputError(
                f"scene.background.recordings={self.folder}: no recording is as long as a scene of "
                f"{num_samples / self.sample_rate:g} s; the longest is {longest} with "
                f"{self.lengths[longest] / self.sample_rate:.2f} s"
            )
        if short:
            _warn_once(
                f"{self.folder}: {short} of {len(self.lengths)} recordings are shorter than a "
                f"scene of {num_samples / self.sample_rate:g} s and are not used"
            )
        return enough

    def read(self, file: str, offset: int, num_samples: int) -> NDArray[np.float32]:
        """A stretch ``[num_samples]`` of a recording, from sample `offset` on.

        Raises:
            InputError: it cannot be read, ends too early, or is not finite.
        """
        import soundfile

        path = self.folder / file
        try:
            with soundfile.SoundFile(path) as sound:
                rate = sound.samplerate
                begin = offset * rate // self.sample_rate
                sound.seek(min(begin, sound.frames))
                frames = -(-num_samples * rate // self.sample_rate) + 1
                native = sound.read(frames, dtype="float32", always_2d=True)[:, 0]
        except (soundfile.LibsndfileError, OSError) as error:
            raise InputError(f"{path}: cannot be read as audio ({error})") from None
        resampled = resample(torch.from_numpy(native.copy()), rate, self.sample_rate)
        audio: NDArray[np.float32] = resampled[:num_samples].numpy()
        if len(audio) < num_samples:
            raise InputError(
                f"{path}: ends at {(offset + len(audio)) / self.sample_rate:.2f} s, a scene needs "
                f"it up to {(offset + num_samples) / self.sample_rate:.2f} s"
            )
        if not np.isfinite(audio).all():
            raise InputError(f"{path}: holds NaN or infinite samples")
        return audio


@lru_cache(maxsize=8)
def open_recordings(folder: str, sample_rate: int) -> Recordings:
    """List the audio files below a folder.

    Raises:
        InputError: there is no such folder, it holds no audio, or a file cannot be read.
    """
    import soundfile

    key = f"scene.background.recordings={folder}"
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"{key}: {'is a file' if root.exists() else 'does not exist'}")
    lengths = {}
    digest = hashlib.sha256()
    for path in find_audio(root):
        try:
            info = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError, UnicodeError) as error:
            raise InputError(f"{path}: cannot be read as audio ({error})") from None
        name = path.relative_to(root).as_posix()
        if info.frames == 0:
            raise InputError(f"{path}: is empty")
        # A sample less than resampling may give at the end.
        lengths[name] = max(0, info.frames * sample_rate // info.samplerate - 1)
        row = [name, info.frames, info.samplerate, path.stat().st_size]
        digest.update(json.dumps(row).encode() + b"\n")
    if not lengths:
        raise InputError(f"{key}: holds no audio ({', '.join(AUDIO_SUFFIXES)})")
    return Recordings(root, sample_rate, lengths, digest.hexdigest()[:16])


@lru_cache(maxsize=32)
def _warn_once(message: str) -> None:
    _log.warning("%s", message)
