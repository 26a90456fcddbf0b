# SPDX-License-Identifier: Apache-2.0
"""The plots of a report as SVG that takes its colours from the page's style sheet.

matplotlib draws with stand-in colours, which become CSS variables (``--series-0``, ``--ink``), so
that one drawing reads in light, in dark and on paper. Each system has a colour, a marker and a
dash of its own. Text stays text. The same numbers give the same bytes.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.tables import mean_score
from msdet.evaluation.report.wording import edges, finite, group_names, quantity
from msdet.evaluation.statistics import azimuth_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAIN = "si_sdr_improvement_db"
ERROR = "azimuth_error_median_deg_best_matched"
"""Best matched: systems without sound have no other, and plots compare like with like."""

SERIES_COLOURS = 8
"""How many ``--series-N`` the style sheet has."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1)),
    (0, (8, 2)),
    (0, (2, 2, 6, 2)),
)  # not as many as colours, or systems that share a colour would share their dashes
_INK, _QUIET, _GRID, _PAPER = "#010203", "#010204", "#010205", "#010206"
_STAND_INS = {_INK: "--ink", _QUIET: "--quiet", _GRID: "--grid", _PAPER: "--card"} | {
    f"#0a0b{i:02x}": f"--series-{i}" for i in range(SERIES_COLOURS)
}
_WIDTH = 4.7  # inches: 338 units, about as many as the pixels of a phone, so text keeps its size
_MOST_POINTS = 400  # of a system's scatter: more would hide each other
_LONGEST_NAME = 30


@dataclass(frozen=True)
class Plot:
    """A drawing with its heading and a note.

    Attributes:
        overlaid: indices of the systems that lie over one another there and need a legend.
    """

    heading: str
    svg: Markup
    note: str = ""
    overlaid: tuple[int, ...] = ()


# --- what is drawn ------------------------------------------------------------------------


def overall_plots(content: ReportContent) -> list[Plot]:
    """All systems over all scenes."""
    found = [
        _ranking(content, GAIN, "gain"),
        _ranking(content, ERROR, "error"),
        _spread(content),
        _cumulative(content),
    ]
    return [plot for plot in found if plot is not None]


def condition_plots(content: ReportContent) -> list[Plot]:
    """Improvement and azimuth error over the groups of each breakdown."""
    tables = {name: content.summary_of(name).get("breakdowns") or {} for name in content.systems}
    conditions = dict.fromkeys(condition for table in tables.values() for condition in table)
    found = (_condition(content, condition, tables) for condition in conditions)
    return [plot for plot in found if plot is not None]


def before_and_after(content: ReportContent) -> list[Plot]:
    """Per system: SI-SDR of each scene before and after."""
    points = {}
    for name in content.systems:
        scores = [row.systems[name] for row in content.rows if name in row.systems]
        pairs = [
            (before, before + gain)
            for score in scores
            if (before := mean_score(score, "si_sdr_unprocessed")) is not None
            and (gain := mean_score(score, "si_sdr_improvement")) is not None
        ]
        if pairs:
            points[name] = np.array(pairs)
    if not points:
        return []
    everything = np.concatenate(list(points.values()))
    low, high = np.floor(everything.min() - 1.0), np.ceil(everything.max() + 1.0)
    return [
        _scatter(content.systems.index(name), name, pairs, (float(low), float(high)))
        for name, pairs in points.items()
    ]


def legend(content: ReportContent) -> list[dict[str, Any]]:
    """Per system its name and a sample of its line and marker."""
    from matplotlib.markers import MarkerStyle

    entries = []
    for index, name in enumerate(content.systems):
        style = MarkerStyle(_marker(index))
        outline = style.get_path().transformed(style.get_transform())
        path = _svg_path(7.0 * np.asarray(outline.vertices), outline.codes)
        dash = _DASHES[index % len(_DASHES)]
        dashes = "" if dash == "solid" else " ".join(f"{2 * d:g}" for d in dash[1])
        entries.append(
            {
                "index": index,
                "name": name,
                "colour": index % SERIES_COLOURS,
                "path": path,
                "dashes": dashes,
                "hollow": _hollow(index),
            }
        )
    return entries


# --- single plots -------------------------------------------------------------------------


def _ranking(content: ReportContent, key: str, stem: str) -> Plot | None:
    """One line per system: its value and interval."""
    kind = quantity(key)
    shown = []
    for index, name in enumerate(content.systems):
        summary = content.summary_of(name)
        value = finite(summary.get(key))
        if value is not None:
            shown.append((index, name, value, *edges((summary.get("intervals") or {}).get(key))))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, _, value, low, high) in enumerate(shown):
            if low is not None and high is not None:
                axes.plot([low, high], [place] * 2, "-", color=_colour(index), linewidth=2.0)
            _points(axes, [value], [place], index, size=7.5)
            end = max(v for v in (value, high) if v is not None)
            axes.annotate(
                kind.text(value),
                (end, place),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                color=_INK,
                fontsize=9.0,
            )
        axes.set_yticks(range(len(shown)), [_short(name) for _, name, *_ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(kind.title)
        axes.grid(axis="y", visible=False)
        ends = [v for _, _, value, low, high in shown for v in (value, low, high) if v is not None]
        span = max(max(ends), 0.0) - min(min(ends), 0.0) or 1.0
        axes.set_xlim(min(min(ends) - 0.04 * span, 0.0), max(max(ends), 0.0) + 0.14 * span)
        if min(ends) < 0:
            axes.axvline(0.0, color=_QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} {kind.text(value)}"
        + (f" ({kind.interval([low, high])})" if low is not None else "")
        for _, name, value, low, high in shown
    )
    svg = _drawn(draw, f"ranking-{stem}", 0.75 + 0.3 * len(shown), f"{kind.title}: {words}.")
    return Plot(kind.heading, svg, "Lines: 95 % intervals over scenes." if "(" in words else "")


def _spread(content: ReportContent) -> Plot | None:
    """Improvement of every scene: dots, and quartiles as a box."""
    shown = []
    for index, name in enumerate(content.systems):
        gains = _per_scene(content, name, "si_sdr_improvement")
        if gains:
            shown.append((index, name, np.array(gains)))
    if not shown:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (index, _, gains) in enumerate(shown):
            dots = _thinned(gains)
            # The golden ratio spreads neighbours evenly and needs no random numbers.
            offsets = (np.arange(len(dots)) * 0.618034 % 1.0 - 0.5) * 0.5
            dot: dict[str, Any] = {"markersize": 2.6, "markeredgewidth": 0, "alpha": 0.45}
            axes.plot(dots, place + offsets, "o", color=_colour(index), **dot)
            low, middle, high = np.percentile(gains, [25, 50, 75])
            axes.plot(
                [low, high, high, low, low],
                place + np.array([-1, -1, 1, 1, -1]) * 0.33,
                "-",
                color=_INK,
                linewidth=1.1,
            )
            axes.plot([middle] * 2, [place - 0.33, place + 0.33], "-", color=_INK, linewidth=2.2)
        axes.set_yticks(range(len(shown)), [_short(name) for _, name, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel(quantity(GAIN).title)
        axes.grid(axis="y", visible=False)
        axes.axvline(0.0, color=_QUIET, linewidth=0.8)

    words = "; ".join(
        f"{name} median {np.median(g):.1f}, a quarter of them below {np.percentile(g, 25):.1f}, a "
        f"quarter above {np.percentile(g, 75):.1f} dB"
        for _, name, g in shown
    )
    svg = _drawn(
        draw, "spread", 0.75 + 0.36 * len(shown), f"SI-SDR improvement of scenes: {words}."
    )
    return Plot(
        "SI-SDR improvement of each scene", svg, "A dot is a scene; a box holds the middle half."
    )


def _cumulative(content: ReportContent) -> Plot | None:
    """Share of speakers whose azimuth is no further off than each angle."""
    shown = []
    for index, name in enumerate(content.systems):
        rows = [row.of(name) for row in content.rows if name in row.systems]
        found = (azimuth_error(r, s, best_matched=True) for r in rows for s in r.score.speakers)
        errors = np.sort([error for error in found if math.isfinite(error)])
        if len(errors):
            shown.append((index, name, errors))
    if not shown:
        return None
    last = float(np.clip(max(np.percentile(e, 95) for _, _, e in shown), 20.0, 90.0))
    last = 10.0 * math.ceil(last / 10.0)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for index, _, errors in shown:
            share = 100.0 * np.arange(len(errors) + 1) / len(errors)
            inside = errors <= last
            x = np.concatenate([[0.0], errors[inside], [last]])
            y = np.concatenate([share[: inside.sum() + 1], [share[inside.sum()]]])
            group = f"series-{index}"
            (line,) = axes.plot(
                x,
                y,
                drawstyle="steps-post",
                color=_colour(index),
                linestyle=_DASHES[index % len(_DASHES)],
                linewidth=1.7,
            )
            line.set_gid(group)
            # Offset from system to system, so that no marker hides another.
            at = np.arange(1, 6) * last / 6 + (index % 10 - 4.5) * last / 75
            _points(axes, at, share[np.searchsorted(errors, at, side="right")], index)
        axes.set(xlim=(0, last), ylim=(0, 101))
        axes.set_xlabel("azimuth error (°)")
        axes.set_ylabel("speakers no further off (%)")

    words = "; ".join(
        f"{name} "
        + ", ".join(
            f"{100 * (errors <= limit).mean():.0f} % within {limit}°" for limit in (5, 10, 15)
        )
        for _, name, errors in shown
    )
    svg = _drawn(draw, "cumulative", 3.3, f"Share of speakers by azimuth error: {words}.")
    note = "Best matched. A speaker without an azimuth counts as 180° off."
    return Plot(
        "Azimuth errors, cumulative", svg, note, overlaid=tuple(index for index, *_ in shown)
    )


def _condition(
    content: ReportContent, condition: str, tables: Mapping[str, Mapping[str, Any]]
) -> Plot | None:
    entries = {
        name: {str(entry.get("group")): entry for entry in table.get(condition) or ()}
        for name, table in tables.items()
    }
    groups = list(dict.fromkeys(group for table in entries.values() for group in table))
    measures = [
        key
        for key in (GAIN, ERROR)
        if any(finite(e.get(key)) is not None for t in entries.values() for e in t.values())
    ]
    if len(groups) < 2 or not measures:
        return None
    names, unit = group_names(groups)
    counts = [
        max(int(finite(t[group].get("num_scenes")) or 0) for t in entries.values() if group in t)
        for group in groups
    ]

    def draw(figure: Figure) -> None:
        grid = figure.subplots(len(measures), 1, sharex=True, squeeze=False)
        width = min(0.5, 0.07 * len(entries))
        for axes, key in zip(grid[:, 0], measures, strict=True):
            for index, table in enumerate(entries.values()):
                shift = width * ((index + 0.5) / len(entries) - 0.5)
                found = [
                    (place + shift, value, *edges((table[g].get("intervals") or {}).get(key)))
                    for place, g in enumerate(groups)
                    if g in table and (value := finite(table[g].get(key))) is not None
                ]
                _series(axes, found, index, joined=bool(unit))
            axes.set_ylabel(_two_lines(quantity(key).title))
            axes.grid(axis="x", visible=False)
            bottom, top = axes.get_ylim()
            axes.set_ylim(min(0.0, bottom), top)
        labels = [f"{_wrapped(name)}\nn = {n}" for name, n in zip(names, counts, strict=True)]
        grid[-1, 0].set_xticks(range(len(groups)), labels)
        grid[-1, 0].set_xlim(-0.5, len(groups) - 0.5)
        heading = quantity(condition).heading
        grid[-1, 0].set_xlabel(
            f"{heading.lower() if heading[1:2].islower() else heading} ({unit})" if unit else ""
        )

    sentences = []
    for name, table in entries.items():
        values = [
            f"{group}: "
            + ", ".join(
                f"{quantity(key).heading} {quantity(key).text(table[group].get(key))}"
                for key in measures
            )
            for group in groups
            if group in table
        ]
        if values:
            sentences.append(f"{name}: " + "; ".join(values))
    heading = quantity(condition).heading
    stem = "condition-" + re.sub(r"\W", "-", condition)
    svg = _drawn(
        draw, stem, 1.0 + 1.6 * len(measures), f"By {heading}. " + ". ".join(sentences) + "."
    )
    return Plot(
        heading, svg, overlaid=tuple(i for i, table in enumerate(entries.values()) if table)
    )


def _scatter(index: int, name: str, pairs: Any, limits: tuple[float, float]) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(limits, limits, "-", color=_QUIET, linewidth=0.8)
        before, after = _thinned(pairs).T
        _points(axes, before, after, index, size=3.6, alpha=0.6)
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set_xlabel("before (dB)")
        axes.set_ylabel("after (dB)")

    better = float((pairs[:, 1] > pairs[:, 0]).mean())
    words = (
        f"{name}: SI-SDR of {len(pairs)} scenes before and after, mean {pairs[:, 0].mean():.1f} "
        f"and {pairs[:, 1].mean():.1f} dB; {100 * better:.0f} % of the scenes got better."
    )
    svg = _drawn(draw, f"scatter-{index}", 2.45, words, width=2.5)
    return Plot(name, svg, f"{100 * better:.0f} % of {len(pairs)} scenes better")


# --- pieces of plots ----------------------------------------------------------------------


def _points(
    axes: Axes, x: Any, y: Any, index: int, *, size: float = 5.0, alpha: float = 1.0
) -> None:
    colour = _colour(index)
    (dots,) = axes.plot(
        x,
        y,
        linestyle="none",
        marker=_marker(index),
        markersize=size,
        color=colour,
        markerfacecolor=_PAPER if _hollow(index) else colour,
        markeredgecolor=colour,
        markeredgewidth=1.2 if _hollow(index) else 0.6,
        alpha=alpha,
        zorder=3,
    )
    dots.set_gid(f"series-{index}")


def _series(
    axes: Axes,
    found: Sequence[tuple[float, float, float | None, float | None]],
    index: int,
    *,
    joined: bool,
) -> None:
    """Values over groups, with their intervals; groups of an ordered quantity are joined."""
    if not found:
        return
    x, y = [f[0] for f in found], [f[1] for f in found]
    if joined:
        dash = _DASHES[index % len(_DASHES)]
        (line,) = axes.plot(x, y, color=_colour(index), linestyle=dash, linewidth=1.5)
        line.set_gid(f"series-{index}")
    for at, _, low, high in found:
        if low is not None and high is not None:
            (bar,) = axes.plot([at, at], [low, high], "-", color=_colour(index), linewidth=1.2)
            bar.set_gid(f"series-{index}")
    _points(axes, x, y, index)


def _per_scene(content: ReportContent, system: str, name: str) -> list[float]:
    values = (mean_score(r.systems[system], name) for r in content.rows if system in r.systems)
    return [value for value in values if value is not None]


def _thinned(values: Any) -> Any:
    """Evenly chosen ones where there are too many to be told apart."""
    step = math.ceil(len(values) / _MOST_POINTS)
    return values[::step]


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _hollow(index: int) -> bool:
    """Every second system: filled and hollow differ in print too."""
    return index % 2 == 1


def _colour(index: int) -> str:
    return f"#0a0b{index % SERIES_COLOURS:02x}"


def _short(name: str) -> str:
    clean = _printable(name)
    return clean if len(clean) <= _LONGEST_NAME else clean[: _LONGEST_NAME - 1] + "…"


def _printable(text: str) -> str:
    """Without control characters, which XML does not know."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", " ", text)


def _wrapped(text: str, width: int = 14) -> str:
    lines = [""]
    for word in _printable(text).split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _two_lines(title: str) -> str:
    head, _, tail = title.rpartition(" ")
    return f"{head}\n{tail}"


# --- SVG ----------------------------------------------------------------------------------


def _drawn(
    draw: Callable[[Figure], None], stem: str, height: float, words: str, width: float = _WIDTH
) -> Markup:
    """What ``draw`` puts on a figure, as inline SVG; ``stem`` keeps its ids apart from others'."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")  # the reader's fonts have them
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style(stem))
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = BytesIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    return _inline(buffer.getvalue().decode(), stem, words)


def _style(stem: str) -> dict[Any, Any]:
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": f"msdet-{stem}",
        "text.parse_math": False,
        "font.size": 9.5,
        "axes.labelsize": 9.5,
        "xtick.labelsize": 9.0,
        "ytick.labelsize": 9.0,
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _QUIET,
        "ytick.color": _QUIET,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "axes.edgecolor": _QUIET,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "xtick.major.pad": 5.0,
        "ytick.major.pad": 5.0,
    }


def _inline(svg: str, stem: str, words: str) -> Markup:
    """matplotlib's file as part of a page: own ids, CSS variables, the page's fonts."""
    body = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', body)
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.S)
    inner = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", inner, flags=re.S)
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r'<g id="(series-\d+)">', r'<g class="\1">', inner)
    inner = re.sub(r' id="(figure|axes|patch|line2d|text|xtick|ytick|matplotlib)[^"]*"', "", inner)
    inner = re.sub(r'\bid="', f'id="{stem}-', inner)
    inner = inner.replace("url(#", f"url(#{stem}-").replace('xlink:href="#', f'href="#{stem}-')
    inner = re.sub(r"(?<=\d\.\d\d)\d+", "", inner)
    inner = re.sub(r"\s*\n\s*", " ", inner)
    for stand_in, variable in _STAND_INS.items():
        inner = inner.replace(stand_in, f"var({variable})")
    return Markup(
        f'<svg class="chart" viewBox="{box[1] if box else ""}" role="img" '
        f'aria-label="{escape(_printable(words))}">{inner}</svg>'
    )


def _svg_path(vertices: Any, codes: Any) -> str:
    """A matplotlib path as SVG path data, y down."""
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    parts, last = [], None
    for place, (x, y) in enumerate(vertices):
        code = int(codes[place]) if codes is not None else (1 if place == 0 else 2)
        if code == 79:
            parts.append("Z")
        else:
            parts.append(f"{letters[code] if code != last or code < 3 else ''}{x:.2f} {-y:.2f} ")
        last = code
    return "".join(parts).strip()
