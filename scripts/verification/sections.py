# SPDX-License-Identifier: Apache-2.0
"""The sections of the page: each measures, draws into a folder, and gives its tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from msdet.simulation.config import sabine_absorption
from verification import pictures
from verification.agreement import Agreement, agreement, azimuth_errors
from verification.decays import TILTED_OCTAVES, Decays, decays, law, octave_decays
from verification.fields import SPACINGS, Coherence, noise_coherence, tail_coherence
from verification.levels import direct_path, image_counts, scenes
from verification.rooms import SIZES, Size, rooms
from verification.tables import Check, middle, table

TIMES = (0.2, 0.3, 0.6, 0.8)
"""Asked T60, seconds."""
WINDOWS = ((0.04, 0.14), (0.3, 0.4))
"""Seconds after the direct sound in which the coherence of responses is measured."""


Section = tuple[str, list[Check]]
"""What stands above the table of the checks, and the checks."""


def direct_paths(folder: Path) -> Section:
    """Delay and amplitude of direct paths."""
    found = direct_path(150)
    pictures.direct(found, folder / "direct.png")
    responses = len(found.distance)
    return "", [
        Check(
            f"largest error of the delay, {responses} responses",
            float(np.abs(found.delay_error_us).max()),
            "µs",
            0.5,
            3,
        ),
        Check(
            "largest error of the amplitude, 200 Hz to 7 kHz",
            float(np.abs(found.gain_error_db).max()),
            "dB",
            0.05,
            3,
        ),
        Check(
            "reverberation before its first reflection, over the direct peak",
            found.before_reflections,
            "",
            0.001,
            4,
        ),
    ]


def reverberation(folder: Path) -> Section:
    """T60 and DRR."""
    found = scenes(80)
    pictures.drr(found, folder / "drr.png")
    pictures.t60(found, folder / "t60.png")
    drr = {k: np.array([s.drr[k] for s in found]) for k in found[0].drr}
    t60 = {k: np.array([s.t60[k] for s in found]) for k in found[0].t60}
    asked = np.array([s.asked for s in found])
    rows = [
        [name, middle(ratio)]
        for name, ratio in (
            ("exact over asked", t60["exact"] / asked),
            ("hybrid over asked", t60["hybrid"] / asked),
            ("law over asked", t60["law"] / asked),
            ("exact over law", t60["exact"] / t60["law"]),
            ("hybrid over law", t60["hybrid"] / t60["law"]),
            ("hybrid over exact", t60["hybrid"] / t60["exact"]),
        )
    ]
    ratios = table([f"T60 of {len(found)} speakers", "5 % / median / 95 %"], rows)
    images, by_law = drr["exact"] - drr["images"], drr["exact"] - drr["law"]
    backends = drr["hybrid"] - drr["exact"]
    return ratios + "\n", [
        Check(
            "T60, median of exact over law, less 1",
            float(np.median(t60["exact"] / t60["law"]) - 1),
            "",
            0.05,
        ),
        Check(
            "T60, median of hybrid over law, less 1",
            float(np.median(t60["hybrid"] / t60["law"]) - 1),
            "",
            0.05,
        ),
        Check("DRR, exact less its images' energies, mean", float(images.mean()), "dB", 0.15),
        Check(
            "DRR, exact less its images' energies, standard deviation",
            float(images.std()),
            "dB",
            0.6,
        ),
        Check("DRR, exact less the law, mean", float(by_law.mean()), "dB", 0.25),
        Check("DRR, exact less the law, standard deviation", float(by_law.std()), "dB"),
        Check("DRR, hybrid less exact, mean", float(backends.mean()), "dB", 0.1),
        Check("DRR, hybrid less exact, standard deviation", float(backends.std()), "dB", 0.4),
        Check("DRR, hybrid less exact, largest", float(np.abs(backends).max()), "dB", 1.5),
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
        checks.append(
            Check(
                f"{name}, {t60:g} s: largest mean difference down to -30 dB",
                float(np.abs(curves.mean_difference[curves.heard]).max()),
                "dB",
                1.0,
            )
        )
    sizes = "; ".join(f"{n} {s[0]:g}, {s[1]:g}, {s[2]:g} m" for n, s in SIZES.items())
    head = [
        "room, asked T60",
        "absorption",
        *(f"at -{d} dB" for d in (10, 20, 30)),
        "exact",
        "hybrid",
    ]
    count = len(next(iter(found.values())).exact)
    words = f"Means over {count} speakers; rooms: {sizes}.\n\n"
    return words + table(head, rows) + "\n", checks


def spreads(curves: Decays) -> list[str]:
    """Cells: difference at three levels, and how much scenes differ in each backend."""
    cells = []
    for level in (-10, -20, -30):
        difference = (curves.hybrid - curves.exact)[:, curves.at(level)]
        cells.append(f"{difference.mean():+.2f} ± {difference.std():.2f}")
    at = curves.at(-20)
    return [*cells, f"{curves.exact[:, at].std():.2f}", f"{curves.hybrid[:, at].std():.2f}"]


def octaves(folder: Path) -> Section:
    """Energy decay curves of octaves."""
    t60 = 0.5
    found = octave_decays(20, t60)
    pictures.octaves(found, t60, folder / "octaves.png")
    head = ["octave", "asked T60", *(f"at -{d} dB" for d in (10, 20, 30)), "exact", "hybrid"]
    rows = [
        [f"{centre:g} Hz", f"{t60 * factor:.2f} s", *spreads(curves)]
        for (centre, curves), factor in zip(found.items(), TILTED_OCTAVES, strict=False)
    ]
    return table(head, rows) + "\n", [
        Check(
            f"octave at {centre:g} Hz: largest mean difference down to -30 dB",
            float(np.abs(curves.mean_difference[curves.heard]).max()),
            "dB",
            1.5 if centre >= 500 else None,
        )
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
        checks += [
            Check(f"{title}: image_power less images, mean", one.offset(one.law), "dB", 0.3),
            Check(
                f"{title}: exponential less images, root mean square",
                one.error(one.exponential),
                "dB",
            ),
            Check(
                f"{title}: image_power less images, root mean square", one.error(one.law), "dB", 0.6
            ),
        ]
    return "", checks


def coherences(folder: Path) -> Section:
    """Coherence of diffuse noise and of the ends of responses."""
    noises = {name: noise_coherence(60, name) for name in ("diffuse_noise", "diffuse_field")}
    hybrid = tail_coherence(400, "hybrid", WINDOWS)
    exact = tail_coherence(40, "exact", WINDOWS)
    spans = [f"{1000 * a:.0f} to {1000 * b:.0f} ms" for a, b in WINDOWS]
    pictures.coherences(
        {
            "diffuse_noise": noises["diffuse_noise"],
            f"hybrid, {spans[0]}": hybrid[0],
            f"exact, {spans[0]}": exact[0],
            f"exact, {spans[1]}": exact[1],
        },
        folder / "coherence.png",
    )
    fields: dict[str, tuple[Coherence, float | None]] = {n: (c, 0.03) for n, c in noises.items()}
    fields |= {f"hybrid, {s}": (c, 0.05) for s, c in zip(spans, hybrid, strict=True)}
    fields |= {f"exact, {s}": (c, None) for s, c in zip(spans, exact, strict=True)}
    rows, checks = [], []
    for name, (field, tolerance) in fields.items():
        for pairs in ("horizontal", "vertical"):
            error = field.error(pairs)
            rows.append([f"{name}, {pairs}", *(f"{e:.3f}" for e in error)])
            checks.append(
                Check(
                    f"{name}, {pairs}: largest of the spacings",
                    float(error.max()),
                    "",
                    tolerance,
                    3,
                )
            )
    head = ["root mean square from sin(kd)/(kd)", *(f"{100 * d:g} cm" for d in SPACINGS)]
    return table(head, rows) + "\n", checks


def rir_generator(folder: Path) -> Section:
    """Against rir-generator."""
    found: list[Agreement] = []
    for t60 in TIMES:
        found += [agreement(room) for room in rooms(4, 9, t60=(t60, t60))]
    pictures.agreement(found, folder / "agreement.png")
    checks = []
    for t60 in TIMES:
        worst = max(a.error_db for a in found if a.t60 == t60)
        checks.append(
            Check(
                f"T60 {t60:g} s: largest difference, 100 Hz to 4 kHz",
                100 * 10 ** (worst / 20),
                "% of the amplitude",
                1.0,
                2,
            )
        )
    checks.append(
        Check("1 less the smallest correlation", 1 - min(a.correlation for a in found), "", 1e-4, 6)
    )
    gains = max(abs(a.gain_db) for a in found)
    return "", [*checks, Check("largest difference of the level", gains, "dB", 0.05, 3)]


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
        Check("direct path: largest error", float(found["direct"].max()), "deg", 2.0),
        Check("median, hybrid less exact", difference, "deg", 0.5),
    ]


def cost(_folder: Path) -> Section:
    """How many images each backend sums."""
    rows = []
    for t60 in TIMES:
        counts = image_counts(10, t60)
        rows.append([f"{t60:g} s", f"{counts['exact']:,.0f}", f"{counts['hybrid']:,.0f}"])
    head = ["asked T60, medium room", "images of exact", "images of hybrid"]
    return table(head, rows), []


SECTIONS: dict[str, Callable[[Path], Section]] = {
    "cost": cost,
    "direct": direct_paths,
    "reverberation": reverberation,
    "law": late_power,
    "decay": energy_decays,
    "octaves": octaves,
    "coherence": coherences,
    "rir-generator": rir_generator,
    "azimuths": azimuths,
}
