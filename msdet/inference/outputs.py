# SPDX-License-Identifier: Apache-2.0
"""What `msdet separate` writes of a recording: a folder that appears when all in it is there.

Everything is written to a hidden folder beside it, which goes whatever happens; after a kill, when
the same folder is written to again.
Tracks are written as floats while the recording is read, so that memory does not grow with it;
what is kept then gets the recording's own sample format.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.files import ProcessFolders
from msdet.inference.resampling import BlockResampler
from msdet.inference.result import Findings

SPEAKERS_NAME = "speakers.json"
PICTURE_NAME = "speakers.png"

_SAME_IN_WAV = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_FLOATS = ("FLOAT", "DOUBLE")
_LARGEST_WAV = 2**32 - 2**16
_PEAK = 0.999
_BLOCK = 1 << 18


def subtype_of(subtype: str) -> str:
    """The sample format of the outputs of a recording with this one.

    >>> subtype_of("PCM_24"), subtype_of("MPEG_LAYER_III"), subtype_of("PCM_S8")
    ('PCM_24', 'FLOAT', 'PCM_16')
    """
    if subtype in _SAME_IN_WAV:
        return subtype
    return "PCM_16" if subtype == "PCM_S8" else "FLOAT"


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

        Formats of integers are turned down, all speakers alike, where one would be clipped.
        """
        for track in self._tracks:
            track.write(np.zeros(0, np.float32), last=True)
            track.close()
        subtype = subtype_of(subtype)
        peak = max((self._tracks[track].peak for track in kept), default=0.0)
        gain = 1.0 if subtype in _FLOATS or peak <= _PEAK else _PEAK / peak
        paths = []
        for number, index in enumerate(kept, 1):
            path = self._folder / f"speaker{number}.wav"
            if subtype == "FLOAT":
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
        self._file = _create(path, to_rate, num_samples, "FLOAT")

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
def output_folder(folder: Path, recording: Path) -> Iterator[Path]:
    """A hidden folder to write to, whose files come into ``folder`` when all went well.

    They take the place of what an earlier run wrote there of the same recording.

    Raises:
        InputError: what it holds is of something else, or nothing can be written.
    """
    check_output(folder, recording)
    place = ProcessFolders(folder.parent, f".{folder.name}.", ".part")
    place.remove_leftovers()
    scratch = place.new()
    try:
        scratch.mkdir(parents=True)
        yield scratch
        old = _written(folder) if folder.exists() else []
        folder.mkdir(exist_ok=True)
        (folder / SPEAKERS_NAME).unlink(missing_ok=True)  # says what is there: first to go
        for name in old:
            (folder / name).unlink(missing_ok=True)
        names = sorted(path.name for path in scratch.iterdir())
        for name in sorted(names, key=lambda name: name == SPEAKERS_NAME):  # and last to come
            (scratch / name).replace(folder / name)
    except (OSError, soundfile.LibsndfileError) as error:
        free = shutil.disk_usage(_existing(folder)).free / 1e9
        raise InputError(
            f"output={folder}: cannot be written ({error}); {free:.2f} GB are free there"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_output(folder: Path, recording: Path | None) -> None:
    """See that a folder can take the outputs of a recording.

    Raises:
        InputError: it is a file, or holds what is not the outputs of this recording.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    above = _existing(folder.absolute())
    if not above.is_dir():
        raise InputError(f"output={folder}: {above} is a file, not a folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    other = _recording_of(folder)
    if recording is None or other is None:
        raise InputError(f"output={folder}: is not empty; name another folder")
    if Path(other).resolve() != recording.resolve():
        raise InputError(
            f"output={folder}: holds the speakers of another recording ({other}); name another "
            "folder"
        )


def speaker_records(findings: Findings, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the JSON says of each speaker, whose audio is in the file of this name."""
    records = []
    for index, name in enumerate(names):
        record: dict[str, Any] = {
            "file": name,
            "azimuth_deg": _rounded(findings.azimuth[index], 1),
            "confidence": _rounded(findings.confidence[index], 3),
            "presence": _rounded(findings.presence[index], 3),
        }
        if findings.distance is not None:
            record["distance_m"] = _rounded(findings.distance[index], 2)
        segments = findings.segments[index]
        record["spoken_seconds"] = round(sum(end - start for start, end in segments), 2)
        record["segments"] = [[round(a, 2), round(b, 2)] for a, b in segments]
        records.append(record)
    return records


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) if np.isfinite(value) else None


def write_speakers(folder: Path, content: dict[str, Any]) -> None:
    """The JSON beside the audio."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # Names that are not UTF-8 become escapes of JSON.
    (folder / SPEAKERS_NAME).write_text(text, encoding="utf-8", errors="backslashreplace")


def _recording_of(folder: Path) -> str | None:
    content = _content(folder)
    return content.get("recording") if isinstance(content.get("recording"), str) else None


def _written(folder: Path) -> list[str]:
    """Names of the files that are of the recording that a folder is of."""
    speakers = _content(folder).get("speakers", [])
    names = [str(speaker.get("file")) for speaker in speakers if isinstance(speaker, dict)]
    return [name for name in [*names, PICTURE_NAME] if Path(name).name == name]


def _content(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / SPEAKERS_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _create(path: Path, sample_rate: int, num_samples: int, subtype: str) -> soundfile.SoundFile:
    width = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "DOUBLE": 8}.get(subtype, 4)
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
