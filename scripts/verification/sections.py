# SPDX-License-Identifier: Apache-2.0
"""The sections of the page: each measures, draws into a folder, and gives its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from msdet.simulation.config import sabine_absorption
from verification import pictures
from verification.agreement import agreement, azimuth_errors
from verification.decays import TILTED_OCTAVES, Decays, decays, law, octave_decays
from verification.fields import SPACINGS, Coherence, noise_coherence, tail_coherence
from verification.levels import image_counts, scenes
from verification.rooms import SIZES, Size, rooms

TIMES = (0.2, 0.3, 0.6, 0.8)
"""Asked T60, seconds."""

WINDOWS = ((0.04, 0.14), (0.3, 0.4))
"""Seconds after the direct sound in which the coherence of responses is measured."""

LEVELS = (-10, -20, -30)
"""Decays, dB, at which backends are compared."""


@dataclass(frozen=True)
class Check:
    """A number, and how far from zero it may be; None: it is only told."""

    what: str
    value: float
    unit: str
    tolerance: float | None = None
    digits: int = 2

    @property
    def passed(self) -> bool:
        """True within the tolerance, which not-a-number never is."""
        return self.tolerance is None or abs(self.value) <= self.tolerance

    def cells(self) -> list[str]:
        """Return the cells of its row in a table."""
        allowed = "" if self.tolerance is None else f"{self.tolerance:g} {self.unit}".strip()
        verdict = "" if self.tolerance is None else "yes" if self.passed else "**no**"
        return [self.what, f"{self.value:.{self.digits}f} {self.unit}".strip(), allowed, verdict]


Section = tuple[str, list[Check]]
"""The text above the table of the checks, and the checks."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def largest(values: ArrayLike) -> float:
    """Return the largest absolute value."""
    return float(np.abs(values).max())


def reverberation(folder: Path) -> Section:
    """T60 and DRR."""
    found = scenes(80)
    pictures.drr(found, folder / "drr.png")
    pictures.t60(found, folder / "t60.png")
    drr = {k: np.array([s.drr[k] for s in found]) for k in found[0].drr}
    t60 = {k: np.array([s.t60[k] for s in found]) for k in found[0].t60}
    t60["asked"] = np.array([s.asked for s in found])
    rows = []
    for over in ("asked", "law", "exact"):
        for name in ("exact", "hybrid", "law") if over == "asked" else ("exact", "hybrid"):
            if name != over:
                spread = np.percentile(t60[name] / t60[over], [5, 50, 95])
                rows.append([f"{name} over {over}", " / ".join(f"{v:.2f}" for v in spread)])
    ratios = table([f"T60 of {len(found)} speakers", "5 % / median / 95 %"], rows)
    checks = []
    for name in ("exact", "hybrid"):
        middle = float(np.median(t60[name] / t60["law"]))
        checks.append(Check(f"T60, median of {name} over law, less 1", middle - 1, "", 0.05))
    for name, one, other, mean, deviation in (
        ("exact less its images' energies", "exact", "images", 0.15, 0.6),
        ("exact less the law", "exact", "law", 0.25, None),
        ("hybrid less exact", "hybrid", "exact", 0.1, 0.4),
    ):
        less = drr[one] - drr[other]
        checks.append(Check(f"DRR, {name}, mean", float(less.mean()), "dB", mean))
        checks.append(Check(f"DRR, {name}, standard deviation", float(less.std()), "dB", deviation))
    return ratios + "\n", [
        *checks,
        Check("DRR, hybrid less exact, largest", largest(less), "dB", 1.5),
    ]


def energy_decays(folder: Path) -> Section:
    """Energy decay curves over sizes and T60."""
    found = {(name, t60): decays(12, size, t60)[0] for name, size in SIZES.items() for t60 in TIMES}
    pictures.decays({k: d for k, d in found.items() if k[1] in (0.3, 0.6)}, folder / "decays.png")
    pictures.differences(found, folder / "differences.png")
    rows, checks = [], []
    for (name, t60), curves in found.items():
        absorption = sabine_absorption(SIZES[name], t60)
        rows.append([f"{name}, {t60:g} s", f"{absorption:.2f}", *spreads(curves)])
        checks.append(mean_difference(f"{name}, {t60:g} s", curves, 1.0))
    sizes = "; ".join(f"{n} {s[0]:g}, {s[1]:g}, {s[2]:g} m" for n, s in SIZES.items())
    count = len(next(iter(found.values())).exact)
    words = f"Means over {count} speakers; rooms: {sizes}.\n\n"
    return words + table(["room, asked T60", "absorption", *SPREADS], rows) + "\n", checks


SPREADS = (*(f"at {level} dB" for level in LEVELS), "exact", "hybrid")
"""Heads of the columns of `spreads`."""


def spreads(curves: Decays) -> list[str]:
    """Cells: difference at each level, and how much scenes differ in each backend."""
    cells = []
    for level in LEVELS:
        difference = (curves.hybrid - curves.exact)[:, curves.at(level)]
        cells.append(f"{difference.mean():+.2f} ± {difference.std():.2f}")
    at = curves.at(-20)
    return [*cells, f"{curves.exact[:, at].std():.2f}", f"{curves.hybrid[:, at].std():.2f}"]


def mean_difference(name: str, curves: Decays, tolerance: float | None) -> Check:
    """Compare the means of both backends."""
    value = largest(curves.mean_difference[curves.heard])
    return Check(f"{name}: largest mean difference down to -30 dB", value, "dB", tolerance)


def octaves(folder: Path) -> Section:
    """Energy decay curves of octaves."""
    t60 = 0.5
    found = octave_decays(20, t60)
    pictures.octaves(found, t60, folder / "octaves.png")
    rows = [
        [f"{centre:g} Hz", f"{t60 * factor:.2f} s", *spreads(curves)]
        for (centre, curves), factor in zip(found.items(), TILTED_OCTAVES, strict=False)
    ]
    return table(["octave", "asked T60", *SPREADS], rows) + "\n", [
        mean_difference(f"octave at {centre:g} Hz", curves, 1.5 if centre >= 500 else None)
        for centre, curves in found.items()
    ]


def late_power(folder: Path) -> Section:
    """The power of late images."""
    cases: dict[str, tuple[Size, float, int]] = {
        "Nearly a cube, T60 0.6 s": ((5.0, 4.5, 4.0), 0.6, 40),
        "Flat, T60 0.6 s": ((8.0, 7.0, 2.6), 0.6, 30),
        "Dead (medium size), T60 0.2 s": (SIZES["medium"], 0.2, 150),
    }
    found = {title: law(count, size, t60) for title, (size, t60, count) in cases.items()}
    pictures.laws(found, folder / "law.png")
    checks = []
    for title, one in found.items():
        power, square = f"{title}: image_power less images", "root mean square"
        checks += [
            Check(f"{power}, mean", one.offset(one.law), "dB", 0.3),
            Check(f"{title}: exponential less images, {square}", one.error(one.exponential), "dB"),
            Check(f"{power}, {square}", one.error(one.law), "dB", 0.6),
        ]
    return "", checks


def coherences(folder: Path) -> Section:
    """Coherence of diffuse noise and of the ends of responses."""
    noises = {name: noise_coherence(60, name) for name in ("diffuse_noise", "diffuse_field")}
    hybrid = tail_coherence(400, "hybrid", WINDOWS)
    exact = tail_coherence(40, "exact", WINDOWS)
    spans = [f"{1000 * a:.0f} to {1000 * b:.0f} ms" for a, b in WINDOWS]
    fields: dict[str, tuple[Coherence, float | None]] = {n: (c, 0.03) for n, c in noises.items()}
    fields |= {f"hybrid, {s}": (c, 0.05) for s, c in zip(spans, hybrid, strict=True)}
    fields |= {f"exact, {s}": (c, None) for s, c in zip(spans, exact, strict=True)}
    drawn = ("diffuse_noise", f"hybrid, {spans[0]}", f"exact, {spans[0]}", f"exact, {spans[1]}")
    pictures.coherences({name: fields[name][0] for name in drawn}, folder / "coherence.png")
    rows, checks = [], []
    for name, (field, tolerance) in fields.items():
        for pairs in ("horizontal", "vertical"):
            error, what = field.error(pairs), f"{name}, {pairs}"
            rows.append([what, *(f"{e:.3f}" for e in error)])
            checks.append(
                Check(f"{what}: largest of the spacings", largest(error), "", tolerance, 3)
            )
    head = ["root mean square from sin(kd)/(kd)", *(f"{100 * d:g} cm" for d in SPACINGS)]
    return table(head, rows) + "\n", checks


def rir_generator(folder: Path) -> Section:
    """Against rir-generator."""
    found = {t60: [agreement(room) for room in rooms(4, 9, t60=(t60, t60))] for t60 in TIMES}
    everything = [one for some in found.values() for one in some]
    pictures.agreement(everything, folder / "agreement.png")
    checks = []
    for t60, some in found.items():
        percent = 100 * 10 ** (max(one.error_db for one in some) / 20)
        what = f"T60 {t60:g} s: largest difference, 100 Hz to 4 kHz"
        checks.append(Check(what, percent, "% of the amplitude", 1.0, 2))
    alike = 1 - min(one.correlation for one in everything)
    gains = largest([one.gain_db for one in everything])
    return "", [
        *checks,
        Check("1 less the smallest correlation", alike, "", 1e-4, 6),
        Check("largest difference of the level", gains, "dB", 0.05, 3),
    ]


def azimuths(folder: Path) -> Section:
    """Directions that SRP-PHAT finds."""
    found = azimuth_errors(100)
    pictures.azimuths(found, folder / "azimuths.png")
    rows = []
    for name in ("direct", "exact", "hybrid"):
        errors = found[name]
        within = f"{100 * np.mean(errors <= 5):.0f} %"
        rows.append([name, f"{np.median(errors):.2f}", f"{np.percentile(errors, 95):.2f}", within])
    head = [f"{len(found['direct'])} speakers", "median (deg)", "95 % (deg)", "within 5 deg"]
    difference = float(np.median(found["hybrid"]) - np.median(found["exact"]))
    return table(head, rows) + "\n", [
        Check("direct path: largest error", largest(found["direct"]), "deg", 2.0),
        Check("median, hybrid less exact", difference, "deg", 0.5),
    ]


def cost(_folder: Path) -> Section:
    """Numbers of images that each backend sums."""
    rows = []
    for t60 in TIMES:
        counts = image_counts(10, t60)
        rows.append([f"{t60:g} s", f"{counts['exact']:,.0f}", f"{counts['hybrid']:,.0f}"])
    head = ["asked T60, medium room", "images of exact", "images of hybrid"]
    return table(head, rows), []


SECTIONS: dict[str, Callable[[Path], Section]] = {
    "cost": cost,
    "reverberation": reverberation,
    "law": late_power,
    "decay": energy_decays,
    "octaves": octaves,
    "coherence": coherences,
    "rir-generator": rir_generator,
    "azimuths": azimuths,
}
