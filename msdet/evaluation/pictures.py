# SPDX-License-Identifier: Apache-2.0
"""Figures of a training and of an evaluation, as PNG files.

Drawn off-screen; colours from the palette of Okabe and Ito, which colour-blind readers can tell
apart, and never colour alone: truth and estimate differ in shape and filling too. matplotlib is
imported inside the functions, since only the process that draws needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.projections.polar import PolarAxes

P = ParamSpec("P")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""One for each speaker: blue, vermilion, green, purple, orange, sky (Okabe and Ito)."""

GREY = "#666666"
DOTS_PER_INCH = 150
DYNAMIC_RANGE_DB = 60.0
"""What a spectrogram shows below its loud bins."""

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "legend.fontsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}

_QUANTITIES = {
    "loss": "loss",
    "separation_loss": "separation loss",
    "direction_loss": "direction loss (cross-entropy, nats)",
    "distance_loss": "distance loss",
    "si_sdr_improvement_db": "SI-SDR improvement (dB)",
    "azimuth_error_median_deg": "median azimuth error (deg)",
    "azimuth_error_mean_deg": "mean azimuth error (deg)",
    "azimuth_within_10deg": "share within 10 deg",
    "learning_rate": "learning rate",
    "gradient_norm": "gradient norm",
}


def styled(draw: Callable[P, None]) -> Callable[P, None]:
    """Draw under ``_STYLE``, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_STYLE)
            draw(*args, **kwargs)

    return drawn


# --- training -----------------------------------------------------------------------------


@styled
def training_curves(history: Sequence[Mapping[str, float | None]], path: Path) -> None:
    """One panel per quantity, training and validation together, over time.

    Args:
        history: rows of numbers. ``seconds``, ``step`` or ``epoch`` (the first that is there)
            is the horizontal axis; ``train_loss`` and ``valid_loss`` (or ``train/loss``, ...)
            share the panel ``loss``; anything else gets a panel of its own. A row may lack
            columns; what is missing or not finite is left out.
        path: the PNG file.
    """
    axis = next((n for n in ("seconds", "step", "epoch") if any(n in row for row in history)), None)
    if axis is None:
        raise ValueError("history has none of the columns seconds, step, epoch")
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in history:
        at = row.get(axis)
        for name, value in row.items():
            if name in ("seconds", "step", "epoch") or at is None or value is None:
                continue
            if math.isfinite(value):
                split, quantity = _split_name(name)
                panels.setdefault(quantity, {}).setdefault(split, []).append((at, value))
    if not panels:
        raise ValueError("history has nothing to draw")

    known = list(_QUANTITIES)
    names = sorted(panels, key=lambda n: (known.index(n) if n in known else len(known), n))
    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    last = max(at for curves in panels.values() for points in curves.values() for at, _ in points)
    scale, label = _time_axis(axis, last)
    figure, axes = grid_of_axes(lines, columns, (4.0 * columns, 2.9 * lines))
    for place, name in zip(axes.flat, names, strict=False):
        for split, points in sorted(panels[name].items()):
            x, y = np.array(sorted(points)).T
            _draw_curve(place, x / scale, y, split)
        place.set_title(_QUANTITIES.get(name, name.replace("_", " ")))
        place.set_xlabel(label)
        place.set_xlim(0, 1.02 * last / scale or 1.0)
        if "loss" in name and min(v for s in panels[name].values() for _, v in s) > 0:
            place.set_yscale("log")
            _plain_log_ticks(place)
        if set(panels[name]) - {""}:
            place.legend()
    for place in list(axes.flat)[len(names) :]:
        place.set_visible(False)
    save(figure, path)


def _split_name(name: str) -> tuple[str, str]:
    """``train_loss`` and ``train/loss`` are (train, loss); a name without a split has ""."""
    for split in ("train", "valid"):
        for separator in ("/", "_"):
            if name.startswith(split + separator):
                return split, name[len(split) + 1 :]
    return "", name


def _draw_curve(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], split: str) -> None:
    """Training thin and dashed where it is a line of many points, validation with its points."""
    if split == "valid":
        axes.plot(x, y, "o-", color=COLOURS[1], markersize=3.5, linewidth=1.5, label="validation")
    elif split == "train":
        axes.plot(x, y, "-", color=COLOURS[0], linewidth=1.2, label="training")
    else:
        axes.plot(x, y, "-", color=GREY, linewidth=1.2)


def _time_axis(axis: str, last: float) -> tuple[float, str]:
    if axis != "seconds":
        return 1.0, axis
    if last > 3 * 3600:
        return 3600.0, "time (h)"
    return (60.0, "time (min)") if last > 180 else (1.0, "time (s)")


def _plain_log_ticks(axes: Axes) -> None:
    """2, 3, 5 instead of 2x10^0: losses seldom span more than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


# --- audio --------------------------------------------------------------------------------


@styled
def spectrograms(
    mixture: ArrayLike,
    estimates: ArrayLike,
    targets: ArrayLike,
    sample_rate: int,
    path: Path,
    *,
    titles: Sequence[str] | None = None,
) -> None:
    """For each speaker a row: the mixture, what the model made of it, the target; one dB scale.

    Args:
        mixture: ``[sample]`` at the reference microphone.
        estimates, targets: ``[speaker, sample]``, each estimate beside its own target.
        titles: one per speaker, for the left of its row, such as its SI-SDR.
        path: the PNG file.
    """
    mix, est, tgt = (np.asarray(x, np.float64) for x in (mixture, estimates, targets))
    window = 1 << round(math.log2(0.032 * sample_rate))  # about 32 ms, usual for speech
    columns = [("mixture", [mix] * len(tgt)), ("estimate", list(est)), ("target", list(tgt))]
    levels = [[_level_db(signal, window) for signal in signals] for _, signals in columns]
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max(float(np.percentile(level, 99.9)) for column in levels for level in column)

    figure, axes = grid_of_axes(len(tgt), 3, (11.0, 0.6 + 2.3 * len(tgt)), share=True)
    extent = (0.0, len(mix) / sample_rate, 0.0, sample_rate / 2000)
    for column, (name, _) in enumerate(columns):
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("time (s)")
        for row in range(len(tgt)):
            image: AxesImage = axes[row, column].imshow(
                levels[column][row] - loud,
                origin="lower",
                aspect="auto",
                extent=extent,
                cmap="magma",
                vmin=-DYNAMIC_RANGE_DB,
                vmax=0.0,
                interpolation="nearest",
            )
            axes[row, column].grid(False)
            axes[row, column].set_yticks(range(int(extent[3]) + 1)[:: 1 if extent[3] <= 4 else 2])
    for row in range(len(tgt)):
        title = titles[row] if titles else f"speaker {row + 1}"
        axes[row, 0].set_ylabel(f"{title}\nfrequency (kHz)")
    figure.colorbar(image, ax=axes, label="level (dB)", pad=0.015, aspect=30)
    save(figure, path)


def _level_db(signal: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Power in dB, ``[freq, frame]``; windows hop by a quarter."""
    hop = window // 4
    padded = np.pad(signal, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(signal) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=-1).T) ** 2
    return np.asarray(10 * np.log10(power + 1e-12))


# --- directions ---------------------------------------------------------------------------


@styled
def polar_plot(
    azimuth_truth: ArrayLike,
    distance: ArrayLike,
    azimuth_estimate: ArrayLike,
    path: Path,
    *,
    posteriors: ArrayLike | None = None,
    linear_array: bool = False,
    title: str = "",
) -> None:
    """One scene from above: where the speakers stand and where the model says they are.

    0 degrees points right, along the array's x axis; angles grow counter-clockwise.

    Args:
        azimuth_truth, azimuth_estimate: ``[speaker]`` degrees, in the same order of speakers.
        distance: ``[speaker]`` metres.
        posteriors: ``[speaker, class]``, probabilities of the classes of an ``AzimuthGrid``;
            drawn as a fringe around the rim.
        linear_array: draw half a circle, since the array cannot tell its two sides apart.
        path: the PNG file.
    """
    truth, far = np.asarray(azimuth_truth, np.float64), np.asarray(distance, np.float64)
    estimate = np.asarray(azimuth_estimate, np.float64)
    rim = math.ceil(2 * 1.15 * far.max()) / 2
    band = 0.0 if posteriors is None else 0.35 * rim
    figure = new_figure((7.2, 4.6))
    axes: PolarAxes = figure.add_subplot(projection="polar")  # type: ignore[assignment]
    for speaker in range(len(truth)):
        colour, name = COLOURS[speaker % len(COLOURS)], f"speaker {speaker + 1}"
        at, off = truth[speaker], (estimate[speaker] - truth[speaker] + 180) % 360 - 180
        label = f"{name}, true: {at:.0f}°, {far[speaker]:.1f} m"
        axes.plot(np.radians(at), far[speaker], "o", color=colour, markersize=10, label=label)
        if np.isfinite(off):
            said = np.radians([at + off] * 2)
            label = f"{name}, estimated: {estimate[speaker]:.0f}°"
            ray: dict[str, Any] = {"color": colour, "linewidth": 1.6, "markerfacecolor": "white"}
            axes.plot(said, [0, rim], "--D", markevery=[1], label=label, clip_on=False, **ray)
            arc = np.radians(at + off * np.linspace(0, 1, 60))
            axes.plot(arc, np.full(60, far[speaker]), color=colour, linewidth=0.9)
        if posteriors is not None:
            probabilities = np.asarray(posteriors, np.float64)[speaker]
            turn = 180.0 if linear_array else 360.0
            if not linear_array:  # back to class 0
                probabilities = np.append(probabilities, probabilities[0])
            angles = np.radians(np.linspace(0.0, turn, len(probabilities)))
            _draw_posterior(axes, angles, probabilities, rim, band, colour)
    axes.plot(0, 0, "+", color="black", markersize=9, markeredgewidth=1.5, label="array")
    axes.set_ylim(0, rim + band)
    axes.set_yticks(_distance_ticks(rim), [f"{tick:g} m" for tick in _distance_ticks(rim)])
    axes.tick_params(axis="y", labelcolor=GREY)
    axes.set_rlabel_position(_emptiest(truth, estimate, linear_array))
    axes.set_xticks(np.radians(np.arange(0, 181 if linear_array else 360, 30)))
    if linear_array:
        axes.set_thetamax(180.0)
    axes.spines["polar"].set_color("#BBBBBB")
    axes.set_title(title, pad=12)
    figure.legend(loc="outside right center")
    save(figure, path)


def _draw_posterior(
    axes: PolarAxes,
    angles: NDArray[np.float64],
    posterior: NDArray[np.float64],
    rim: float,
    band: float,
    colour: str,
) -> None:
    """A fringe outside ``rim``, as high as ``band`` at the likeliest class."""
    share = posterior / max(float(posterior.max()), 1e-12)
    height = np.where(share > 0.01, rim + band * share, np.nan)
    axes.fill_between(angles, rim, height, color=colour, alpha=0.35, linewidth=0)
    axes.plot(angles, height, color=colour, linewidth=0.8)


def _distance_ticks(rim: float) -> list[float]:
    step = 0.5 if rim <= 2 else 1.0 if rim <= 5 else 2.0
    return [float(tick) for tick in np.arange(step, rim + 1e-9, step)]


def _emptiest(
    truth: NDArray[np.float64], estimate: NDArray[np.float64], linear_array: bool
) -> float:
    """The direction farthest from everything drawn, for the labels of the distances."""
    taken = np.concatenate([truth, estimate[np.isfinite(estimate)]])
    free = np.arange(15.0, 180.0 if linear_array else 360.0, 30.0)  # between the lines of the grid
    gaps = np.abs((free[:, None] - taken[None] + 180) % 360 - 180).min(axis=1)
    return float(free[gaps.argmax()])


@styled
def azimuth_scatter(
    azimuth_truth: ArrayLike,
    azimuth_estimate: ArrayLike,
    path: Path,
    *,
    linear_array: bool = False,
) -> None:
    """Estimated against true azimuth of every speaker of a test set, degrees, any shape.

    The band around the diagonal goes on in the two other corners, where 359 meets 1 degree.
    """
    truth, estimate = _pairs(azimuth_truth, azimuth_estimate)
    turn = 180 if linear_array else 360
    figure, grid = grid_of_axes(1, 1, (5.0, 5.2))
    axes = grid[0, 0]
    for shift in (0,) if linear_array else (-turn, 0, turn):
        line = np.array([0, turn])
        label = {} if shift else {"label": "within 10°"}
        band = (line + shift - 10, line + shift + 10)
        axes.fill_between(line, *band, color=COLOURS[4], alpha=0.4, linewidth=0, **label)
    dots = {"markersize": 3.5, "alpha": 0.7, "markeredgewidth": 0}
    axes.plot(truth, estimate, "o", color=COLOURS[0], label=f"speakers ({len(truth)})", **dots)
    axes.set(xlim=(0, turn), ylim=(0, turn), aspect="equal")
    axes.set(xlabel="true azimuth (deg)", ylabel="estimated azimuth (deg)")
    axes.set_xticks(range(0, turn + 1, turn // 6))
    axes.set_yticks(range(0, turn + 1, turn // 6))
    figure.legend(loc="outside upper center", ncols=2, markerscale=1.8)
    save(figure, path)


@styled
def error_histogram(
    errors: ArrayLike, path: Path, *, best_matched: ArrayLike | None = None
) -> None:
    """How large the azimuth errors are: their histogram and the share below each error.

    Args:
        errors: degrees, any shape, as claimed by the slots.
        best_matched: the same under the matching that suits the angles best.
        path: the PNG file.
    """
    claimed = _sorted_finite(errors)
    last, step = 40.0, 2.5  # what is larger shares one bar on the right
    figure, grid = grid_of_axes(1, 2, (9.0, 3.4))
    counts, shares = grid[0]

    bars = {"edgecolor": "white", "linewidth": 0.5}
    counts.hist(claimed, bins=np.arange(0, last + step, step), color=COLOURS[0], **bars)
    counts.bar(last + 1.5 * step, (claimed > last).sum(), width=step, color=GREY, **bars)
    median = float(np.median(claimed))
    counts.axvline(
        median, color="black", linestyle="--", linewidth=1.2, label=f"median {median:.1f}°"
    )
    counts.set(xlabel="azimuth error (deg)", ylabel="speakers", xlim=(0, last + 2.5 * step))
    counts.set_xticks([0, 10, 20, 30, last + 1.5 * step], ["0", "10", "20", "30", f"> {last:g}"])
    counts.legend()

    curves = [(claimed, "as claimed by the slot", "-")]
    if best_matched is not None:
        curves.append((_sorted_finite(best_matched), "best matched", "--"))
    for (values, name, style), colour in zip(curves, COLOURS, strict=False):
        share = 100.0 * np.arange(len(values) + 1) / len(values)
        x, y = np.concatenate([[0.0], values, [180.0]]), np.append(share, share[-1])
        shares.plot(x, y, style, drawstyle="steps-post", color=colour, linewidth=1.6, label=name)
    shares.set(xlabel="azimuth error (deg)", ylabel="speakers at or below (%)")
    shares.set(xlim=(0, last), ylim=(0, 101))
    shares.set_xticks(range(0, int(last) + 1, 5))
    shares.legend(loc="lower right")
    save(figure, path)


def _sorted_finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, np.float64).ravel()
    found = np.sort(flat[np.isfinite(flat)])
    if not len(found):
        raise ValueError("there is no azimuth error to draw")
    return found


def _pairs(
    truth: ArrayLike, estimate: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both flat, without the pairs in which one is missing."""
    t, e = (np.asarray(x, np.float64).ravel() for x in (truth, estimate))
    both = np.isfinite(t) & np.isfinite(e)
    if not both.any():
        raise ValueError("there is no azimuth estimate to draw")
    return t[both], e[both]


def grid_of_axes(
    rows: int, columns: int, size: tuple[float, float], *, share: bool = False
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes ``[row, column]``."""
    figure = new_figure(size)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=share, sharey=share)


def new_figure(size: tuple[float, float]) -> Figure:
    """Not through pyplot: no window, no global list of figures that would keep them in memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # "tight": the constrained layout alone clips the angle labels of half a circle.
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.1)
