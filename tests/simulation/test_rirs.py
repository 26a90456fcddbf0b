# SPDX-License-Identifier: Apache-2.0
"""Responses: travel times and 1/d, agreement with pyroomacoustics, directions, reverberation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.geometry import SPEED_OF_SOUND, MicrophoneArray, angular_error, far_field_delays
from msdet.simulation import Rirs, Room, SceneConfig, compute_rirs, draw_room, rotated
from msdet.simulation.acoustics import measure_t60
from msdet.simulation.config import sabine_absorption
from msdet.simulation.rirs import DELAY, image_sources, wall_reflections
from msdet.simulation.rooms import random_generator

RATE = 8000


def room_of(seed: int, array: MicrophoneArray) -> Room:
    return draw_room(SceneConfig(), array, random_generator(seed))


def test_the_direct_path_travels_at_the_speed_of_sound_and_falls_with_distance(
    circle: MicrophoneArray,
) -> None:
    room = room_of(0, circle)
    direct = compute_rirs(room, circle, RATE).direct
    frequency = np.fft.rfftfreq(4096, 1 / RATE)
    spectrum = np.fft.rfft(direct.astype(np.float64), 4096)
    band = (frequency > 200) & (frequency < 3000)
    for s, speaker in enumerate(room.speakers):
        for m, mic in enumerate(room.microphones(circle)):
            distance = float(np.linalg.norm(np.subtract(speaker.position, mic)))
            np.testing.assert_allclose(np.abs(spectrum[s, m, band]) * distance, 1, atol=0.01)
            phase = np.unwrap(np.angle(spectrum[s, m, band]))
            seconds = -np.polyfit(2 * np.pi * frequency[band], phase, 1)[0]
            assert seconds == pytest.approx(distance / SPEED_OF_SOUND + DELAY / RATE, abs=2e-6)


@pytest.mark.parametrize("seed", [1, 2])
def test_pyroomacoustics_agrees(seed: int, circle: MicrophoneArray) -> None:
    import pyroomacoustics as pra

    room = room_of(seed, circle)
    absorption = sabine_absorption(room.size, room.t60)
    expected_absorption, order = pra.inverse_sabine(room.t60, room.size, c=SPEED_OF_SOUND)
    assert absorption == pytest.approx(expected_absorption, rel=1e-6)
    high_pass = pra.constants.get("rir_hpf_enable")
    pra.constants.set("rir_hpf_enable", False)
    try:
        theirs = pra.ShoeBox(
            room.size, fs=RATE, materials=pra.Material(absorption), max_order=order
        )
        theirs.set_sound_speed(SPEED_OF_SOUND)
        theirs.add_microphone_array(room.microphones(circle).T)
        theirs.add_source(room.speakers[0].position)
        theirs.compute_rir()
    finally:
        pra.constants.set("rir_hpf_enable", high_pass)
    ours = compute_rirs(room, circle, RATE).image[0]
    above = np.fft.rfftfreq(2**15, 1 / RATE) > 80
    for mic in range(circle.num_mics):
        reference = np.fft.rfft(theirs.rir[mic][0], 2**15)[above]
        difference = np.fft.rfft(ours[mic], 2**15)[above] - reference
        assert np.sum(np.abs(difference) ** 2) < 1e-4 * np.sum(np.abs(reference) ** 2)


def srp_phat(responses: NDArray[np.float32], array: MicrophoneArray, elevation: float) -> float:
    """Azimuth of the greatest steered response power, half-degree steps."""
    spectrum = np.fft.rfft(responses.astype(np.float64), 2048)
    frequency = np.fft.rfftfreq(2048, 1 / RATE)
    band = (frequency > 300) & (frequency < 3000)
    phases = (spectrum / np.abs(spectrum).clip(1e-12))[:, band]
    azimuths = np.arange(0, 360, 0.5)
    delays = far_field_delays(array.positions, azimuths, elevation)
    steering = np.exp(2j * np.pi * frequency[band] * delays[..., None])
    return float(azimuths[(np.abs((steering * phases).sum(axis=1)) ** 2).sum(axis=-1).argmax()])


@pytest.mark.parametrize("name", ["circle", "l_shape"])
def test_srp_phat_finds_the_labels(name: str, request: pytest.FixtureRequest) -> None:
    array = request.getfixturevalue(name)
    for seed in range(4):
        drawn = room_of(seed, array)
        for room in (drawn, rotated(drawn, array, 77.0)):
            direct = compute_rirs(room, array, RATE).direct
            for s, speaker in enumerate(room.speakers):
                found = srp_phat(direct[s], array, speaker.elevation)
                assert angular_error(found, speaker.azimuth) < 2


def test_a_line_hears_the_angle_to_its_axis(line: MicrophoneArray) -> None:
    for seed in range(4):
        room = room_of(seed, line)
        direct = compute_rirs(room, line, RATE).direct
        spectrum = np.fft.rfft(direct.astype(np.float64), 2048)
        cross = spectrum[:, 0, 100:700] * spectrum[:, -1, 100:700].conj()
        angular = 2 * np.pi * np.fft.rfftfreq(2048, 1 / RATE)[100:700]
        reach = line.aperture / SPEED_OF_SOUND
        angles = np.arange(0, 180.5, 0.5)
        # the last microphone lies in front (x > 0): at 0 degrees it hears the sound first
        steering = np.exp(1j * angular * reach * np.cos(np.radians(angles))[:, None])
        for s, speaker in enumerate(room.speakers):
            power = np.real(steering @ (cross[s] / np.abs(cross[s])))
            # broadside is where a short line is sharp; at its ends the cosine is flat
            tolerance = 2 / max(0.3, np.sin(np.radians(speaker.azimuth)))
            assert abs(angles[power.argmax()] - speaker.azimuth) < tolerance


def test_measured_t60_stays_near_what_was_asked(circle: MicrophoneArray) -> None:
    ratios = []
    for seed in range(25):
        room = room_of(seed, circle)
        ratios.append(compute_rirs(room, circle, RATE).t60_measured / room.t60)
    assert 0.8 < np.mean(ratios) < 0.95  # image sources measure below Sabine, most in dead rooms
    assert min(ratios) > 0.3
    assert max(ratios) < 1.4


@pytest.mark.parametrize("t60", [0.15, 0.6])
def test_the_measure_reads_a_known_decay(t60: float) -> None:
    time = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).standard_normal((2, 8, RATE))
    decay = (noise * 10 ** (-3 * time / t60)).astype(np.float32)
    assert measure_t60(decay, RATE) == pytest.approx(t60, rel=0.03)


def test_an_anechoic_room_has_no_reverberation(circle: MicrophoneArray) -> None:
    room = room_of(0, circle)
    dead = room.model_copy(update={"t60": room.t60 * sabine_absorption(room.size, room.t60)})
    rirs = compute_rirs(dead, circle, RATE)
    assert rirs.t60_measured < 0.05
    assert (rirs.drr_db > 60).all()


def test_direct_early_and_image_share_their_beginning(circle: MicrophoneArray) -> None:
    rirs = compute_rirs(room_of(3, circle), circle, RATE)
    for mic in range(4):
        early = rirs.early(mic)
        peaks = np.abs(rirs.direct[:, mic]).argmax(axis=-1)
        for s, peak in enumerate(peaks):
            np.testing.assert_array_equal(early[s, : peak + 401], rirs.image[s, mic, : peak + 401])
            assert not early[s, peak + 401 :].any()
    assert rirs.drr_db.shape == (2, 4)


def test_nearer_is_drier(circle: MicrophoneArray) -> None:
    ratios, distances = [], []
    for seed in range(12):
        room = room_of(seed, circle).model_copy(update={"t60": 0.35})
        ratios += list(compute_rirs(room, circle, RATE).drr_db[:, 0])
        distances += [s.distance for s in room.speakers]
    assert np.corrcoef(ratios, np.log10(distances))[0, 1] < -0.8


@pytest.mark.parametrize("t60", [0.2, 0.45])
def test_rir_generator_agrees(t60: float, circle: MicrophoneArray) -> None:
    """Another's image sources (Habets), with another fractional delay: alike below it."""
    rir_generator = pytest.importorskip("rir_generator", reason="has no wheel for this platform")
    for seed in range(3):
        room = draw_room(SceneConfig(t60=(t60, t60)), circle, np.random.default_rng(seed))
        ours = compute_rirs(room, circle, RATE).image[0]
        theirs = rir_generator.generate(
            c=SPEED_OF_SOUND,
            fs=RATE,
            r=room.microphones(circle),
            s=room.speakers[0].position,
            L=room.size,
            beta=[np.sqrt(1 - sabine_absorption(room.size, t60))] * 6,
            nsample=ours.shape[-1] - DELAY,
            hp_filter=False,
        )
        size = 2**14
        frequency = np.fft.rfftfreq(size, 1 / RATE)
        # Below 100 Hz the weakest images, which are left out here, add up in phase.
        band = (frequency > 100) & (frequency < RATE / 4)
        delayed = np.exp(-2j * np.pi * frequency * DELAY / RATE)
        expected = (4 * np.pi * np.fft.rfft(theirs.T, size) * delayed)[:, band]
        difference = np.fft.rfft(ours, size)[:, band] - expected
        error = np.linalg.norm(difference, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert (error < 0.01).all()


def test_reverberation_begins_with_the_first_reflection(circle: MicrophoneArray) -> None:
    for backend in ("exact", "hybrid"):
        room = room_of(5, circle).model_copy(update={"rirs": backend})
        rirs = compute_rirs(room, circle, RATE)
        rest = rirs.image.copy()
        rest[..., : rirs.direct.shape[-1]] -= rirs.direct
        for s, speaker in enumerate(room.speakers):
            for m, mic in enumerate(room.microphones(circle)):
                mirrored = []
                for axis in range(3):
                    for wall in (0.0, room.size[axis]):
                        image = np.array(speaker.position)
                        image[axis] = 2 * wall - image[axis]
                        mirrored.append(float(np.linalg.norm(image - mic)))
                first = min(mirrored) / SPEED_OF_SOUND * RATE  # where its filter begins
                peak = np.abs(rirs.direct[s, m]).max()
                assert np.abs(rest[s, m, : int(first)]).max() < 1e-3 * peak
                around = rest[s, m, int(first) + DELAY - 2 : int(first) + DELAY + 4]
                assert np.abs(around).max() > 0.05 * peak


def test_drr_is_that_of_the_images_energies(circle: MicrophoneArray) -> None:
    differences = []
    for seed in range(15):
        room = room_of(seed, circle)
        beta = wall_reflections(room)[0]
        drr = compute_rirs(room, circle, RATE).drr_db.mean(axis=1)
        for s, speaker in enumerate(room.speakers):
            images = image_sources(
                room.size, np.array(speaker.position), room.array_centre, beta, room.t60
            )
            squares = np.sum((images.positions.T - room.array_centre) ** 2, axis=-1)
            energies = beta ** (2.0 * images.reflections) / squares
            direct = energies.max()
            differences.append(drr[s] - 10 * np.log10(direct / (energies.sum() - direct)))
    assert abs(np.mean(differences)) < 0.25  # reflections interfere, on average neither way
    assert np.abs(differences).max() < 2


@pytest.mark.parametrize("backend", ["exact", "hybrid"])
def test_srp_phat_finds_the_labels_in_reverberation(backend: str, circle: MicrophoneArray) -> None:
    errors = []
    for seed in range(15):
        room = room_of(seed, circle).model_copy(update={"rirs": backend})
        image = compute_rirs(room, circle, RATE).image
        for s, speaker in enumerate(room.speakers):
            errors.append(
                angular_error(srp_phat(image[s], circle, speaker.elevation), speaker.azimuth)
            )
    assert np.median(errors) < 2
    assert np.mean(np.array(errors) < 5) > 0.8


def test_permuted_reads_microphones_in_another_order(circle: MicrophoneArray) -> None:
    rirs = compute_rirs(room_of(3, circle), circle, RATE)
    other = rirs.permuted((2, 0, 3, 1))
    assert isinstance(other, Rirs)
    np.testing.assert_array_equal(other.image[:, 0], rirs.image[:, 2])
    np.testing.assert_array_equal(other.direct[:, 3], rirs.direct[:, 1])
    np.testing.assert_array_equal(other.drr_db[:, 1], rirs.drr_db[:, 0])


def test_what_stands_outside_is_refused(circle: MicrophoneArray) -> None:
    room = room_of(3, circle)
    with pytest.raises(InputError, match="stands outside"):
        compute_rirs(room.model_copy(update={"array_centre": (0.02, 1.0, 1.0)}), circle, RATE)
    with pytest.raises(InputError, match=r"t60=0.01: not reachable"):
        compute_rirs(room.model_copy(update={"t60": 0.01}), circle, RATE)
