# SPDX-License-Identifier: Apache-2.0
"""Frontends: multi-microphone STFTs to the real-valued features that an encoder reads."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msdet.geometry import SPEED_OF_SOUND, AzimuthGrid, unit_vectors
from msdet.models.config import DirectionalConfig, OwnFrontendConfig, RealImaginaryConfig
from msdet.parts import build_module

_EPS = 1e-8
_TINY = 1e-20
_SPREAD_FLOOR = 0.05
"""Below this spread over directions (low frequencies) sensor noise decides, not direction."""


class Frontend(Protocol):
    """A ``torch.nn.Module`` from spectra to the real features that an encoder reads.

    One of one's own is made with ``num_mics``, ``num_directions`` and ``frequencies`` (hertz,
    ``[freq]``) beside the arguments of its config.

    Attributes:
        out_channels: of the features.
    """

    out_channels: int

    def __call__(self, spectra: Tensor, directional: Tensor, reference: int) -> Tensor:
        """Return features ``[batch, out_channels, freq, frame]``.

        Args:
            spectra: the mixture at a level near one, complex ``[batch, mic, freq, frame]``.
            directional: agreement with each look direction ``[batch, freq, direction, frame]``
                (:class:`DirectionalFeatures`).
            reference: index of the reference microphone.
        """
        ...


def make_frontend(
    config: DirectionalConfig | RealImaginaryConfig | OwnFrontendConfig,
    num_mics: int,
    frequencies: NDArray[np.float64],
) -> Any:
    """Return the frontend that a config names, a :class:`Frontend`.

    Args:
        frequencies: centres of the bins, hertz ``[freq]``.
    Raises:
        InputError: its class cannot be made, or lacks what a frontend must have.
    """
    if isinstance(config, DirectionalConfig):
        return DirectionalFrontend(config.directions, frequencies)
    if isinstance(config, RealImaginaryConfig):
        return RealImaginaryFrontend(num_mics, frequencies)
    return build_module(
        config.part,
        "model.frontend",
        ("out_channels",),
        num_mics=num_mics,
        num_directions=config.directions,
        frequencies=frequencies,
    )


def power(spectra: Tensor) -> Tensor:
    """Squared magnitude. From the parts: a complex ``abs`` takes a CPU four times as long."""
    return spectra.real.square() + spectra.imag.square()


def magnitude(spectra: Tensor) -> Tensor:
    """With a gradient that is zero at zero."""
    return (power(spectra) + _TINY).sqrt()


def unit_phasors(spectra: Tensor) -> Tensor:
    """``X / (|X| + eps)``: phases without angles, with a gradient that is finite at zero."""
    return spectra * (1.0 / (magnitude(spectra) + _EPS))


def phase_differences(spectra: Tensor) -> Tensor:
    """Cosine and sine of the phase difference of every pair of microphones.

    Args:
        spectra: complex ``[batch, mic, freq, frame]``.
    Returns:
        ``[batch, freq, 2 * pair, frame]``, all cosines first.
    """
    phasors = unit_phasors(spectra).transpose(1, 2)  # [batch, freq, mic, frame]
    first, second = torch.triu_indices(spectra.shape[1], spectra.shape[1], 1, device=spectra.device)
    products = phasors[:, :, first] * phasors[:, :, second].conj()
    return torch.cat([products.real, products.imag], dim=2)


class DirectionalFeatures(nn.Module):
    """How much a bin's phases agree with a far-field source from each look direction.

    For direction k: the mean over microphone pairs of cos(measured phase difference - the phase
    difference of a plane wave from k). Per frequency the mean over directions is subtracted and
    the result divided by the spread that plane waves from everywhere (a diffuse field) cause, so
    that low frequencies, where it is nearly flat, weigh as much as the others. It is linear in
    the phase differences, hence one small matrix per frequency, computed from the microphones'
    positions: the same network serves any array.

    Valid above half a wavelength of spatial aliasing too (the network sees the ambiguity), and
    within about 20 degrees of the given elevations: elevated speakers shrink phase differences
    by cos(elevation), and the maximum over ``elevations`` is taken.
    """

    frequencies: Tensor

    def __init__(
        self,
        grid: AzimuthGrid,
        frequencies: NDArray[np.float64],
        elevations: tuple[float, ...] = (0.0,),
    ) -> None:
        """``grid``: look directions; ``frequencies``: bin centres in hertz."""
        super().__init__()
        self.grid, self.elevations = grid, elevations
        self.register_buffer(
            "frequencies", torch.as_tensor(frequencies, dtype=torch.float32), persistent=False
        )

    @torch.no_grad()
    def steering(self, positions: Tensor) -> Tensor:
        """``[elevation, freq, direction, 2 * pair]`` for positions ``[mic, 3]`` in metres, which
        lie on a line if, and only if, the grid is linear; in their precision, on their device."""
        waves = self._phasors(positions, torch.as_tensor(_sphere()).to(positions))
        matrices = []
        for elevation in self.elevations:
            looks = self._phasors(positions, self._looks(positions, elevation))
            matrix = looks / (looks.shape[-1] // 2)
            matrix = matrix - matrix.mean(dim=1, keepdim=True)
            responses = torch.matmul(matrix, waves.transpose(1, 2))
            spread = responses.square().mean(dim=(1, 2))
            matrices.append(matrix / (spread + _SPREAD_FLOOR**2).sqrt()[:, None, None])
        return torch.stack(matrices)

    def _looks(self, positions: Tensor, elevation: float) -> Tensor:
        """Unit vectors ``[direction, 3]``: what :func:`msdet.geometry.far_field_delays` hears."""
        if not self.grid.linear:
            return torch.as_tensor(unit_vectors(self.grid.centres, elevation)).to(positions)
        axis = line_axis(positions)
        along = torch.as_tensor(np.cos(np.radians(self.grid.centres))).to(positions)
        return along[:, None] * axis

    def _phasors(self, positions: Tensor, directions: Tensor) -> Tensor:
        """Return what plane waves from ``[wave, 3]`` measure, ``[freq, wave, 2 * pair]``."""
        first, second = np.triu_indices(len(positions), 1)
        leads = directions @ (positions[first] - positions[second]).T / SPEED_OF_SOUND
        phases = 2 * np.pi * self.frequencies.to(positions)[:, None, None] * leads
        return torch.cat([phases.cos(), phases.sin()], dim=-1)

    def forward(self, differences: Tensor, steering: Tensor) -> Tensor:
        """Features per direction.

        Args:
            differences: :func:`phase_differences`, ``[batch, freq, 2 * pair, frame]``.
            steering: :meth:`steering`, ``[elevation, freq, direction, 2 * pair]``.
        Returns:
            ``[batch, freq, direction, frame]``.
        """
        best = torch.matmul(steering[0], differences)
        for matrix in steering[1:]:
            best = torch.maximum(best, torch.matmul(matrix, differences))
        return best


def line_axis(positions: Tensor) -> Tensor:
    """Unit vector ``[1, 3]`` of a linear array, from its first microphone to the farthest.

    Args:
        positions: ``[mic, 3]`` metres.
    """
    offsets = positions - positions[:1]
    lengths = offsets.square().sum(dim=1).sqrt()
    farthest = lengths.argmax(dim=0, keepdim=True)
    return offsets[farthest] / lengths[farthest, None]


def _sphere() -> NDArray[np.float64]:
    """Unit vectors ``[wave, 3]`` spread evenly over the sphere: rings of equal area."""
    heights = np.arange(-0.875, 1.0, 0.25)
    rings = [
        unit_vectors(np.arange(0.0, 360.0, 15.0) + 7.5 * (i % 2), np.degrees(np.arcsin(height)))
        for i, height in enumerate(heights)
    ]
    return np.concatenate(rings)


class DirectionalFrontend(nn.Module):
    """Directional features, the reference's log magnitude and the log frequency."""

    def __init__(self, num_directions: int, frequencies: NDArray[np.float64]) -> None:
        super().__init__()
        self.out_channels = num_directions + 2
        self.register_buffer("log_frequency", log_frequency(frequencies), persistent=False)

    log_frequency: Tensor

    def forward(self, spectra: Tensor, directional: Tensor, reference: int) -> Tensor:
        """``[batch, mic, freq, frame]`` complex and ``[batch, freq, direction, frame]`` to
        ``[batch, channel, freq, frame]``."""
        level = log_magnitude(spectra[:, reference])
        frequency = self.log_frequency[:, None].expand_as(level)
        return torch.cat(
            [directional.transpose(1, 2), torch.stack([level, frequency], dim=1)], dim=1
        )


class RealImaginaryFrontend(nn.Module):
    """Real and imaginary parts of all microphones; bound to the array it was trained on.

    The mixture is divided by one RMS per utterance before the transform, never per bin, so that
    levels within an utterance are kept.
    """

    def __init__(self, num_mics: int, frequencies: NDArray[np.float64]) -> None:
        super().__init__()
        self.out_channels = 2 * num_mics + 1
        self.register_buffer("log_frequency", log_frequency(frequencies), persistent=False)

    log_frequency: Tensor

    def forward(self, spectra: Tensor, directional: Tensor, reference: int) -> Tensor:
        """``[batch, mic, freq, frame]`` complex to ``[batch, channel, freq, frame]``."""
        parts = torch.cat([spectra.real, spectra.imag], dim=1)
        frequency = self.log_frequency[:, None].expand_as(parts[:, :1])
        return torch.cat([parts, frequency], dim=1)


def log_magnitude(spectra: Tensor) -> Tensor:
    """Natural log of the magnitude, floored 80 dB below the utterance's RMS level of one."""
    return (magnitude(spectra) + 1e-4).log() / 3.0


def log_frequency(frequencies: NDArray[np.float64]) -> Tensor:
    """Octaves from a kilohertz, halved, ``[freq]``."""
    octaves = np.log2(np.maximum(frequencies, 50.0) / 1000.0) / 2.0
    return torch.as_tensor(octaves, dtype=torch.float32)


def look_grid(count: int, linear: bool) -> AzimuthGrid:
    """``count`` look directions: evenly over the circle, or over [0, 180] for a linear array."""
    return AzimuthGrid(180.0 / (count - 1) if linear else 360.0 / count, linear)
