# SPDX-License-Identifier: Apache-2.0
"""The corpus hands out what was asked for and keeps its memory bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from voices.measure import active_level, bandwidth, pitch, silence_share

from msdet.corpora import BundledConfig, open_corpus
from msdet.corpora.corpus import AudioCache, high_passed, make_corpus
from msdet.errors import InputError

RATE = 16000


def test_cache_stays_within_its_bytes_and_drops_the_oldest() -> None:
    cache = AudioCache(max_bytes=400)
    keys = [(Path(str(n)), 8000) for n in range(4)]
    for key in keys[:3]:
        cache.put(key, np.zeros(30, np.float32))
    assert cache.get(keys[0]) is not None
    cache.put(keys[3], np.zeros(30, np.float32))
    assert cache.get(keys[1]) is None
    assert cache.get(keys[0]) is not None
    cache.put((Path("huge"), 8000), np.zeros(1000, np.float32))
    assert cache.num_bytes == 360


def test_unknown_names_are_refused() -> None:
    corpus = open_corpus(BundledConfig(), 8000)
    with pytest.raises(InputError, match="no utterance 'nobody'"):
        corpus.by_id("nobody")
    with pytest.raises(InputError, match="no speaker 'nobody'"):
        corpus.of_speaker("nobody")


def test_one_speaker_is_not_a_corpus() -> None:
    corpus = open_corpus(BundledConfig(), 8000)
    alone = corpus.of_speaker(corpus.speakers[0])
    with pytest.raises(InputError, match="has 1 speaker"):
        make_corpus("mine", Path("there"), alone, 8000)
    pair = [u for u in corpus.utterances if u.split == "train"][:2]
    with pytest.raises(InputError, match="split 'test' has 0 speakers"):
        make_corpus("mine", Path("there"), pair, 8000).split("test")


@pytest.mark.parametrize("frequency", [90.0, 140.0, 220.0, 300.0])
def test_pitch_of_a_known_voice(frequency: float) -> None:
    time = np.arange(RATE) / RATE
    harmonics = range(1, int(3000 / frequency))
    voice = sum(np.sin(2 * np.pi * frequency * k * time) / k for k in harmonics)
    found = pitch(np.asarray(voice, np.float32), RATE)
    assert found is not None
    assert abs(found / frequency - 1) < 0.03


def test_bandwidth_level_and_silence_of_known_noise() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.fft.rfft(rng.standard_normal(4 * RATE))
    spectrum[np.fft.rfftfreq(4 * RATE, 1 / RATE) > 3900] *= 1e-4
    noise = np.fft.irfft(spectrum).astype(np.float32)
    assert 3750 <= bandwidth(noise, RATE) <= 4250
    noise *= 0.1 / np.sqrt(np.mean(noise**2))
    half = np.concatenate([noise, np.zeros_like(noise)])
    assert abs(silence_share(half, RATE) - 0.5) < 0.01
    assert abs(active_level(half, RATE) + 20.0) < 0.1


def test_hum_and_offsets_go_and_speech_stays() -> None:
    time = np.arange(6 * 8000) / 8000
    voice = np.sin(2 * np.pi * 90 * time).astype(np.float32)
    hum = (0.5 * np.sin(2 * np.pi * 5 * time) + 0.3).astype(np.float32)
    middle = slice(2000, -2000)  # a hum that begins at once is not only a hum
    np.testing.assert_allclose(high_passed(voice + hum, 8000)[middle], voice[middle], atol=2e-3)
