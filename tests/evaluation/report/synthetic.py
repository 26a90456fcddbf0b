# SPDX-License-Identifier: Apache-2.0
"""Contents of reports that no model made: three systems, chosen numbers, short sounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.report import Directions, ReportContent, SceneView
from msdet.metrics.scores import Failure, SceneLabels, SceneRow, SceneScore, SpeakerScore

BOTH, DIRECTIONS, SOUND = "network", "SRP-PHAT", "ideal mask"
"""Systems: one that separates and finds directions, and two that do one of them."""

RATE = 16000


def score(
    gain: float | None, error: float | None, azimuth: Sequence[float], **changes: Any
) -> SceneScore:
    """Of a system without sound where ``gain`` is None, without DoA where ``error`` is."""
    sound, doa = gain is not None, error is not None
    speakers = []
    for i, at in enumerate(azimuth):
        scores = {"si_sdr": gain, "si_sdr_unprocessed": 0.0, "si_sdr_improvement": gain}
        speakers.append(
            SpeakerScore(
                speaker=i,
                slot=i if sound else None,
                silent=False,
                scores=scores if sound else {},
                azimuth=at,
                azimuth_estimate=at + error if error is not None and sound else None,
                azimuth_error=error if sound else None,
                azimuth_error_best_matched=error,
            )
        )
    slots = tuple(range(len(azimuth)))
    keys: dict[str, Any] = {
        "speakers": tuple(speakers),
        "speaker_of_slot": slots if sound else (None,) * len(slots),
        "speaker_of_slot_by_azimuth": slots if doa else None,
        "wrong_slot": tuple(False if sound and doa else None for _ in slots),
        "si_sdr_margin_db": 9.0 if sound else None,
        "azimuth_margin_deg": 40.0 if doa else None,
        "ambiguous": False,
        "order_correct": True if sound and doa else None,
        "attenuation_db": (),
        "failures": (),
    }
    return SceneScore(**keys | changes)


def rows(count: int) -> list[SceneRow]:
    """Improvement falls with the index, azimuth errors rise; every third scene has music."""
    made = []
    for i in range(count):
        azimuth = (10.0, 30.0 + 4.0 * i)
        failed = (Failure("sdr", "estimate", 0, "the signal is all zeros"),) if i == 2 else ()
        made.append(
            SceneRow(
                index=i,
                id=f"test-{i}",
                labels=SceneLabels(
                    scene={"t60": None if i == 1 else 0.2 + 0.01 * i, "background": _kind(i)},
                    speaker={"distance": (1.0 + 0.1 * i, 2.0)},
                ),
                systems={
                    BOTH: score(9.0 - 0.5 * i, 2.0 + i, azimuth, failures=failed),
                    DIRECTIONS: score(None, 12.0 + i, azimuth),
                    SOUND: score(14.0 - 0.2 * i, None, azimuth),
                },
            )
        )
    return made


def summary(count: int) -> dict[str, Any]:
    """What ``summary.json`` says of ``rows(count)``, roughly; much of it null, as it may be."""
    groups = ("0 to 15 deg apart", "15 to 30 deg apart", "30 to 60 deg apart")
    nothing: dict[str, Any] = {"intervals": {}, "failures": {}, "unavailable": {}, "breakdowns": {}}
    both = {
        "num_scenes": count,
        "si_sdr_improvement_db": 7.25,
        "azimuth_error_median_deg": 4.5,
        "azimuth_error_median_deg_best_matched": 4.0,
        "order_accuracy": 1.0,
        "pesq_wb": None,
        "intervals": {"si_sdr_improvement_db": [6.5, 8.0]},
        "failures": {
            "sdr": {"estimate": 1, "unprocessed": 0, "reasons": {"the signal is all zeros": 1}}
        },
        "unavailable": {"pesq_wb": "No module named 'pesq'"},
        "breakdowns": {
            "angle": [
                {
                    "group": group,
                    "num_scenes": 4,
                    "si_sdr_improvement_db": 6.0 + i,
                    "azimuth_error_median_deg_best_matched": 5.0 - i,
                }
                for i, group in enumerate(groups)
            ]
        },
    }
    doa = {**nothing, "azimuth_error_median_deg_best_matched": 15.0}
    mask = {**nothing, "si_sdr_improvement_db": 13.5}
    comparison = {
        "system": BOTH,
        "reference": DIRECTIONS,
        "measure": "azimuth_error_median_deg_best_matched",
        "difference": -11.0,
        "low": -13.0,
        "high": -9.0,
        "won_share": 1.0,
        "scenes": count,
    }
    return {
        **both,
        "main_system": BOTH,
        "systems": {BOTH: both, DIRECTIONS: doa, SOUND: mask},
        "comparisons": [comparison],
    }


def sound(seconds: float, pitch: float, rate: int = RATE) -> NDArray[np.float32]:
    """A hum in syllables ``[sample]``."""
    time = np.arange(round(seconds * rate)) / rate
    hum = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 9))
    return np.asarray(hum * np.clip(np.sin(2 * np.pi * 2.3 * time), 0, 1), np.float32)


def view(scene: str = "test-0", why: str = "best", **changes: Any) -> SceneView:
    """A scene of 1.5 s with two speakers, whom the array of four hears at 10 and 30 degrees."""
    targets = np.stack([sound(1.5, 120.0), sound(1.5, 210.0)])
    classes = np.arange(0.0, 360.0, 5.0)
    posterior = np.exp(4 * np.cos(np.radians(classes[None] - np.array([[12.0], [32.0]]))))
    turned = np.radians(40.0 + np.arange(0.0, 360.0, 90.0))
    circle = np.stack([np.cos(turned), np.sin(turned), 0 * turned], axis=1)
    keys: dict[str, Any] = {
        "id": scene,
        "why": why,
        "sample_rate": RATE,
        "room": (6.0, 4.5, 2.8),
        "array_centre": (2.5, 2.0, 1.2),
        "array_rotation": 40.0,
        "microphones": np.array([2.5, 2.0, 1.2]) + 0.05 * circle,
        "speakers": np.array([[3.5, 3.2, 1.5], [2.8, 3.9, 1.5]]),
        "azimuth": np.array([10.0, 30.0]),
        "mixture": targets.sum(axis=0),
        "targets": targets,
        "estimates": {BOTH: 0.9 * targets + 0.1 * targets[::-1], SOUND: targets},
        "directions": {
            BOTH: Directions(np.array([12.0, 32.0]), posterior, classes),
            DIRECTIONS: Directions(np.array([22.0, np.nan])),
        },
    }
    return SceneView(**keys | changes)


def content(count: int = 12, **changes: Any) -> ReportContent:
    """A report on ``count`` scenes, two of them to listen to."""
    keys: dict[str, Any] = {
        "title": "Evaluation of a network",
        "command": "msdet evaluate checkpoint=model.ckpt",
        "made_with": {"msdet": "0.1.0", "git commit": "0123abc"},
        "summary": summary(count),
        "rows": rows(count),
        "scenes": [view(), view(f"test-{count - 1}", "worst")],
    }
    return ReportContent(**keys | changes)


def _kind(index: int) -> str:
    return "music" if index % 3 == 0 else "none"
