# SPDX-License-Identifier: Apache-2.0
"""Angles, microphone arrays and steering delays: every spatial convention of the project.

Azimuth: degrees in [0, 360), counter-clockwise seen from above, in the array's own frame.
0 is the array's x axis: towards microphone 0 for circles, along the first edge for other planar
arrays, along the line for lines. A linear array observes only the angle to its axis: its azimuth
is in [0, 180] and does not wrap. Positions and distances in metres, delays in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from msdet.errors import InputError

SPEED_OF_SOUND = 343.0
"""Metres per second. The one constant; the simulator hands it to pyroomacoustics."""

MOST_MICS = 256
"""Microphones in one array. Work grows with their pairs; the largest research arrays have fewer."""

_LARGEST_METRES = 1000.0
"""Bound of coordinates. No microphones further apart are one array; also keeps squares finite."""

_COLLINEAR_METRES = 1e-6
_NANOMETRE = 1e-9


def wrap_degrees(angle: ArrayLike) -> NDArray[np.float64]:
    """Wrap angles to [0, 360). ``np.mod(-1e-17, 360)`` is 360.0; this returns 0.0 there."""
    wrapped = np.mod(np.asarray(angle, dtype=np.float64), 360.0)
    return np.asarray(np.where(wrapped >= 360.0, 0.0, wrapped), np.float64)


@overload
def angular_error(
    estimate: torch.Tensor, truth: torch.Tensor, linear: bool = ...
) -> torch.Tensor: ...
@overload
def angular_error(
    estimate: ArrayLike, truth: ArrayLike, linear: bool = ...
) -> NDArray[np.float64]: ...
def angular_error(estimate, truth, linear=False):  # type: ignore[no-untyped-def]
    """Return the absolute angle between azimuths, degrees in [0, 180]; broadcasts.

    Args:
        linear: they are angles to a line, which do not wrap; otherwise they are on the circle.
    """
    if isinstance(estimate, torch.Tensor):
        difference = estimate - truth
        if not linear:
            difference = torch.remainder(difference + 180.0, 360.0) - 180.0
        return difference.abs()
    difference = np.asarray(estimate, np.float64) - np.asarray(truth, np.float64)
    return np.abs(difference if linear else np.mod(difference + 180.0, 360.0) - 180.0)


def unit_vectors(azimuth: ArrayLike, elevation: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Return the directions ``[..., 3]`` of azimuths and elevations in degrees."""
    az, el = np.broadcast_arrays(np.radians(azimuth), np.radians(elevation))
    parts = [np.cos(el) * np.cos(az), np.cos(el) * np.sin(az), np.sin(el)]
    return np.asarray(np.stack(parts, axis=-1), np.float64)


def rotate_about_vertical(points: ArrayLike, degrees: float) -> NDArray[np.float64]:
    """Rotate points ``[..., 3]`` counter-clockwise seen from above."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(np.asarray(points, np.float64) @ matrix)


@dataclass(frozen=True)
class MicrophoneArray:
    """Microphones in the array's own frame.

    Attributes:
        name: what the array is called in configs and checkpoints.
        positions: ``[mic][3]`` metres; the mean of the microphones is the origin.
        channels: which channel of a recording holds each microphone, in order.
        file_channels: how many channels a recording of this product has (a ReSpeaker 6-mic
            records eight); None where it is simply one channel a microphone.
    """

    name: str
    positions: tuple[tuple[float, float, float], ...]
    channels: tuple[int, ...] = ()
    file_channels: int | None = None

    def __post_init__(self) -> None:
        points = np.asarray(self.positions, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3 or len(points) < 2:
            raise self._wrong(
                "positions must be at least two microphones of three coordinates in metres, got "
                f"shape {points.shape}"
            )
        if len(points) > MOST_MICS:
            raise self._wrong(f"has {len(points)} microphones, at most {MOST_MICS} are taken")
        if not (np.abs(points) <= _LARGEST_METRES).all():
            raise self._wrong(
                f"positions must be finite numbers of metres, up to {_LARGEST_METRES:g}"
            )
        gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
        if gaps[~np.eye(len(points), dtype=bool)].min() < 1e-4:
            raise self._wrong("two microphones are at the same place")
        mean = points.mean(axis=0)
        if np.abs(mean).max() > _NANOMETRE:  # so that what was stored centred comes back the same
            points = points - mean
        object.__setattr__(self, "positions", _as_tuple(points))
        channels = tuple(self.channels or range(len(points)))
        object.__setattr__(self, "channels", channels)
        if len(channels) != len(points) or len(set(channels)) != len(channels) or min(channels) < 0:
            raise self._wrong(
                f"channels must name one different channel for each of the {len(points)} "
                f"microphones, got {list(channels)}"
            )

    def _wrong(self, why: str) -> InputError:
        return InputError(f"array {self.name!r}: {why}")

    @property
    def num_mics(self) -> int:
        return len(self.positions)

    def microphones_of(self, num_channels: int) -> tuple[int, ...] | None:
        """Return which channels of a file with so many are the microphones, in order: all of them,
        or those of the product's recordings; None where the file is not of this array."""
        everything = tuple(range(self.num_mics))
        if num_channels == self.num_mics:
            return everything
        picks = self.channels != everything or self.file_channels is not None
        fits = self.file_channels in (None, num_channels) and num_channels > max(self.channels)
        return self.channels if picks and fits else None

    def as_array(self) -> NDArray[np.float64]:
        """Return the positions ``[mic, 3]`` in metres."""
        return np.asarray(self.positions, dtype=np.float64)

    @cached_property
    def axis(self) -> NDArray[np.float64] | None:
        """Unit vector ``[3]`` of the line on which all microphones lie, away from microphone 0;
        None where they lie on none."""
        return _line_axis(self.as_array())

    @property
    def is_linear(self) -> bool:
        """True where all microphones lie on one line."""
        return self.axis is not None

    @property
    def aperture(self) -> float:
        """The largest distance between two microphones, metres."""
        points = self.as_array()
        return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())

    def azimuth_of(self, directions: ArrayLike) -> NDArray[np.float64]:
        """Return the azimuth label of points or directions ``[..., 3]`` in the array's frame.

        Planar and volumetric arrays: the horizontal angle from the x axis, [0, 360).
        Linear arrays: [0, 180], the angle to the line, which points away from microphone 0
        (arccos(x / distance) where it lies along x).
        """
        d = np.asarray(directions, np.float64)
        if self.axis is not None:
            along = d @ self.axis / np.maximum(np.linalg.norm(d, axis=-1), 1e-12)
            angle = np.arccos(np.clip(along, -1.0, 1.0))
            return np.asarray(np.degrees(angle), np.float64)
        return wrap_degrees(np.degrees(np.arctan2(d[..., 1], d[..., 0])))

    def rotations(self, tolerance: float = 1e-6) -> tuple[tuple[float, tuple[int, ...]], ...]:
        """Find the rotations about the vertical that map the array onto itself, the identity first.

        Each is ``(degrees, permutation)``: in the rotated array, microphone m stands where
        microphone ``permutation[m]`` stood. So reading channels in the order ``permutation`` is
        listening with an array turned by ``degrees``, and azimuth labels fall by as much.
        """
        points = self.as_array()
        found = [(0.0, tuple(range(self.num_mics)))]
        if self.is_linear:
            return tuple(found)
        angles = np.degrees(np.arctan2(points[:, 1], points[:, 0]))
        farthest = np.hypot(points[:, 0], points[:, 1]).argmax()  # not one at the centre
        for degrees in np.unique(np.round(wrap_degrees(angles - angles[farthest]), 6)).tolist():
            turned = rotate_about_vertical(points, degrees)
            gaps = np.linalg.norm(turned[:, None] - points[None], axis=-1)
            permutation = tuple(gaps.argmin(axis=1).tolist())
            alike = gaps.min(axis=1).max() < tolerance and len(set(permutation)) == len(points)
            if degrees and alike:
                found.append((degrees, permutation))
        return tuple(found)


# --- arrays from configs ------------------------------------------------------------------


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Circle(_Shape):
    """Microphones evenly on a circle, microphone 0 on the x axis, counter-clockwise."""

    shape: Literal["circle"]
    num_mics: int = Field(ge=3, le=MOST_MICS)
    radius: PositiveFloat

    def build(self) -> MicrophoneArray:
        azimuths = np.arange(self.num_mics) * 360.0 / self.num_mics
        points = self.radius * unit_vectors(azimuths)
        return MicrophoneArray(f"circle{self.num_mics}", _as_tuple(points))


class Line(_Shape):
    """Microphones evenly on the x axis."""

    shape: Literal["line"]
    num_mics: int = Field(ge=2, le=MOST_MICS)
    spacing: PositiveFloat

    def build(self) -> MicrophoneArray:
        x = np.arange(self.num_mics) * self.spacing
        return MicrophoneArray(f"line{self.num_mics}", _as_tuple(np.stack([x, 0 * x, 0 * x], -1)))


class LShape(_Shape):
    """Two arms of equal length at a right angle; microphone 0 is at the corner, then the x arm.

    The corner is shared, so the number of microphones is odd.
    """

    shape: Literal["l"]
    num_mics: int = Field(ge=3, le=MOST_MICS)
    arm: PositiveFloat

    def build(self) -> MicrophoneArray:
        if self.num_mics % 2 == 0:
            raise InputError(
                f"array.num_mics={self.num_mics}: an L needs an odd number of microphones, "
                "since both arms share the one at the corner"
            )
        steps = np.linspace(0.0, self.arm, self.num_mics // 2 + 1)
        x_arm = [(s, 0.0, 0.0) for s in steps]
        y_arm = [(0.0, s, 0.0) for s in steps[1:]]
        return MicrophoneArray(f"l{self.num_mics}", _as_tuple(np.array(x_arm + y_arm)))


class Tetrahedron(_Shape):
    """A regular tetrahedron: three microphones in the horizontal plane, the fourth above them."""

    shape: Literal["tetrahedron"]
    edge: PositiveFloat

    def build(self) -> MicrophoneArray:
        radius = self.edge / math.sqrt(3.0)
        base = radius * unit_vectors([0.0, 120.0, 240.0])
        top = [0.0, 0.0, self.edge * math.sqrt(2.0 / 3.0)]
        return MicrophoneArray("tetrahedron4", _as_tuple(np.vstack([base, top])))


class Respeaker(_Shape):
    """Products of Seeed: ReSpeaker USB Mic Array, also sold as Mic Array v2.0, with 4 microphones,
    and ReSpeaker 6-Mic Circular Array Kit for Raspberry Pi.

    Radius and order (counter-clockwise) as in ODAS' respeaker_usb_4_mic_array.cfg and
    respeaker_6_mic_array.cfg. The first one's 6-channel firmware records [processed, mic 1 .. mic
    4, playback]. The other's AC108 codecs record 8 channels, of which 6 and 7 are playback; its
    driver is known to shift channels at times, so check a recording before trusting its azimuths.
    """

    shape: Literal["respeaker4", "respeaker6"]

    def build(self) -> MicrophoneArray:
        if self.shape == "respeaker4":
            points, first, file_channels = 0.032 * unit_vectors(np.arange(4) * 90.0), 1, 6
        else:
            points, first, file_channels = 0.0463 * unit_vectors(np.arange(6) * 60.0), 0, 8
        picks = tuple(range(first, first + len(points)))
        return MicrophoneArray(self.shape, _as_tuple(points), picks, file_channels)


class Positions(_Shape):
    """Any list of microphone positions, metres, in the array's frame."""

    shape: Literal["positions"]
    name: str = "custom"
    positions: tuple[tuple[float, float, float], ...]
    channels: tuple[int, ...] = ()

    def build(self) -> MicrophoneArray:
        return MicrophoneArray(self.name, self.positions, self.channels)


ArrayConfig = Annotated[
    Circle | Line | LShape | Tetrahedron | Respeaker | Positions,
    Field(discriminator="shape"),
]

DEFAULT_ARRAY = Circle(shape="circle", num_mics=4, radius=0.05)
"""``array=circle4``."""


def _as_tuple(points: NDArray[np.float64]) -> tuple[tuple[float, float, float], ...]:
    return tuple((float(x), float(y), float(z)) for x, y, z in points)


# --- azimuth classes ----------------------------------------------------------------------


@dataclass(frozen=True)
class AzimuthGrid:
    """Azimuth classes: class k is centred at k * resolution degrees.

    Circular grids have 360 / resolution classes that wrap; linear ones (for linear arrays) run
    from 0 to 180 degrees inclusive and do not.
    """

    resolution: float = 5.0
    linear: bool = False

    def __post_init__(self) -> None:
        span = 180.0 if self.linear else 360.0
        classes = span / self.resolution if self.resolution > 0 else 0.0
        if not 0 < self.resolution <= 90 or abs(classes - round(classes)) > 1e-6:
            raise InputError(
                f"azimuth resolution must divide {span:g} degrees and be at most 90, "
                f"got {self.resolution:g}"
            )

    @property
    def num_classes(self) -> int:
        return round(180.0 / self.resolution) + 1 if self.linear else round(360.0 / self.resolution)

    @property
    def centres(self) -> NDArray[np.float64]:
        """Azimuth of each class, degrees ``[class]``."""
        return np.asarray(np.arange(self.num_classes) * self.resolution, np.float64)

    def index(self, azimuth: torch.Tensor) -> torch.Tensor:
        """Return the class indices (int64) of azimuths in degrees, same shape."""
        nearest = torch.round(azimuth / self.resolution).long()
        if self.linear:
            return nearest.clamp(0, self.num_classes - 1)
        return nearest.remainder(self.num_classes)

    def decode(self, probabilities: torch.Tensor, reach: int = 2) -> torch.Tensor:
        """Return degrees between classes: the mean of the mass near the peak.

        Args:
            probabilities: ``[..., class]``, non-negative.
            reach: how many classes to either side of the peak count.
        Returns:
            ``[...]`` degrees, in [0, 360) or, for a linear grid, [0, 180].
        """
        peak = probabilities.argmax(dim=-1, keepdim=True)
        steps = torch.arange(-reach, reach + 1, device=probabilities.device)
        around = peak + steps
        if self.linear:
            inside = (around >= 0) & (around < self.num_classes)
            around = around.clamp(0, self.num_classes - 1)
        else:
            inside = torch.ones_like(around, dtype=torch.bool)
            around = around.remainder(self.num_classes)
        mass = torch.gather(probabilities, -1, around) * inside
        shift = (mass * steps).sum(-1) / mass.sum(-1).clamp_min(1e-12)
        degrees = (peak.squeeze(-1) + shift) * self.resolution
        if self.linear:
            return degrees.clamp(0.0, 180.0)
        wrapped = torch.remainder(degrees, 360.0)
        return torch.where(wrapped >= 360.0, torch.zeros_like(wrapped), wrapped)


def far_field_delays(
    positions: ArrayLike, azimuth: ArrayLike, elevation: ArrayLike = 0.0
) -> NDArray[np.float64]:
    """Compute when plane waves arrive at each microphone, relative to the origin.

    Args:
        positions: ``[mic, 3]`` metres in the array's frame.
        azimuth, elevation: degrees, broadcast against each other to ``[...]``. Where the
            microphones lie on a line, the azimuth is the angle to it, and elevation is ignored.
    Returns:
        ``[..., mic]`` seconds; negative where the sound arrives before it reaches the origin.
    """
    points = np.asarray(positions, np.float64)
    axis = _line_axis(points)
    if axis is None:
        directions = unit_vectors(azimuth, elevation)
    else:
        along, _ = np.broadcast_arrays(np.cos(np.radians(azimuth)), elevation)
        directions = along[..., None] * axis
    return np.asarray(-directions @ points.T / SPEED_OF_SOUND)


def _line_axis(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the unit vector of the line of all points, away from the first; None without one."""
    offsets = points - points[0]
    far = offsets[np.linalg.norm(offsets, axis=-1).argmax()]
    axis = far / np.linalg.norm(far)
    beside = offsets - np.outer(offsets @ axis, axis)
    return axis if np.abs(beside).max() < _COLLINEAR_METRES else None


DISTANCES = (0.25, 8.0)
"""Metres: the range of distances in rooms, and what a distance head can say."""


def distance_octaves(num_classes: int) -> NDArray[np.float32]:
    """Return the centres of distance classes, octaves above a metre ``[class]``."""
    low, high = (math.log2(distance) for distance in DISTANCES)
    return np.linspace(low, high, num_classes, dtype=np.float32)
