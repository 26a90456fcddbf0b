# SPDX-License-Identifier: Apache-2.0
"""Noise: what the microphones hear besides the speakers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.corpora import Corpus
from msdet.errors import InputError
from msdet.simulation.convolution import Convolution
from msdet.simulation.diffuse import diffuse_field
from msdet.simulation.noise_sources import open_recordings
from msdet.simulation.rirs import Rirs
from msdet.simulation.scene import Scene
from msdet.simulation.speech import SpeechCrop

_SPECTRUM_SECONDS = 0.032
"""Windows of the long-term spectrum: short enough to leave no trace of single harmonics."""


def sensor_noise(seed: int, num_mics: int, num_samples: int) -> NDArray[np.float32]:
    """White Gaussian noise of unit variance ``[mic, sample]``, independent per microphone.

    Drawn from 65536 quantiles of the distribution, five times faster than from the distribution
    itself; the largest is 4.3 standard deviations.
    """
    generator = np.random.Generator(np.random.SFC64(seed))
    count = num_mics * num_samples
    words = generator.bit_generator.random_raw(-(-count // 4))
    return _quantiles()[words.view(np.uint16)[:count]].reshape(num_mics, num_samples)


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float32]:
    values = scipy.special.ndtri((np.arange(65536) + 0.5) / 65536)
    return np.asarray(values / values.std(), np.float32)


def background_noise(scene: Scene, corpus: Corpus, rirs: Rirs) -> NDArray[np.float32]:
    """A scene's background ``[mic, sample]`` at any level.

    Raises:
        InputError: a recording is missing, too short or silent where the scene uses it.
    """
    background = scene.background
    assert background is not None
    rng = np.random.Generator(np.random.SFC64(background.seed))
    if background.kind == "point":
        return _from_places(scene, corpus, rirs, rng)
    num_mics = len(scene.array.positions)
    if background.kind == "babble":
        streams = _babble(scene, corpus, num_mics, rng)
    else:
        streams = _streams(scene, corpus, num_mics, scene.num_samples, rng)
    places = scene.room.real_positions(scene.microphone_array())
    return diffuse_field(streams, places, scene.sample_rate)


def _from_places(
    scene: Scene, corpus: Corpus, rirs: Rirs, rng: np.random.Generator
) -> NDArray[np.float32]:
    taps = rirs.noise.shape[-1]
    lead = taps - 1 + rirs.delay
    streams = _streams(scene, corpus, len(rirs.noise), lead + scene.num_samples, rng)
    convolution = Convolution(streams[:, rirs.delay :], taps, rirs.noise.shape[1])
    responses = convolution.transform(rirs.noise)
    even = np.ones(len(streams), np.float32)
    mics = range(rirs.noise.shape[1])
    return np.stack([convolution.mixed(responses[:, mic], even) for mic in mics])


def _streams(
    scene: Scene, corpus: Corpus, count: int, num_samples: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Uncorrelated noise ``[count, num_samples]`` of equal power."""
    background = scene.background
    assert background is not None
    if not background.recordings:
        white = sensor_noise(int(rng.integers(2**53)), count, num_samples)
        return _shaped_like_speech(white, scene, corpus)
    assert background.recordings_folder is not None
    recordings = open_recordings(background.recordings_folder, scene.sample_rate)
    if recordings.fingerprint != background.recordings_fingerprint:
        raise InputError(
            f"scene {scene.id}: was drawn with other noise than {recordings.key} holds "
            f"({background.recordings_fingerprint}, not {recordings.fingerprint})"
        )
    streams = np.zeros((count, num_samples), np.float32)
    lead = num_samples - scene.num_samples
    for stream, used in zip(streams, background.recordings, strict=True):
        start = used.offset if used.shift else max(0, used.offset - lead)
        audio = recordings.read(used.file, start, used.offset - start + scene.num_samples)
        stream[-len(audio) :] = np.roll(audio, used.shift) / np.sqrt(np.mean(np.square(audio)))
    return streams


def _shaped_like_speech(
    white: NDArray[np.float32], scene: Scene, corpus: Corpus
) -> NDArray[np.float32]:
    """Noise ``[..., sample]`` with the long-term spectrum of the scene's own dry speech."""
    window = 2 * round(_SPECTRUM_SECONDS * scene.sample_rate / 2)
    power = np.zeros(window // 2 + 1)
    assert scene.background is not None
    for crop in scene.speech or scene.background.talkers:
        spoken = _spoken(crop, corpus)
        padded = np.pad(spoken, (0, max(0, window - len(spoken))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: window // 2]
        spectra = scipy.fft.rfft(frames * np.hanning(window).astype(np.float32), axis=-1)
        density = np.square(np.abs(spectra)).mean(axis=0)
        power += density / density.sum()
    samples = white.shape[-1]
    size = scipy.fft.next_fast_len(samples, real=True)
    places = np.linspace(0, window // 2, size // 2 + 1)
    gains = np.interp(places, np.arange(window // 2 + 1), np.sqrt(power)).astype(np.float32)
    shaped = scipy.fft.irfft(scipy.fft.rfft(white, size, axis=-1) * gains, size, axis=-1)
    return np.asarray(shaped[..., :samples], np.float32)


def _babble(
    scene: Scene, corpus: Corpus, count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The voices of a babble ``[count, sample]``, in each stream shifted by other times.

    Shifted by random parts of the scene (around its end), speech is uncorrelated with itself; so
    every voice is heard from all directions.
    """
    background = scene.background
    assert background is not None
    streams = np.zeros((count, scene.num_samples), np.float32)
    for crop in background.talkers:
        voice = np.zeros(scene.num_samples, np.float32)
        spoken = _spoken(crop, corpus)
        voice[crop.onset : crop.onset + len(spoken)] = spoken
        rms = np.sqrt(np.mean(np.square(voice)))
        if not rms > 1e-7:
            raise InputError(
                f"scene {scene.id}: utterance {crop.utterance!r} of the babble is silent from "
                f"sample {crop.offset} to {crop.offset + crop.length}"
            )
        for stream in streams:
            stream += np.roll(voice, int(rng.integers(scene.num_samples))) / rms
    return streams


def _spoken(crop: SpeechCrop, corpus: Corpus) -> NDArray[np.float32]:
    return corpus.read(corpus.by_id(crop.utterance), crop.offset, crop.offset + crop.length)
