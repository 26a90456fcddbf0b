# SPDX-License-Identifier: Apache-2.0
"""Pictures of docs/simulation.md, in the colours of `msdet.figures`.

What is compared differs in line or mark as well as in colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from msdet.figures import COLOURS, GREY
from verification.agreement import Agreement
from verification.decays import Decays, Law
from verification.fields import SPACINGS, Coherence
from verification.levels import Scene
from verification.rooms import RATE

BLUE, RED, GREEN, PURPLE = COLOURS[:4]
EXACT: dict[str, Any] = {"color": BLUE, "linestyle": "-", "linewidth": 1.6, "label": "exact"}
HYBRID: dict[str, Any] = {"color": RED, "linestyle": "--", "linewidth": 1.6, "label": "hybrid"}
LINES = ("-", "--", "-.", ":")
TICKS = (50, 100, 200, 500, 1000, 2000, 5000)
_STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def drr(scenes: Sequence[Scene], path: Path) -> None:
    """Against what the image sources' energies say, and between the backends."""
    figure, ((left, right),) = _figure(1, 2, (8.4, 3.4))
    value = {k: np.array([s.drr[k] for s in scenes]) for k in ("exact", "hybrid", "images", "law")}
    ends = [value["exact"].min() - 1, value["exact"].max() + 1]
    left.plot(ends, ends, color=GREY, linewidth=1)
    law, images = "the law of its power", "its images"
    left.plot(value["law"], value["exact"], "x", color=RED, **_dots(4), label=law)
    left.plot(value["images"], value["exact"], "o", color=BLUE, **_dots(3.5), label=images)
    left.set(xlabel="DRR from energies (dB)", ylabel="measured on exact responses (dB)")
    left.set(title="Direct-to-reverberant ratio", aspect="equal")
    left.legend(title="reverberation counted by", loc="upper left")
    right.hist(value["hybrid"] - value["exact"], bins=25, color=BLUE, edgecolor="white")
    right.set(xlabel="DRR, hybrid less exact (dB)", ylabel="speakers", title="The same scenes")
    _save(figure, path)


def t60(scenes: Sequence[Scene], path: Path) -> None:
    """Against what was asked, and against the law of the images' power."""
    figure, ((left, right),) = _figure(1, 2, (8.4, 3.8))
    names = {"exact": ("o", BLUE), "hybrid": ("x", RED)}
    asked, law = [s.asked for s in scenes], [s.t60["law"] for s in scenes]
    for axes, reference, label, title in (
        (left, asked, "asked T60 (s)", "Against Sabine"),
        (right, law, "T60 by the law of the images (s)", "Against the law"),
    ):
        for name, (mark, colour) in names.items():
            measured = [s.t60[name] for s in scenes]
            axes.plot(reference, measured, mark, color=colour, **_dots(4), label=name)
        high = 1.05 * max(s.t60[n] for s in scenes for n in (*names, "law"))
        axes.plot([0, high], [0, high], color=GREY, linewidth=1)
        axes.set(xlim=(0.1, high), ylim=(0.1, high), aspect="equal", title=title)
        axes.set(xlabel=label, ylabel="measured T60 (T20, s)")
        axes.legend(loc="upper left")
    _save(figure, path)


def decays(found: Mapping[tuple[str, float], Decays], path: Path) -> None:
    """Energy decay curves: means and bands of the scenes, a panel for each size and T60."""
    times = sorted({t60 for _, t60 in found})
    panels = {
        f"{size} room, T60 {t60:g} s": (curves, t60)
        for (size, t60), curves in sorted(found.items(), key=lambda item: item[0][1])
    }
    _decay_panels(panels, len(times), (9.6, 2.6 * len(times)), path)


def octaves(found: Mapping[float, Decays], t60: float, path: Path) -> None:
    """Energy decay curves as in `decays`, a panel for each octave."""
    panels = {f"octave at {centre:g} Hz": (curves, t60) for centre, curves in found.items()}
    _decay_panels(panels, 2, (9.6, 5.0), path)


def _decay_panels(
    panels: Mapping[str, tuple[Decays, float]], rows: int, size: tuple[float, float], path: Path
) -> None:
    figure, grid = _figure(rows, len(panels) // rows, size)
    for axes, (title, (curves, last)) in zip(grid.flat, panels.items(), strict=True):
        for values, style, alpha in ((curves.exact, EXACT, 0.25), (curves.hybrid, HYBRID, 0.18)):
            band = np.percentile(values, [5, 95], axis=0)
            axes.fill_between(curves.time, *band, color=style["color"], alpha=alpha, linewidth=0)
            axes.plot(curves.time, values.mean(axis=0), **style)
        axes.set(xlim=(0, last), ylim=(-45, 1), yticks=[0, -10, -20, -30, -40], title=title)
    for axes in grid[-1]:
        axes.set_xlabel("time (s)")
    for axes in grid[:, 0]:
        axes.set_ylabel("energy still to come (dB)")
    grid[0, 0].legend(loc="upper right")
    _save(figure, path)


def differences(found: Mapping[tuple[str, float], Decays], path: Path) -> None:
    """Hybrid less exact over how far the sound has decayed."""
    sizes = list(dict.fromkeys(size for size, _ in found))
    figure, grid = _figure(1, len(sizes), (9.6, 3.1), sharey=True)
    for axes, size in zip(grid[0], sizes, strict=True):
        axes.axhspan(-1, 1, color="#EEEEEE", linewidth=0)
        of_size = {t: d for (s, t), d in found.items() if s == size}
        for (t60, curves), colour, line in zip(of_size.items(), COLOURS, LINES, strict=False):
            heard = curves.exact.mean(axis=0) >= -35
            level, mean = -curves.exact.mean(axis=0)[heard], curves.mean_difference[heard]
            axes.plot(level, mean, line, color=colour, linewidth=1.6, label=f"T60 {t60:g} s")
        axes.set(title=f"{size} room", xlabel="decay of exact (dB)", xlim=(0, 35), ylim=(-3, 3))
    grid[0, 0].set_ylabel("mean of hybrid less exact (dB)")
    grid[0, 0].legend(ncols=2, loc="lower left")
    _save(figure, path)


def laws(found: Mapping[str, Law], path: Path) -> None:
    """The images' power over time, the law, and the exponential that it is not."""
    figure, grid = _figure(1, len(found), (9.6, 3.3), sharey=True)
    for axes, (title, law) in zip(grid[0], found.items(), strict=True):
        axes.plot(law.time, law.images, color=GREY, linewidth=3.5, alpha=0.5, label="image sources")
        axes.plot(law.time, law.responses, ".", color=BLUE, **_dots(4), label="exact responses")
        axes.plot(law.time, law.law, "-", color=RED, linewidth=1.4, label="image_power")
        straight = {"color": "black", "lw": 1.2, "label": "exponential of the\nasked T60"}
        axes.plot(law.time, law.exponential, "--", **straight)
        axes.axvline(law.mixing, color=GREEN, linestyle=":", label="mixing time")
        top = law.images.max()
        axes.set(title=title, xlabel="time (s)", ylim=(top - 65, top + 5))
    grid[0, 0].set_ylabel("power (dB re 1/s)")
    grid[0, 0].legend(loc="lower left")
    _save(figure, path)


def coherences(found: Mapping[str, Coherence], path: Path) -> None:
    """A column for each field; microphones beside each other above, over each other below."""
    figure, grid = _figure(2, len(found), (11.0, 5.0), sharex=True, sharey=True)
    for column, (title, field) in enumerate(found.items()):
        for axes, values in zip(grid[:, column], (field.horizontal, field.vertical), strict=True):
            shown = field.frequency <= 4000
            kilohertz = field.frequency[shown] / 1000
            for row, colour, spacing in zip(values, COLOURS, SPACINGS, strict=False):
                label = f"{100 * spacing:g} cm"
                axes.plot(kilohertz, row[shown], color=colour, lw=1.1, label=label)
            for row in field.expected:
                axes.plot(kilohertz, row[shown], "k--", lw=0.8)
            axes.set(ylim=(-0.5, 1.05), xlim=(0, 4))
        grid[0, column].set_title(title)
        grid[1, column].set_xlabel("frequency (kHz)")
    grid[0, 0].set_ylabel("coherence,\nhorizontal pairs")
    grid[1, 0].set_ylabel("coherence,\nvertical pairs")
    grid[0, 0].lines[-1].set_label("sin(kd)/(kd)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    _save(figure, path)


def agreement(found: Sequence[Agreement], path: Path) -> None:
    """The beginning of one response from both, and the error over frequency for each T60."""
    figure, ((left, right),) = _figure(1, 2, (9.6, 3.3))
    one = found[len(found) // 2]
    arrival = int(np.abs(one.theirs).argmax())
    part = slice(max(0, arrival - 30), arrival + 230)
    time = np.arange(len(one.theirs))[part] / RATE * 1000
    left.plot(time, one.theirs[part], color=GREY, linewidth=3, alpha=0.5, label="rir-generator")
    left.plot(time, one.ours[part], "--", color=BLUE, linewidth=1.1, label="exact")
    left.set(xlabel="time (ms)", ylabel="amplitude (1 at 1 m)", title=f"T60 {one.t60:g} s")
    left.legend()
    times = sorted({a.t60 for a in found})
    for t60, colour, line in zip(times, COLOURS, LINES, strict=False):
        error = np.mean([a.spectrum for a in found if a.t60 == t60], axis=0)
        right.semilogx(one.frequency, error, line, color=colour, lw=1.5, label=f"T60 {t60:g} s")
    right.set(xlabel="frequency (Hz)", ylabel="difference (dB re response)")
    right.set(title="Difference in thirds of octaves", ylim=(-70, 0))
    right.set_xticks(TICKS, labels=[str(tick) for tick in TICKS])
    right.minorticks_off()
    right.legend()
    _save(figure, path)


def azimuths(found: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """Share of speakers below each error, and errors over the DRR."""
    figure, ((left, right),) = _figure(1, 2, (9.0, 3.3))
    curves = (("direct", "direct path alone", GREEN, ":"), ("exact", "exact", BLUE, "-"))
    for name, label, colour, line in (*curves, ("hybrid", "hybrid", RED, "--")):
        errors = np.sort(found[name])
        share = 100 * np.arange(1, len(errors) + 1) / len(errors)
        left.plot(errors, share, line, drawstyle="steps-post", color=colour, lw=1.6, label=label)
    left.set(xlabel="azimuth error (deg)", ylabel="speakers at or below (%)", xlim=(0, 15))
    left.set(title="SRP-PHAT on responses", ylim=(0, 101))
    left.legend(loc="lower right")
    for name, mark, colour in (("exact", "o", BLUE), ("hybrid", "x", RED)):
        right.plot(found["drr"], found[name], mark, color=colour, **_dots(4), label=name)
    right.set(xlabel="DRR (dB)", ylabel="azimuth error (deg)", title="What reverberation does")
    right.set_ylim(0, 15)
    right.legend()
    _save(figure, path)


def _dots(size: float) -> dict[str, Any]:
    return {"markersize": size, "alpha": 0.75, "linestyle": "none"}


def _figure(
    rows: int, columns: int, size: tuple[float, float], **sharing: Any
) -> tuple[Figure, NDArray[Any]]:
    """A figure and its axes ``[row, column]``, whatever the user's matplotlibrc says."""
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_STYLE)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **sharing)


def _save(figure: Figure, path: Path) -> None:
    """Write a PNG of 64 colours, a third of the size, which looks the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with BytesIO() as buffer:
        figure.savefig(buffer, format="png")
        picture = Image.open(buffer).convert("RGB")
    picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
