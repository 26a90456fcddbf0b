# SPDX-License-Identifier: Apache-2.0
"""Simulated conversations for the benchmarks: people of the bundled corpus take turns in one room.

A turn lasts 3 to 10 s and begins between 1 s before the end of the last one and 4 s after it, so
that pauses are often longer than what two windows of a separated recording share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import oaconvolve

from msdet.corpora import Corpus
from msdet.geometry import MicrophoneArray
from msdet.inference.activity import (
    frame_length,
    frame_powers,
    loud_level,
    segments_of,
    without_gaps,
)
from msdet.simulation import SceneConfig, compute_rirs, draw_room
from msdet.simulation.diffuse import diffuse_field

TURN_SECONDS, GAP_SECONDS = (3.0, 10.0), (-1.0, 4.0)
SNR_DB = 25.0
"""Reverberant speech over the microphones' own white noise."""
LEVEL = 0.05
"""RMS of the reference microphone, where full scale is 1."""
SPOKEN_DB = 30.0
"""Dry speech counts as spoken down to so far below the speaker's loud level."""
SHORTEST_PAUSE = 0.2
"""Seconds; shorter ones count as speech."""

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Conversation:
    """A rendered conversation.

    Attributes:
        mixture: ``[mic, sample]``. targets: ``[speaker, sample]``, direct path at the reference.
        segments: of each speaker, start and end in seconds of what is said, pauses of .2 s and
            more left out; read off the dry speech.
    """

    mixture: Audio
    targets: Audio
    segments: list[list[tuple[float, float]]]


def converse(
    rng: np.random.Generator,
    scene: SceneConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    minutes: float,
    speakers: int,
    diffuse_snr_db: float | None = None,
) -> Conversation:
    """Draw and render one room, and people who take turns in it.

    Args:
        diffuse_snr_db: reverberant speech over diffuse noise of its own long-term spectrum; None
            for no such noise.
    """
    rate = corpus.sample_rate
    fixed = scene.model_copy(update={"num_speakers": (speakers, speakers)})
    room = draw_room(fixed, array, rng)
    rirs = compute_rirs(room, array, rate)
    names = rng.choice(corpus.speakers, speakers, replace=False)
    dry = np.zeros((speakers, round(60 * minutes * rate)), np.float32)
    speech = [_endless(rng, corpus, str(name)) for name in names]
    end, speaker = 0.0, 0
    while True:
        start = max(0.0, end + rng.uniform(*GAP_SECONDS))
        length = rng.uniform(*TURN_SECONDS)
        first, last = round(start * rate), round((start + length) * rate)
        if last > dry.shape[1]:
            break
        take = np.resize(
            np.roll(speech[speaker], -int(rng.integers(len(speech[speaker])))), last - first
        )
        dry[speaker, first:last] = take / max(float(np.sqrt(np.square(take).mean())), 1e-9)
        end, speaker = start + length, (speaker + int(rng.integers(1, speakers))) % speakers
    size = dry.shape[1]
    late = slice(rirs.delay, rirs.delay + size)

    def through(responses: Audio) -> Audio:
        mics = (responses[:, mic] for mic in range(responses.shape[1]))
        heard = [oaconvolve(dry, at_mic, axes=-1)[:, late] for at_mic in mics]
        return np.stack(heard, axis=1).astype(np.float32)

    padded = np.pad(rirs.image, ((0, 0), (0, 0), (0, rirs.delay)))
    mixture = through(padded).sum(axis=0)
    reference = scene.reference_mic
    targets = through(np.pad(rirs.direct, ((0, 0), (0, 0), (0, rirs.delay))))[:, reference]
    level = float(np.sqrt(np.square(mixture[reference]).mean()))
    mixture += level * 10 ** (-SNR_DB / 20) * rng.standard_normal(mixture.shape, np.float32)
    if diffuse_snr_db is not None:
        white = rng.standard_normal(mixture.shape, np.float32)
        noise = diffuse_field(_shaped(white, dry), room.real_positions(array), rate)
        heard = float(np.sqrt(np.square(noise[reference]).mean()))
        mixture += noise * np.float32(level / heard * 10 ** (-diffuse_snr_db / 20))
    scale = np.float32(LEVEL / level)
    return Conversation(scale * mixture, scale * targets, [_spoken(one, rate) for one in dry])


def _endless(rng: np.random.Generator, corpus: Corpus, speaker: str) -> Audio:
    """Utterances of a speaker in a random order, one after the other."""
    utterances = corpus.of_speaker(speaker)
    return np.concatenate([corpus.read(utterances[i]) for i in rng.permutation(len(utterances))])


def _shaped(white: Audio, dry: Audio) -> Audio:
    """White noise ``[mic, sample]`` with the long-term spectrum of speech ``[speaker, sample]``."""
    frame = 512
    frames = dry[:, : dry.shape[1] // frame * frame].reshape(-1, frame)
    power = np.square(np.abs(fft.rfft(frames * np.hanning(frame), axis=-1))).mean(axis=0)
    bins = white.shape[1] // 2 + 1
    gains = np.interp(np.linspace(0, len(power) - 1, bins), np.arange(len(power)), np.sqrt(power))
    return np.asarray(fft.irfft(fft.rfft(white) * gains, white.shape[1]), np.float32)


def _spoken(dry: Audio, sample_rate: int) -> list[tuple[float, float]]:
    powers = frame_powers(dry, sample_rate)
    seconds = frame_length(sample_rate) / sample_rate
    loud = powers >= max(loud_level(powers), 1e-12) * 10 ** (-SPOKEN_DB / 10)
    return segments_of(without_gaps(loud, seconds, SHORTEST_PAUSE), seconds)
