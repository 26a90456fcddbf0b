# SPDX-License-Identifier: Apache-2.0
"""Hybrid responses against exact ones, and the diffuse sound that ends them against theory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import butter, sosfreqz

from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray
from msdet.simulation import Room, SceneConfig, compute_rirs, draw_room, rotated
from msdet.simulation.acoustics import energy_decay, high_passed
from msdet.simulation.diffuse import diffuse_coherence, diffuse_field, diffuse_noise, image_power
from msdet.simulation.rirs import DELAY, image_sources, mixing_time, wall_reflections

RATE = 16000
MEDIUM, SMALL = (6.0, 5.0, 3.0), (3.6, 3.0, 2.5)
Size = tuple[float, float, float]


def rooms(
    count: int, array: MicrophoneArray, size: Size, t60: float, **config: Any
) -> Iterator[Room]:
    """Hybrid rooms of one size."""
    sides = {"length": (size[0],) * 2, "width": (size[1],) * 2, "height": (size[2],) * 2}
    ranges = SceneConfig.model_validate(
        {"room": sides, "t60": (t60, t60), "rirs": "hybrid", **config}
    )
    for index in range(count):
        yield draw_room(ranges, array, np.random.default_rng((11, index)))


def exact(room: Room) -> Room:
    return room.model_copy(update={"rirs": "exact"})


def mean_difference(
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]],
    passed: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Hybrid less exact decay curve ``[time]``, dB; mean over scenes, exact down to -30 dB."""
    curves: list[list[NDArray[np.float64]]] = [[], []]
    pairs = list(pairs)
    taps = min(h.shape[-1] for pair in pairs for h in pair)  # they end below -50 dB
    for pair in pairs:
        for into, response in zip(curves, pair, strict=True):
            curve = energy_decay(passed(response[..., :taps]))[..., DELAY::16]
            into.append(curve.reshape(-1, curve.shape[-1]))
    hybrid, reference = (np.concatenate(c).mean(axis=0) for c in curves)
    return np.asarray((hybrid - reference)[reference > -30])


@pytest.mark.parametrize("t60_per_octave", [None, (1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7)])
def test_hybrid_begins_as_exact_does(
    t60_per_octave: tuple[float, ...] | None, circle: MicrophoneArray
) -> None:
    for room in rooms(2, circle, MEDIUM, 0.3, t60_per_octave=t60_per_octave):
        ours, reference = (compute_rirs(r, circle, RATE) for r in (room, exact(room)))
        for s, speaker in enumerate(room.speakers):
            mixed = speaker.distance / SPEED_OF_SOUND + mixing_time(room.size)
            # Less the array's reach; the octaves' filters ring, and so blur the border.
            end = round((mixed - 0.0002) * RATE) - (160 if t60_per_octave else 0)
            beginning = reference.image[s, :, :end]
            error = np.abs(ours.image[s, :, :end] - beginning).max(axis=-1)
            # Arrivals are counted in single precision, from where a call begins.
            allowed = 5e-3 if t60_per_octave else 5e-4
            assert (error < allowed * np.abs(beginning).max(axis=-1)).all()
        np.testing.assert_array_equal(ours.direct, reference.direct)


def octave(centre: float) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Zero-phase."""
    edges = [centre / math.sqrt(2), centre * math.sqrt(2)]
    band = butter(4, edges, "bandpass", fs=RATE, output="sos")

    def passed(response: NDArray[np.float32]) -> NDArray[np.float32]:
        size = fft.next_fast_len(2 * response.shape[-1], real=True)
        gain = np.abs(sosfreqz(band, fft.rfftfreq(size, 1 / RATE), fs=RATE)[1])
        spectrum = fft.rfft(response, size, axis=-1) * gain
        return np.asarray(fft.irfft(spectrum, size, axis=-1)[..., : response.shape[-1]])

    return passed


@pytest.mark.parametrize(("size", "t60"), [(SMALL, 0.25), (MEDIUM, 0.35), (MEDIUM, 0.2)])
def test_hybrid_decays_as_exact_does(size: Size, t60: float, circle: MicrophoneArray) -> None:
    pairs = (
        (compute_rirs(room, circle, RATE).image, compute_rirs(exact(room), circle, RATE).image)
        for room in rooms(12, circle, size, t60)
    )
    difference = mean_difference(pairs, lambda h: high_passed(h, RATE))
    assert len(difference) > 60  # milliseconds
    assert np.abs(difference).max() < (0.6 if t60 > 0.2 else 0.9)  # dead rooms decay in steps


def test_each_octave_decays_as_exact_does(circle: MicrophoneArray) -> None:
    """From 700 Hz; at low frequencies rooms have modes, and hybrid has not."""
    factors = (1.3, 1.2, 1.1, 1.0, 0.9, 0.8, 0.7)
    pairs = [
        (compute_rirs(room, circle, RATE).image, compute_rirs(exact(room), circle, RATE).image)
        for room in rooms(8, circle, SMALL, 0.25, t60_per_octave=factors)
    ]
    lengths = []
    for centre in (1000.0, 2000.0, 4000.0):
        difference = mean_difference(pairs, octave(centre))
        assert np.abs(difference).max() < 1.8  # narrow bands: 1 dB more or less by chance
        lengths.append(len(difference))  # 30 dB last as many milliseconds
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 1.15 * lengths[-1]


def test_hybrid_and_exact_measure_alike(circle: MicrophoneArray) -> None:
    drr, t60 = [], []
    for room in rooms(12, circle, MEDIUM, 0.35):
        ours, reference = (compute_rirs(r, circle, RATE) for r in (room, exact(room)))
        drr.append(ours.drr_db - reference.drr_db)
        t60.append(ours.t60_measured / reference.t60_measured)
    assert abs(np.mean(drr)) < 0.15
    assert np.abs(drr).max() < 1.2
    assert np.mean(t60) == pytest.approx(1.0, abs=0.04)
    assert np.ptp(t60) < 0.3


@pytest.mark.parametrize(
    ("size", "t60"), [((5.0, 4.5, 4.0), 0.45), ((8.0, 7.0, 2.6), 0.45), (MEDIUM, 0.2)]
)
def test_the_tail_has_the_power_of_the_images(
    size: Size, t60: float, circle: MicrophoneArray
) -> None:
    """The sum over image sources of many scenes; no single exponential would do."""
    edges = np.arange(mixing_time(size) + 0.01, t60 - 0.02, 0.02)
    energy = np.zeros(len(edges) - 1)
    drawn = list(rooms(20, circle, size, t60))
    beta = wall_reflections(drawn[0])[0]
    for room in drawn:
        for speaker in room.speakers:
            images = image_sources(
                size, np.array(speaker.position), room.array_centre, beta, t60 + 0.01
            )
            far = np.linalg.norm(images.positions.T - room.array_centre, axis=-1)
            squares = beta ** (2.0 * images.reflections) / far**2
            energy += np.histogram(far / SPEED_OF_SOUND, edges, weights=squares)[0]
    time = edges[:-1] + 0.01
    found = 10 * np.log10(energy / (2 * len(drawn)) / 0.02)
    law = 10 * np.log10(image_power(size, beta, time))
    assert abs(np.mean(law - found)) < 0.25
    assert np.abs(law - found).max() < 1.5
    asked = found[0] - 60 / t60 * (time - time[0])
    assert np.abs(asked - found)[-1] > 2 * np.abs(law - found)[-1]


def coherence_error(
    segments: NDArray[np.float32], positions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """From sin(kd)/(kd), ``[mic, mic]``, root mean square over 100 Hz to 7 kHz.

    Args:
        segments: ``[mic, segment, sample]``.
    """
    size = segments.shape[-1]
    spectra = fft.rfft(segments * np.hanning(size), axis=-1)
    cross = np.einsum("isf,jsf->fij", spectra.conj(), spectra)
    power = np.sqrt(np.einsum("fii->fi", cross).real)
    frequency = fft.rfftfreq(size, 1 / RATE)
    heard = (frequency > 100) & (frequency < 7000)
    difference = cross / power[:, :, None] / power[:, None]
    difference -= diffuse_coherence(positions, frequency)
    parts = np.stack([difference.real, difference.imag])[:, heard]
    return np.asarray(np.sqrt(np.mean(parts**2, axis=1)).max(axis=0))


def test_the_end_of_a_hybrid_response_is_diffuse(build: Callable[..., MicrophoneArray]) -> None:
    points = [[0.0, 0.0, 0.0], [0.05, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.1]]
    array = build(shape="positions", positions=points)
    segments = []
    for room in rooms(60, array, MEDIUM, 0.5):
        rirs = compute_rirs(room, array, RATE)
        peaks = np.abs(rirs.direct[:, 0]).argmax(axis=-1)
        for s, peak in enumerate(peaks):
            start = peak + round(0.04 * RATE)  # past mixing time and cross-fade
            end = rirs.image[s, :, start : start + 2048].reshape(4, 4, 512)
            segments.append(end / np.sqrt(np.mean(end**2, axis=(0, 2), keepdims=True)))
    difference = coherence_error(np.concatenate(segments, axis=1), array.as_array())
    assert difference.max() < 0.05  # 480 segments leave a standard deviation of 0.03


def test_tails_are_reproducible_and_each_speaker_has_its_own(circle: MicrophoneArray) -> None:
    (room,) = rooms(1, circle, MEDIUM, 0.5)
    rirs, again = (compute_rirs(room, circle, RATE).image for _ in range(2))
    np.testing.assert_array_equal(rirs, again)
    tails = rirs[:, 0, round(0.1 * RATE) : round(0.3 * RATE)]
    assert abs(np.corrcoef(tails)[0, 1]) < 0.1
    moved = room.model_copy(update={"t60": 0.51})
    other = compute_rirs(moved, circle, RATE).image[0, 0, round(0.1 * RATE) : round(0.3 * RATE)]
    assert abs(np.corrcoef(tails[0], other)[0, 1]) < 0.1


def test_a_symmetric_array_that_is_turned_hears_the_same_tail(circle: MicrophoneArray) -> None:
    (room,) = rooms(1, circle, MEDIUM, 0.4)
    straight = compute_rirs(room, circle, RATE).image
    turned = compute_rirs(rotated(room, circle, 90.0), circle, RATE).image
    np.testing.assert_array_equal(turned, straight[:, [1, 2, 3, 0]])


@pytest.mark.parametrize("source", [diffuse_noise, diffuse_field])
def test_diffuse_sound_has_its_coherence(source: object, l_shape: MicrophoneArray) -> None:
    positions = 3 * l_shape.as_array()  # spacings of 0.1 to 0.5 m
    rng = np.random.default_rng(3)
    samples = 20 * RATE
    if source is diffuse_noise:
        signals = fft.irfft(diffuse_noise((1, samples), positions, RATE, rng), samples)[0]
    else:
        streams = rng.standard_normal((len(positions), samples)).astype(np.float32)
        signals = diffuse_field(streams, positions, RATE)
    np.testing.assert_allclose(signals.std(axis=-1), 1, atol=0.01)
    segments = signals.reshape(len(positions), -1, 640)
    assert coherence_error(segments, positions).max() < 0.05


def test_diffuse_noise_is_white() -> None:
    noise = diffuse_noise((2, 2 * RATE), np.zeros((1, 3)), RATE, np.random.default_rng(4))
    power = np.abs(noise[:, 0, 1:]) ** 2 / (2 * RATE)
    bands = power[:, : power.shape[-1] // 50 * 50].reshape(2, 50, -1).mean(axis=-1)
    np.testing.assert_allclose(bands, 1, atol=0.3)
    assert (noise[..., 0] == 0).all()
