# SPDX-License-Identifier: Apache-2.0
"""The picture of a separated recording: where the speakers are over time, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from msdet.inference.speakers import Speakers

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""One for each speaker, then over again (Okabe and Ito's, which colour-blind readers tell apart);
markers differ too."""
Decibels = NDArray[np.float64]
"""``[freq, column]`` from 0 Hz to half the sample rate."""

_MARKERS = "osD^vP"
_COLUMNS = 800
_FRAMES_IN_COLUMN = 4
_WINDOW_SECONDS = 0.032
_DYNAMIC_RANGE_DB = 60.0
_SHOWN = 8
"""Speakers that have room in one picture: those who speak most."""


def spectrogram(
    read: Callable[[slice], NDArray[Any]], num_samples: int, sample_rate: int
) -> Decibels:
    """Return the spectrogram of a signal of any length, in as many columns as a picture has.

    Args:
        read: gives the samples of a slice. A column of a long signal is the mean of a few frames,
            so that of hours little is read.
    """
    size = max(16, round(_WINDOW_SECONDS * sample_rate))
    taper = np.hanning(size)
    columns = min(_COLUMNS, max(1, num_samples * 2 // size))
    width = num_samples / columns
    power = np.zeros((size // 2 + 1, columns))
    for column in range(columns):
        steps = np.linspace(column, column + 1, _FRAMES_IN_COLUMN, endpoint=False) * width
        starts = sorted({int(step) for step in (steps if width > size else steps[:1])})
        for start in starts:
            piece = np.zeros(size)
            samples = np.asarray(read(slice(start, min(start + size, num_samples))))
            piece[: len(samples)] = samples
            power[:, column] += np.square(np.abs(np.fft.rfft(piece * taper))) / len(starts)
    return np.asarray(10 * np.log10(power + 1e-20))


def draw(found: Speakers, spectrograms: Sequence[Decibels], sample_rate: int) -> Figure:
    """Draw the figure; it holds at most eight speakers, and then says so.

    Args:
        spectrograms: of each speaker's audio, which has this sample rate, hertz.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = found.num_speakers
    shown = sorted(np.argsort(-found.activity.sum(axis=1), kind="stable")[:_SHOWN].tolist())
    rows = max(1, len(shown))
    layout = ConstrainedLayoutEngine(rect=(0.0, 0.05, 1.0, 0.9))  # labels around a circle need more
    figure = Figure(figsize=(11.0, max(4.5, 1.7 * rows)), dpi=120, layout=layout)
    grid = figure.add_gridspec(rows, 2, width_ratios=(1.0, 1.6))
    _draw_directions(figure.add_subplot(grid[:, 0], projection="polar"), found, shown)
    axes: Axes | None = None
    top = max((spectrograms[i].max() for i in shown), default=0.0)
    for row, speaker in enumerate(shown):
        axes = figure.add_subplot(grid[row, 1], sharex=axes)
        _draw_speech(axes, found, speaker, spectrograms[speaker], top, sample_rate / 2000)
        axes.tick_params(labelbottom=row == rows - 1)
    if axes is not None:
        axes.set_xlabel("time (s)")
    if not count:
        blank = figure.add_subplot(grid[0, 1])
        blank.axis("off")
        blank.text(0.5, 0.5, "no speaker was found", ha="center")
    elif count > len(shown):
        figure.suptitle(f"the {len(shown)} of {count} speakers who speak most")
    return figure


def _draw_directions(axes: Any, found: Speakers, shown: Sequence[int]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title("azimuth (deg); time runs outwards (s)", fontsize=10, pad=14)
    axes.set_rlim(0.0, max(found.duration, 1e-3))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if found.is_linear:
        axes.set_thetalim(0.0, np.pi)
    for speaker in shown:
        style = {"color": COLOURS[speaker % len(COLOURS)], "label": f"speaker {speaker + 1}"}
        angles = np.radians(found.window_azimuth[speaker])
        marker = _MARKERS[speaker % len(_MARKERS)]
        axes.plot(angles, found.window_times, marker, markersize=4, **style)
        seconds, degrees = found.way(speaker)
        axes.plot(np.radians(degrees), seconds, ".", markersize=2, color=style["color"])
        mean = np.radians(found.azimuth[speaker])
        if np.isfinite(mean):
            axes.plot([mean, mean], [0.0, found.duration], linewidth=1.0, color=style["color"])
    if shown:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.1, -0.15), fontsize=8, frameon=False)


def _draw_speech(
    axes: Axes, found: Speakers, speaker: int, decibels: Decibels, top: float, kilohertz: float
) -> None:
    colour = COLOURS[speaker % len(COLOURS)]
    axes.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        extent=(0.0, found.duration, 0.0, kilohertz),
        vmin=top - _DYNAMIC_RANGE_DB,
        vmax=top,
        interpolation="nearest",
    )
    line: Any = {"linewidth": 5, "color": colour, "clip_on": False, "solid_capstyle": "butt"}
    for times in found.segments[speaker]:
        axes.plot(times, [kilohertz, kilohertz], **line)
    azimuth = found.azimuth[speaker]
    where = "" if np.isnan(azimuth) else f" at {azimuth:.0f}°"
    axes.set_title(f"speaker {speaker + 1}{where}", loc="left", fontsize=9, color=colour)
    axes.set_ylabel("kHz")
