# SPDX-License-Identifier: Apache-2.0
"""The parts of every system's error, as one stacked bar each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msdet.evaluation.report.content import GAIN, ReportContent
from msdet.evaluation.report.plots import lines_of_systems
from msdet.evaluation.report.svg import ON_SPEAKER, PAPER, Plot, drawn, speaker_colour
from msdet.metrics.signals.error_parts import PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PIECE: dict[str, Any] = {"height": 0.72, "edgecolor": PAPER, "linewidth": 0.8}
_CENTRED: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8.5}
_LEAST_TOLD = 0.07
"""The smallest share whose number fits into its piece of a bar."""
_NOTE = (
    "Shares of the energy of the error that SI-SDR counts; a bar is a system. Colour: the direct "
    "path went through a filter. Own room, others, noise: what the speaker's reverberation, the "
    "other speakers and the noise add, through filters too. What varies: the rest, which no filter "
    "that stays the same explains, as what masks do from frame to frame. The table has each part "
    "in dB below the target."
)


def error_plot(content: ReportContent) -> list[Plot]:
    """All systems' errors by their parts; nothing where no system has them."""
    shares: dict[str, list[float]] = {}
    for name, summary in content.summary["systems"].items():
        found = [summary.get(f"error_{part}_share") for part in PARTS]
        if content.tells(name, GAIN) and None not in found:
            shares[name] = found
    if not shares:
        return []

    def draw(figure: Figure) -> None:
        axes = lines_of_systems(figure, list(shares), "share of the error (%)")
        for place, pieces in enumerate(shares.values()):
            start = 0.0
            for number, share in enumerate(pieces):
                colour = speaker_colour(number)
                axes.barh(place, 100 * share, left=100 * start, color=colour, **_PIECE)
                if share >= _LEAST_TOLD:
                    middle = 100 * (start + share / 2)
                    axes.text(middle, place, f"{100 * share:.0f}", color=ON_SPEAKER, **_CENTRED)
                start += share
        axes.set_xlim(0, 100)
        marks = [(PARTS[part], speaker_colour(i)) for i, part in enumerate(PARTS)]
        handles = [axes.barh(0, 0, color=colour, label=words) for words, colour in marks]
        figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)

    words = "; ".join(
        f"{name} "
        + ", ".join(
            f"{of} {100 * share:.0f} %" for of, share in zip(PARTS.values(), pieces, strict=True)
        )
        for name, pieces in shares.items()
    )
    svg = drawn(draw, "error-parts", 1.2 + 0.36 * len(shares), f"Parts of the error: {words}.")
    return [Plot("What the error is made of", svg, _NOTE)]
