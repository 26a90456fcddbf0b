# SPDX-License-Identifier: Apache-2.0
"""The speech files that descriptions of scenes name: gathered, checked, linked into a corpus, and
the stretch of each that a speaker utters."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath

import soundfile

from msdet.corpora import Corpus, Split, Utterance
from msdet.corpora.corpus import FULL_BAND_HZ, make_corpus
from msdet.corpora.listing import Recording, inspect_audio, list_recordings
from msdet.corpora.utterance import MANIFEST, write_manifest
from msdet.errors import InputError
from msdet.simulation.foreign import DescribedSpeaker, audio_file
from msdet.simulation.speech import SpeechCrop

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechFile:
    """A file, who speaks in it, and the words that name the speaker who was first to need it."""

    path: Path
    speaker: str
    where: str


def utterance_id(speaker: DescribedSpeaker) -> str:
    """The file as the description calls it: the same on every machine that has the description."""
    return PurePath(speaker.file).as_posix()


def speech_files(
    speakers: Iterable[tuple[str, DescribedSpeaker]], folder: Path
) -> dict[str, SpeechFile]:
    """Each file once, by utterance id; it is there, and it is of one speaker.

    Args:
        speakers: of all scenes, each with the words that name it in an error.
        folder: what file names are relative to.
    """
    files: dict[str, SpeechFile] = {}
    for where, speaker in speakers:
        id = utterance_id(speaker)
        who = speaker.speaker or id
        if id not in files:
            try:
                files[id] = SpeechFile(audio_file(folder, speaker.file).resolve(), who, where)
            except InputError as error:
                raise InputError(f"{where}.file: {error}") from error
        elif files[id].speaker != who:
            raise InputError(
                f"{where}.speaker={who!r}: the same file is of {files[id].speaker!r} in "
                f"{files[id].where}"
            )
    first = next(iter(files.values()))
    if all(file.speaker == first.speaker for file in files.values()):
        raise InputError(
            f"{first.where}.speaker={first.speaker!r}: all files are of this speaker, a corpus "
            "needs two"
        )
    return files


def link_corpus(files: dict[str, SpeechFile], root: Path, split: Split, sample_rate: int) -> Corpus:
    """Link files below ``root``, measure them as those of any corpus, and list them there.

    Links, since a manifest lists what lies inside its corpus; the speech is not copied.

    Raises:
        InputError: names the first file that is no speech, or not at this sample rate.
        OSError: nothing can be written there.
    """
    (root / "speech").mkdir(parents=True)
    recordings = []
    of_link: dict[Path, SpeechFile] = {}
    for number, (id, file) in enumerate(files.items()):
        inside = f"speech/{number:06d}{file.path.suffix}"
        (root / inside).symlink_to(file.path)
        of_link[root / inside] = file
        recordings.append(Recording(inside, file.speaker, split, id=id))
    rows = list_recordings(root, recordings, 0.0, lambda link: _inspect(of_link[link], sample_rate))
    write_manifest(root / MANIFEST, rows)
    several = sum(soundfile.info(file.path).channels > 1 for file in files.values())
    if several:
        log.warning("%d speech files have several channels: the first is taken", several)
    return make_corpus("folder", root, rows, sample_rate)


def _inspect(file: SpeechFile, sample_rate: int) -> tuple[float, int]:
    """Seconds and sample rate."""
    try:
        seconds, rate = inspect_audio(file.path)
    except InputError as error:
        raise InputError(f"{file.where}.file: {error}") from error
    if not seconds:
        raise InputError(f"{file.where}.file: {file.path}: holds no samples")
    if rate // 2 < min(sample_rate // 2, FULL_BAND_HZ):
        # A corpus leaves such speech out, since its empty upper band would tell who speaks.
        raise InputError(
            f"{file.where}.file: {file.path}: is at {rate} Hz, less than sample_rate={sample_rate} "
            f"needs; give sample_rate={rate}"
        )
    return seconds, rate


def crop_of(
    where: str, speaker: DescribedSpeaker, corpus: Corpus, num_samples: int | None
) -> SpeechCrop:
    """The samples of a speaker's file in a scene of ``num_samples``; None: as long as needed.

    Raises:
        InputError: the file or the scene is shorter than that, or the stretch is silent.
    """
    utterance = corpus.by_id(utterance_id(speaker))
    rate = corpus.sample_rate
    offset, onset = round(speaker.offset_seconds * rate), round(speaker.onset_seconds * rate)
    there = corpus.num_samples(utterance) - offset
    if there < 1:
        raise InputError(
            f"{where}.offset_seconds={speaker.offset_seconds:g}: {utterance.id} lasts "
            f"{utterance.duration:.3f} s"
        )
    left = there if num_samples is None else num_samples - onset
    if left < 1:
        raise InputError(f"{where}.onset_seconds={speaker.onset_seconds:g}: the scene is over then")
    length = min(there, left)
    if speaker.seconds is not None:
        asked = max(1, round(speaker.seconds * rate))
        if asked > length + 1:  # one sample may be lost where times were rounded
            raise InputError(
                f"{where}.seconds={speaker.seconds:g}: {utterance.id} has {there / rate:.3f} s "
                f"after its offset, the scene {left / rate:.3f} s after the onset"
            )
        length = min(asked, length)
    whole = length == corpus.num_samples(utterance)  # and not silent, as is known already
    if not whole and _is_silent(corpus, utterance, offset / rate, length / rate):
        raise InputError(
            f"{where}: {utterance.id} is silent from {offset / rate:.3f} s to "
            f"{(offset + length) / rate:.3f} s"
        )
    return SpeechCrop(
        utterance=utterance.id,
        offset=offset,
        onset=onset,
        length=length,
        level_db=speaker.level_db,
    )


def _is_silent(corpus: Corpus, utterance: Utterance, offset: float, seconds: float) -> bool:
    """In the file itself: what a corpus hands out rings a little where there was nothing."""
    frames = [round(time * utterance.sample_rate) for time in (offset, seconds)]
    audio, _ = soundfile.read(
        corpus.root / utterance.path, start=frames[0], frames=max(1, frames[1]), always_2d=True
    )
    return not audio[:, 0].any()
