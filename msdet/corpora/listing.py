# SPDX-License-Identifier: Apache-2.0
"""From recordings found on disk to the rows of a manifest: lengths are read, bad audio is named,
short files are left out, speakers in two splits are refused."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from msdet.corpora.corpus import FULL_BAND_HZ
from msdet.corpora.utterance import Split, Utterance
from msdet.errors import InputError

log = logging.getLogger(__name__)

_MANY_FILES = 5000
"""So many take a minute to read, and nothing else is on the screen meanwhile."""


@dataclass(frozen=True)
class Recording:
    """What a corpus knows about a file before it is opened."""

    path: str
    """Relative to the corpus root, with forward slashes."""
    speaker: str
    split: Split
    id: str | None = None
    """``None``: the path without its suffix."""
    sex: Literal["F", "M"] | None = None
    language: str | None = None


def corpus_root(path: str, wanted: str) -> Path:
    """The folder that ``corpus.path`` names; ``wanted`` says what it should hold."""
    root = Path(path).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"corpus.path: {root} {what}; name {wanted}")
    return root.resolve()


def inspect_audio(path: Path) -> tuple[float, int]:
    """Seconds and sample rate; ``InputError`` for what cannot be read, is silent or not finite."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            loudest = 0.0
            for block in file.blocks(blocksize=2**18, dtype="float32", always_2d=True):
                peak = float(np.max(np.abs(block[:, 0]), initial=0.0))
                if not np.isfinite(peak):
                    raise InputError(f"{path}: holds NaN or infinite samples")
                loudest = max(loudest, peak)
            frames, rate = file.tell(), file.samplerate
    except (soundfile.LibsndfileError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from None
    if frames and loudest == 0.0:
        raise InputError(f"{path}: is silent (every sample is zero)")
    return frames / rate, rate


def read_header(path: Path) -> tuple[float, int]:
    """Seconds and sample rate as the header says, ten times faster than ``inspect_audio``."""
    import soundfile

    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from None
    return info.frames / info.samplerate, info.samplerate


def list_recordings(
    root: Path,
    recordings: Sequence[Recording],
    min_seconds: float,
    inspect: Callable[[Path], tuple[float, int]] = inspect_audio,
) -> list[Utterance]:
    """The rows of the recordings that are long enough, in their order.

    ``inspect`` gives a file's seconds and sample rate.
    Raises ``InputError`` naming a speaker in two splits or the first file that is not speech.
    """
    check_speakers(root, recordings)
    if len(recordings) > _MANY_FILES:
        log.warning("%s: reading %d files to list them, once", root, len(recordings))
    rows: list[Utterance] = []
    for recording in recordings:
        path = root / recording.path
        duration, rate = inspect(path)
        if duration < min_seconds:
            continue
        rows.append(
            Utterance(
                id=recording.id or Path(recording.path).with_suffix("").as_posix(),
                speaker=recording.speaker,
                split=recording.split,
                path=recording.path,
                duration=duration,
                sample_rate=rate,
                bandwidth_hz=min(rate // 2, FULL_BAND_HZ),
                sex=recording.sex,
                language=recording.language,
                num_bytes=path.stat().st_size,
            )
        )
    too_short = len(recordings) - len(rows)
    if too_short and not rows:
        raise InputError(
            f"corpus.min_seconds: all {too_short} files of {root} are shorter than"
            f" {min_seconds:g} s"
        )
    if too_short:
        log.warning(
            "%s: %d of %d files skipped, shorter than min_seconds = %g",
            *(root, too_short, len(recordings), min_seconds),
        )
    return _unique_ids(rows)


def check_speakers(root: Path, recordings: Sequence[Recording]) -> None:
    """Raise ``InputError`` naming the first speaker who is in two splits, and a file of each."""
    first_of: dict[str, Recording] = {}
    for recording in recordings:
        first = first_of.setdefault(recording.speaker, recording)
        if first.split != recording.split:
            raise InputError(
                f"{root}: speaker {recording.speaker!r} is in {first.split} ({first.path}) and in"
                f" {recording.split} ({recording.path}); splits must share no speaker"
            )


def _unique_ids(rows: Sequence[Utterance]) -> list[Utterance]:
    """Ids without suffix, unless two files differ in nothing else."""
    count: dict[str, int] = {}
    for u in rows:
        count[u.id] = count.get(u.id, 0) + 1
    return [u if count[u.id] == 1 else u.model_copy(update={"id": u.path}) for u in rows]
