# SPDX-License-Identifier: Apache-2.0
"""Noise: what the microphones hear besides the speakers."""

from __future__ import annotations

import math
from collections.abc import Callable
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

_LOWEST_HZ = 20.0
"""Spectra that are drawn are level below."""
_LEVEL_SECONDS = 0.5
"""Between values of a slow level."""
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
        if background.shape_db is None:
            streams = _shaped_like_speech(white, scene, corpus)
        else:
            streams = _shaped_at_random(white, background.shape_db, scene.sample_rate, rng)
        if background.modulation_db is not None:
            places = count if background.kind == "point" else 1  # a diffuse field has one level
            sizes = background.modulation_db, (places, num_samples)
            streams *= slow_levels(*sizes, scene.sample_rate, rng)
        return streams
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


def _shaped_at_random(
    white: NDArray[np.float32], deviation_db: float, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise ``[stream, sample]`` whose octaves have random levels around those of pink noise; the
    same for all streams, with straight lines between the octaves."""
    octaves = np.arange(math.log2(_LOWEST_HZ), math.log2(sample_rate / 2) + 1)
    levels = -10 * np.log10(2) * octaves + deviation_db * rng.standard_normal(len(octaves))
    return filtered(
        white, sample_rate, lambda hertz: 10 ** (np.interp(np.log2(hertz), octaves, levels) / 20)
    )


def slow_levels(
    deviation_db: float, shape: tuple[int, int], sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Gains ``[stream, sample]`` whose dB are Gaussian twice a second, and smooth between."""
    streams, samples = shape
    step = round(_LEVEL_SECONDS * sample_rate)
    knots = deviation_db * rng.standard_normal((streams, samples // step + 3))
    curve = scipy.interpolate.PchipInterpolator(np.arange(knots.shape[1]) * step, knots, axis=1)
    return np.asarray(10 ** (curve(np.arange(samples)) / 20), np.float32)


def filtered(
    signals: NDArray[np.float32],
    sample_rate: int,
    gain: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Signals ``[..., sample]`` by a gain over frequency (hertz, from 20 on), around their end."""
    samples = signals.shape[-1]
    size = scipy.fft.next_fast_len(samples, real=True)
    hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / sample_rate), _LOWEST_HZ)
    spectra = scipy.fft.rfft(signals, size, axis=-1) * gain(hertz).astype(np.float32)
    spectra[..., 0] = 0
    return np.asarray(scipy.fft.irfft(spectra, size, axis=-1)[..., :samples], np.float32)


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
