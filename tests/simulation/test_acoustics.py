# SPDX-License-Identifier: Apache-2.0
"""What is measured on responses, on signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.simulation.acoustics import energy_decay, high_passed, measure_drr, measure_t60
from msdet.simulation.config import OCTAVES_HZ
from msdet.simulation.diffuse import octave_gains

RATE = 16000


def decaying_noise(t60: float, seconds: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    """``[4, tap]``"""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal((4, len(time)))
    return (noise * 10 ** (-3 * time / t60)).astype(np.float32)


@pytest.mark.parametrize("t60", [0.2, 0.8])
def test_the_energy_of_an_exponential_decays_along_a_line(t60: float) -> None:
    curve = energy_decay(decaying_noise(t60))
    time = np.arange(curve.shape[-1]) / RATE
    above = time < t60 / 2  # the end of the signal bends what lies below
    np.testing.assert_allclose(curve[:, above].mean(axis=0), -60 / t60 * time[above], atol=0.5)
    assert np.abs(curve[:, 0]).max() < 1e-9
    assert (np.diff(curve, axis=-1) <= 0).all()


def test_the_high_pass_takes_what_lies_below_50_hz_and_delays_nothing() -> None:
    time = np.arange(RATE) / RATE
    for frequency, gain in ((12.5, 0.0), (50.0, np.sqrt(0.5)), (200.0, 1.0), (5000.0, 1.0)):
        tone = np.cos(2 * np.pi * frequency * time).astype(np.float32)
        middle = slice(RATE // 4, 3 * RATE // 4)
        np.testing.assert_allclose(
            high_passed(tone, RATE)[middle], gain * tone[middle], atol=0.015, err_msg=f"{frequency}"
        )


@pytest.mark.parametrize("ratio", [-12.0, 0.0, 9.0])
def test_drr_is_the_ratio_of_energies(ratio: float) -> None:
    direct = np.zeros((2, 300), np.float32)
    direct[:, 100] = 0.7
    reverberation = np.zeros((2, RATE), np.float32)
    reverberation[:, 200:] = decaying_noise(0.3)[:2, : RATE - 200]
    level = np.sqrt(0.7**2 / np.sum(reverberation**2, axis=-1, keepdims=True))
    image = np.pad(direct, ((0, 0), (0, RATE - 300)))
    image += level * reverberation * np.float32(10 ** (-ratio / 20))
    # Both lose what lies below 50 Hz: one part in 160, on average.
    measured = measure_drr(high_passed(image, RATE), direct, RATE)
    np.testing.assert_allclose(measured, ratio, atol=0.15)


def test_drr_does_not_hear_an_offset() -> None:
    direct = np.zeros((1, 200), np.float32)
    direct[0, 100] = 1.0
    image = np.pad(direct, ((0, 0), (0, RATE - 200)))
    image[0, 400:] += 0.1 * decaying_noise(0.3)[0, : RATE - 400]
    offset = image + np.float32(0.002)  # as much energy as half the direct path's, at 0 Hz
    values = [measure_drr(high_passed(x, RATE), direct, RATE)[0] for x in (image, offset)]
    assert values[1] == pytest.approx(values[0], abs=0.3)


def test_t60_does_not_depend_on_level_or_arrival() -> None:
    decay = decaying_noise(0.4)
    later = np.pad(10 * decay, ((0, 0), (800, 0)))
    assert measure_t60(decay, RATE) == pytest.approx(0.4, rel=0.03)
    assert measure_t60(later, RATE) == pytest.approx(measure_t60(decay, RATE), rel=0.01)


def test_t60_is_read_below_the_direct_sound_and_above_the_end() -> None:
    """T20 goes by the decay from -5 to -25 dB: not by a strong start, not by a noise floor."""
    decay = decaying_noise(0.4)
    started, floored = decay.copy(), decay.copy()
    fast = decaying_noise(0.05, seed=2)
    fast *= np.sqrt(1.8 * np.sum(decay**2) / np.sum(fast**2))  # what is slow begins at -4.5 dB
    started += fast
    floored += 1e-4 * decaying_noise(1e9, seed=1)
    for changed in (started, floored):
        assert measure_t60(changed, RATE) == pytest.approx(0.4, rel=0.04)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_octaves_add_up_to_all_frequencies(rate: int) -> None:
    gains = np.array(octave_gains(4096, rate))
    np.testing.assert_allclose(gains.sum(axis=0), 1, atol=1e-6)
    assert (gains >= 0).all()
    frequency = np.fft.rfftfreq(4096, 1 / rate)
    for band, centre in enumerate(OCTAVES_HZ):
        if centre < rate / 2:
            assert gains[band, np.abs(frequency - centre).argmin()] > 0.99
