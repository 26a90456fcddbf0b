# SPDX-License-Identifier: Apache-2.0
"""What `msdet separate` writes of a recording: a folder that appears when all in it is there.

Everything is written to a hidden folder beside it, which goes whatever happens; after a kill, when
the same folder is written to again.
Tracks are written as floats while the recording is read, so that memory does not grow with it;
what is kept is then written as integers, at a level that can be played.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.files import PART, read_json, scratch_folder
from msdet.inference.resampling import BlockResampler
from msdet.inference.speakers_file import SPEAKERS_NAME
from msdet.output_folder import LOCK_NAME, contents, sole_user

PICTURE_NAME = "speakers.png"
_MEANWHILE_NAME = f".{SPEAKERS_NAME}{PART}"

_LARGEST_WAV = 2**32 - 2**16
_PEAK = 10 ** (-1 / 20)
"""1 dB below full scale, which players and lossy formats may overshoot."""
_BLOCK = 1 << 18
_EXACT = "FLOAT"


def subtype_of(subtype: str, exact: bool) -> str:
    """The sample format of the outputs of a recording with this one.

    Floats and compressed files get 24 bits: nothing is turned up, and 16 would be too few for a
    quiet recording.

    Args:
        exact: 32-bit floats whatever it has.

    >>> [subtype_of(name, False) for name in ("PCM_U8", "PCM_24", "FLOAT", "MPEG_LAYER_III")]
    ['PCM_16', 'PCM_24', 'PCM_24', 'PCM_24']
    """
    if exact:
        return _EXACT
    return "PCM_16" if subtype in ("PCM_S8", "PCM_U8", "PCM_16") else "PCM_24"


class TrackFiles:
    """Writes tracks at a recording's sample rate, as many samples as it has.

    Args:
        folder: which holds them while they are made.
    """

    def __init__(self, folder: Path, from_rate: int, to_rate: int, num_samples: int) -> None:
        self._folder, self._rates, self._num_samples = folder, (from_rate, to_rate), num_samples
        self._tracks: list[_Track] = []

    def write(self, track: int, samples: NDArray[np.float32]) -> None:
        """The next samples of a track, at the model's rate."""
        while len(self._tracks) <= track:
            path = self._folder / f"track{len(self._tracks)}.wav"
            self._tracks.append(_Track(path, *self._rates, self._num_samples))
        self._tracks[track].write(samples, last=False)

    def finish(self, kept: list[int], subtype: str) -> tuple[list[Path], float]:
        """The files of these tracks, ``speaker1.wav`` and so on, and the gain that they have.

        All speakers are turned down alike where one has a higher peak than can be played.

        Args:
            subtype: what `subtype_of` says.
        """
        for track in self._tracks:
            track.write(np.zeros(0, np.float32), last=True)
            track.close()
        peak = max((self._tracks[track].peak for track in kept), default=0.0)
        gain = 1.0 if subtype == _EXACT or peak <= _PEAK else _PEAK / peak
        paths = []
        for number, index in enumerate(kept, 1):
            path = self._folder / f"speaker{number}.wav"
            if subtype == _EXACT:
                self._tracks[index].path.rename(path)
            else:
                _convert(self._tracks[index].path, path, subtype, gain)
            paths.append(path)
        self.close()
        return paths, gain

    def close(self) -> None:
        """Let go of all files that are not of a speaker, and delete them."""
        for track in self._tracks:
            track.close()
            track.path.unlink(missing_ok=True)


class _Track:
    def __init__(self, path: Path, from_rate: int, to_rate: int, num_samples: int) -> None:
        self.path, self.peak = path, 0.0
        self._resampler = BlockResampler(from_rate, to_rate, 1)
        self._left = num_samples
        self._file = _create(path, to_rate, num_samples, _EXACT)

    def write(self, samples: NDArray[np.float32], last: bool) -> None:
        made = self._resampler.feed(samples[None], last)[0][: self._left]
        if last:
            made = np.pad(made, (0, self._left - len(made)))
        self._left -= len(made)
        self.peak = max(self.peak, float(np.abs(made).max(initial=0.0)))
        self._file.write(made)

    def close(self) -> None:
        self._file.close()


@contextmanager
def output_folder(folder: Path, recording_id: str) -> Iterator[Path]:
    """A hidden folder to write to, whose files come into ``folder`` when all went well.

    They take the place of what was written there before of the same recording.

    Raises:
        InputError: what it holds is of something else, another command is writing there, or
            nothing can be written.
    """
    with sole_user(folder.parent, f".{folder.name}{LOCK_NAME}"):
        check_output(folder, recording_id)
        try:
            with scratch_folder(folder) as scratch:
                yield scratch
                _move(scratch, folder)
        except (OSError, soundfile.LibsndfileError) as error:
            free = shutil.disk_usage(_existing(folder)).free / 1e9
            raise InputError(
                f"output={folder}: cannot be written ({error}); {free:.2f} GB are free there"
            ) from error


def _move(scratch: Path, folder: Path) -> None:
    """Put files in the place of those that a folder had of the same recording.

    ``speakers.json`` is the first to go and the last to come. Until then a hidden file says what
    the folder may hold, so that the same command goes on after a kill.
    """
    folder.mkdir(exist_ok=True)
    old = _written(folder)
    new = [path.name for path in scratch.iterdir() if path.name != SPEAKERS_NAME]
    meanwhile = _content(scratch) | {"speakers": [{"file": name} for name in [*old, *new]]}
    (folder / _MEANWHILE_NAME).write_text(json.dumps(meanwhile), encoding="utf-8")
    (folder / SPEAKERS_NAME).unlink(missing_ok=True)
    for name in old:
        (folder / name).unlink(missing_ok=True)
    for name in [*new, SPEAKERS_NAME]:
        (scratch / name).replace(folder / name)
    (folder / _MEANWHILE_NAME).unlink()


def check_output(folder: Path, recording_id: str | None) -> None:
    """See that a folder can take the outputs of a recording.

    Raises:
        InputError: it is a file, or holds what is not the outputs of this recording.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    above = _existing(folder.absolute())
    if not above.is_dir():
        raise InputError(f"output={folder}: {above} is a file, not a folder")
    content = _content(folder)
    if not content and not contents(folder):
        return
    if recording_id is None or "recording_id" not in content:
        raise InputError(f"output={folder}: is not empty; name another folder")
    if content["recording_id"] != recording_id:
        raise InputError(
            f"output={folder}: holds the speakers of another recording "
            f"({content.get('recording')}); name another folder"
        )


def id_of_file(recording: Path) -> str:
    """A digest of where a recording is, which tells it from others without naming the place."""
    return hashlib.sha256(os.fsencode(recording.resolve())).hexdigest()[:8]


def _written(folder: Path) -> list[str]:
    """Names of the files that are of the recording that a folder is of."""
    speakers = _content(folder).get("speakers")
    listed = speakers if isinstance(speakers, list) else []
    names = [str(speaker.get("file")) for speaker in listed if isinstance(speaker, dict)]
    return [name for name in [*names, PICTURE_NAME] if Path(name).name == name]


def _content(folder: Path) -> dict[str, Any]:
    """Read what a folder says of itself; empty where that is not there or cannot be read."""
    for name in (SPEAKERS_NAME, _MEANWHILE_NAME):
        with suppress(InputError):
            return read_json(folder / name, "")
    return {}


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _create(path: Path, sample_rate: int, num_samples: int, subtype: str) -> soundfile.SoundFile:
    width = {"PCM_16": 2, "PCM_24": 3, _EXACT: 4}[subtype]
    large = num_samples * width > _LARGEST_WAV  # sizes in a WAV's header have 32 bits
    return soundfile.SoundFile(
        path, "w", sample_rate, 1, subtype=subtype, format="RF64" if large else "WAV"
    )


def _convert(source: Path, path: Path, subtype: str, gain: float) -> None:
    with (
        soundfile.SoundFile(source) as file,
        _create(path, file.samplerate, file.frames, subtype) as converted,
    ):
        for block in file.blocks(_BLOCK, dtype="float32"):
            converted.write(gain * block)
    source.unlink()
