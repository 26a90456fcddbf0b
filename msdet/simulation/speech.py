# SPDX-License-Identifier: Apache-2.0
"""The speech of a scene: who says what, when and how loud."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.config import Record, SceneConfig, is_none
from msdet.simulation.conversations import draw_turns

_DRAWS, _MOST_DRAWS = 8, 64
_ACTIVE_SHARE = 0.6
"""A crop is taken at once when this share of it is speech; else the best of `_DRAWS`, or of
`_MOST_DRAWS` as long as all are silent."""
_FRAME_SECONDS = 0.025
_ACTIVE_DB = 30.0
_SHORTEST_PAUSE = 0.2
"""Seconds; shorter ones count as speech."""

Intervals = tuple[tuple[float, float], ...]
"""From when to when somebody speaks, seconds, ascending."""


class SpeechCrop(Record):
    """A stretch of speech that one speaker utters, at the scene's sample rate.

    Attributes:
        utterance: id in the corpus.
        offset: first sample in the utterance.
        onset: first sample in the scene.
        length: samples; silence around them.
        level_db: of the reverberant image at the reference microphone, relative to the first
            speaker's. All crops of a speaker have the same.
        speaker: number in the room of who takes this turn of a conversation; None where each
            speaker has one crop, in the order of the room.
    """

    utterance: str
    offset: int = Field(ge=0)
    onset: int = Field(ge=0)
    length: int = Field(gt=0)
    level_db: float
    speaker: int | None = Field(default=None, ge=0, exclude_if=is_none)


def draw_speech(
    config: SceneConfig,
    corpus: Corpus,
    count: int,
    num_samples: int,
    rng: np.random.Generator,
) -> tuple[SpeechCrop, ...]:
    """Draw what each of `count` speakers says, in their order; of a conversation its turns.

    Raises:
        InputError: the corpus has too few speakers, or one who is silent.
    """
    chosen = _draw_speakers(corpus, count, rng)
    if config.conversation is not None:
        return _draw_conversation(config, corpus, chosen, num_samples, rng)
    overlap = float(rng.uniform(*config.overlap))
    length = max(1, round(num_samples * (1 + (count - 1) * overlap) / count))
    starts = np.round(np.linspace(0, num_samples - length, count)).astype(int)
    crops = []
    for i, (speaker, start) in enumerate(zip(chosen, rng.permutation(starts), strict=True)):
        crop = draw_crop(corpus, speaker, length, rng)
        level = 0.0 if i == 0 else _draw_level(config, rng)
        placed = {"onset": int(start) + crop.onset, "level_db": level}
        crops.append(crop.model_copy(update=placed))
    return tuple(crops)


def _draw_conversation(
    config: SceneConfig,
    corpus: Corpus,
    speakers: Sequence[str],
    num_samples: int,
    rng: np.random.Generator,
) -> tuple[SpeechCrop, ...]:
    """The turns of a conversation by their start; those who take none have no crop."""
    assert config.conversation is not None
    rate = corpus.sample_rate
    turns = draw_turns(config.conversation, len(speakers), num_samples / rate, rng)
    heard = sorted({turn.speaker for turn in turns})
    levels = {s: 0.0 if s == heard[0] else _draw_level(config, rng) for s in heard}
    crops = []
    for turn in turns:
        start, end = round(turn.start * rate), min(round(turn.end * rate), num_samples)
        crop = draw_crop(corpus, speakers[turn.speaker], end - start, rng)
        placed = {"onset": start + crop.onset, "level_db": levels[turn.speaker]}
        crops.append(crop.model_copy(update={**placed, "speaker": turn.speaker}))
    return tuple(crops)


def draw_talkers(
    corpus: Corpus, speech: Sequence[SpeechCrop], count: int, length: int, rng: np.random.Generator
) -> tuple[SpeechCrop, ...]:
    """Voices of a babble: people who are not in the scene, as long as there are such."""
    inside = {corpus.by_id(crop.utterance).speaker for crop in speech}
    others = [s for s in corpus.speakers if s not in inside] or list(corpus.speakers)
    speakers = (others[int(rng.integers(len(others)))] for _ in range(count))
    return tuple(draw_crop(corpus, speaker, length, rng) for speaker in speakers)


def draw_utterances(
    config: SceneConfig, corpus: Corpus, count: int, rng: np.random.Generator
) -> tuple[SpeechCrop, ...]:
    """Whole utterances, the shorter ones anywhere within the longest."""
    chosen = _draw_speakers(corpus, count, rng)
    of_speakers = [corpus.of_speaker(speaker) for speaker in chosen]
    utterances = [of_one[int(rng.integers(len(of_one)))] for of_one in of_speakers]
    lengths = [corpus.num_samples(u) for u in utterances]
    crops = []
    for i, (utterance, length) in enumerate(zip(utterances, lengths, strict=True)):
        onset = int(rng.integers(max(lengths) - length + 1))
        level = 0.0 if i == 0 else _draw_level(config, rng)
        crops.append(
            SpeechCrop(utterance=utterance.id, offset=0, onset=onset, length=length, level_db=level)
        )
    return tuple(crops)


def _draw_speakers(corpus: Corpus, count: int, rng: np.random.Generator) -> list[str]:
    if len(corpus.speakers) < count:
        raise InputError(
            f"corpus {corpus.name!r} has {len(corpus.speakers)} speakers in this split, a scene "
            f"needs {count} (scene.num_speakers)"
        )
    return [corpus.speakers[i] for i in rng.permutation(len(corpus.speakers))[:count]]


def _draw_level(config: SceneConfig, rng: np.random.Generator) -> float:
    low, high = config.level_db
    if config.level_law == "triangular" and low < high:
        return round(float(rng.triangular(low, (low + high) / 2, high)), 3)
    return round(float(rng.uniform(low, high)), 3)


def draw_crop(corpus: Corpus, speaker: str, length: int, rng: np.random.Generator) -> SpeechCrop:
    """Draw mostly active speech, at a level of 0 dB; its onset is that within `length` samples."""
    utterances = corpus.of_speaker(speaker)
    candidates = [u for u in utterances if corpus.num_samples(u) >= length] or utterances
    best: SpeechCrop | None = None
    best_share = 0.0
    for attempt in range(_MOST_DRAWS):
        utterance = candidates[int(rng.integers(len(candidates)))]
        audio = corpus.read(utterance)
        taken = min(length, len(audio))
        offset = int(rng.integers(len(audio) - taken + 1))
        onset = int(rng.integers(length - taken + 1))
        share = active_share(audio, corpus.sample_rate, offset, taken)
        if share > best_share:
            best_share = share
            best = SpeechCrop(
                utterance=utterance.id, offset=offset, onset=onset, length=taken, level_db=0.0
            )
        if share >= _ACTIVE_SHARE or (attempt + 1 >= _DRAWS and best_share > 0):
            break
    if best is None:
        raise InputError(
            f"corpus {corpus.name!r}: no speech was found in {_MOST_DRAWS} stretches of "
            f"{length / corpus.sample_rate:.2f} s of speaker {speaker!r}, the last in "
            f"{utterance.id!r}; take longer scenes or leave the speaker out"
        )
    return best


def active_share(audio: NDArray[np.float32], sample_rate: int, offset: int, length: int) -> float:
    """Share of 25 ms frames of a crop within 30 dB of the utterance's loud frames.

    Args:
        audio: the whole utterance ``[sample]``; its loud frames are the 95th percentile.
    """
    frame = max(1, int(_FRAME_SECONDS * sample_rate))
    whole = _frame_powers(audio, frame)
    if len(whole) == 0:
        return 0.0
    loud = _loud_power(whole)
    crop = _frame_powers(audio[offset : offset + length], frame)
    if len(crop) == 0 or loud <= 0:
        return 0.0
    return float(np.mean(crop > loud * 10 ** (-_ACTIVE_DB / 10)))


def active_intervals(
    audio: NDArray[np.float32], crops: Sequence[SpeechCrop], sample_rate: int
) -> Intervals:
    """Return when a speaker speaks: 25 ms frames within 30 dB of the loud ones, and pauses of less
    than 0.2 s between them.

    Args:
        audio: dry speech over the whole scene ``[sample]``. crops: where it lies; its loud frames
            are the 95th percentile of those in there.
    """
    frame = max(1, int(_FRAME_SECONDS * sample_rate))
    powers = _frame_powers(np.pad(audio, (0, -len(audio) % frame)), frame)
    spoken = np.zeros(len(powers), np.bool_)
    for crop in crops:
        spoken[crop.onset // frame : -(-(crop.onset + crop.length) // frame)] = True
    loud = _loud_power(powers[spoken])
    active = np.flatnonzero(spoken & (powers > loud * 10 ** (-_ACTIVE_DB / 10)))
    pauses = np.flatnonzero(np.diff(active) > _SHORTEST_PAUSE * sample_rate / frame) + 1
    seconds = frame / sample_rate
    ends = len(audio) / sample_rate
    return tuple(
        (round(run[0] * seconds, 4), round(min((run[-1] + 1) * seconds, ends), 4))
        for run in np.split(active, pauses)
        if len(run)
    )


def _loud_power(powers: NDArray[np.float32]) -> float:
    """Power of loud frames, of one or more: the 95th percentile."""
    loud = float(np.partition(powers, index := int(0.95 * (len(powers) - 1)))[index])
    loudest = float(powers.max())
    # speech in less than a twentieth of the recording
    return loudest if loud < 1e-6 * loudest else loud


def _frame_powers(audio: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
    frames = audio[: len(audio) // frame * frame].reshape(-1, frame)
    return np.asarray(np.einsum("ij,ij->i", frames, frames))
