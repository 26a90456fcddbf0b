# SPDX-License-Identifier: Apache-2.0
"""The speech of a scene: who says what, when and how loud."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.config import Record, SceneConfig

_DRAWS, _MOST_DRAWS = 8, 64
_ACTIVE_SHARE = 0.6
"""A crop is taken at once when this share of it is speech; else the best of `_DRAWS`, or of
`_MOST_DRAWS` as long as all are silent."""
_FRAME_SECONDS = 0.025
_ACTIVE_DB = 30.0


class SpeechCrop(Record):
    """The speech that one speaker utters, at the scene's sample rate.

    Attributes:
        utterance: id in the corpus.
        offset: first sample in the utterance.
        onset: first sample in the scene.
        length: samples; silence around them.
        level_db: of the reverberant image at the reference microphone, relative to the first
            speaker's.
    """

    utterance: str
    offset: int = Field(ge=0)
    onset: int = Field(ge=0)
    length: int = Field(gt=0)
    level_db: float


def draw_speech(
    config: SceneConfig,
    corpus: Corpus,
    count: int,
    num_samples: int,
    rng: np.random.Generator,
) -> tuple[SpeechCrop, ...]:
    chosen = _draw_speakers(corpus, count, rng)
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
    loud = float(np.partition(whole, index := int(0.95 * (len(whole) - 1)))[index])
    loudest = float(whole.max())
    if loud < 1e-6 * loudest:  # speech in less than a twentieth of the recording
        loud = loudest
    crop = _frame_powers(audio[offset : offset + length], frame)
    if len(crop) == 0 or loud <= 0:
        return 0.0
    return float(np.mean(crop > loud * 10 ** (-_ACTIVE_DB / 10)))


def _frame_powers(audio: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
    frames = audio[: len(audio) // frame * frame].reshape(-1, frame)
    return np.asarray(np.einsum("ij,ij->i", frames, frames))
