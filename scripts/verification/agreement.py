# SPDX-License-Identifier: Apache-2.0
"""Agreement with others: the package rir-generator, and azimuths that SRP-PHAT finds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from msdet.geometry import SPEED_OF_SOUND, angular_error, far_field_delays
from msdet.simulation import Room
from msdet.simulation.rirs import DELAY, wall_reflections
from verification.rooms import CIRCLE, RATE, Array, by, rooms


@dataclass(frozen=True)
class Agreement:
    """Ours against theirs, at one microphone: levels in dB re the response.

    Attributes:
        error_db: of the difference between 100 Hz and 4 kHz. correlation: there.
        gain_db: ours over theirs. ours, theirs: samples ``[tap]`` without the delay.
        spectrum: ``[freq]`` error in thirds of octaves at `frequency`.
    """

    t60: float
    error_db: float
    correlation: float
    gain_db: float
    ours: Array
    theirs: Array
    frequency: Array
    spectrum: Array


def agreement(room: Room) -> Agreement:
    """`exact` against the package rir-generator (Habets): the same walls, no high-pass."""
    import rir_generator

    beta = wall_reflections(room)[0]
    ours = by("exact", room).image[0, 0].astype(float)
    theirs = rir_generator.generate(
        c=SPEED_OF_SOUND,
        fs=RATE,
        r=room.microphones(CIRCLE)[:1],
        s=room.speakers[0].position,
        L=room.size,
        beta=[beta] * 6,
        nsample=len(ours) - DELAY,
        hp_filter=False,
    )[:, 0]
    theirs = 4 * np.pi * theirs
    size = fft.next_fast_len(2 * len(ours), real=True)
    frequency = fft.rfftfreq(size, 1 / RATE)
    mine = fft.rfft(ours, size) * np.exp(2j * np.pi * frequency * DELAY / RATE)
    other = fft.rfft(theirs, size)
    band = (frequency > 100) & (frequency < RATE / 4)
    norms = [float(np.linalg.norm(x[band])) for x in (mine, other)]
    alike = float(np.abs(np.vdot(mine[band], other[band]))) / norms[0] / norms[1]
    centres = 2 ** np.arange(np.log2(50), np.log2(7500), 1 / 3)
    errors = []
    for centre in centres:
        near = np.abs(np.log2(np.maximum(frequency, 1) / centre)) < 1 / 6
        error = np.sum(np.abs(mine - other)[near] ** 2) / np.sum(np.abs(other)[near] ** 2)
        errors.append(10 * math.log10(error))
    return Agreement(
        t60=room.t60,
        error_db=20 * math.log10(float(np.linalg.norm((mine - other)[band])) / norms[1]),
        correlation=alike,
        gain_db=20 * math.log10(norms[0] / norms[1]),
        ours=ours[DELAY:],
        theirs=theirs,
        frequency=centres,
        spectrum=np.array(errors),
    )


def azimuth_errors(count: int) -> dict[str, Array]:
    """Degrees by SRP-PHAT on the direct paths and on whole responses; and the T60 and DRR."""
    found: dict[str, list[float]] = {k: [] for k in ("direct", "exact", "hybrid", "t60", "drr")}
    for room in rooms(count, 7, t60=(0.2, 0.8)):
        rirs = {backend: by(backend, room) for backend in ("exact", "hybrid")}
        heard = {b: r.image for b, r in rirs.items()} | {"direct": rirs["exact"].direct}
        for s, speaker in enumerate(room.speakers):
            for name, responses in heard.items():
                azimuth = srp_phat(responses[s], speaker.elevation)
                found[name].append(float(angular_error(azimuth, speaker.azimuth)))
            found["t60"].append(room.t60)
            found["drr"].append(float(rirs["exact"].drr_db[s].mean()))
    return {name: np.array(values) for name, values in found.items()}


def srp_phat(responses: NDArray[np.float32], elevation: float) -> float:
    """Azimuth of the greatest steered response power, half-degree steps; 300 to 3400 Hz."""
    size = fft.next_fast_len(responses.shape[-1], real=True)
    frequency = fft.rfftfreq(size, 1 / RATE)
    spectrum = fft.rfft(responses, size, axis=-1)
    phases = spectrum / np.abs(spectrum).clip(1e-12)
    phases[:, (frequency < 300) | (frequency > 3400)] = 0
    azimuths = np.arange(0, 360, 0.5)
    delays = far_field_delays(CIRCLE.positions, azimuths, elevation)
    lags = np.arange(-8 * 16, 8 * 16 + 1)  # sixteenths of samples; the array spans five samples
    power = np.zeros(len(azimuths))
    for mic, other in combinations(range(CIRCLE.num_mics), 2):
        correlation = fft.irfft(phases[mic] * phases[other].conj(), 16 * size)[lags]
        power += np.interp((delays[:, mic] - delays[:, other]) * RATE * 16, lags, correlation)
    return float(azimuths[power.argmax()])
