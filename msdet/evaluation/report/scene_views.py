# SPDX-License-Identifier: Apache-2.0
"""A scene to look at and listen to: its labels, scores, drawings, and sound with spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.evaluation.report.content import Directions, ReportContent, SceneView
from msdet.evaluation.report.drawings import directions_svg, room_svg
from msdet.evaluation.report.media import audio_uri, common_gain, levels_db, spectrogram_uri
from msdet.evaluation.report.wording import TIMES, quantity
from msdet.metrics import SceneRow, SceneScore
from msdet.metrics.measures import DASH
from msdet.metrics.scores import SpeakerScore
from msdet.metrics.table import azimuth_error


def view_of(content: ReportContent, number: int) -> dict[str, Any]:
    """Everything the template needs to show ``content.scenes[number]``."""
    view = content.scenes[number]
    row = next((row for row in content.rows if row.id == view.id), None)
    systems = content.systems
    heard = [(i, name) for i, name in enumerate(systems) if _claims(view.directions.get(name))]
    return {
        "id": view.id,
        "why": view.why,
        "facts": _facts(view, row),
        "scores": _scores(content, row),
        "speakers": len(np.atleast_1d(np.asarray(view.azimuth, float))),
        "directions": [{"index": i, "name": name} for i, name in heard],
        "polar": directions_svg(view, row, heard, f"scene-{number}"),
        "above": room_svg(view, row, heard, f"scene-{number}"),
        "clips": _clips(view, systems),
    }


def _claims(claims: Directions | None) -> bool:
    return claims is not None and (claims.azimuth is not None or claims.posterior is not None)


def _facts(view: SceneView, row: SceneRow | None) -> list[tuple[str, str]]:
    """Labels of the scene, as (name, value with unit)."""
    found = [("Room", f" {TIMES} ".join(f"{side:.1f}" for side in view.room) + " m")]
    found.append(("Length", f"{len(view.mixture) / view.sample_rate:.1f} s"))
    labels = row.labels.scene if row else {}
    for name, value in labels.items():
        same = name == "sensor_snr_db" and value == labels.get("snr_db")  # without a background
        if value is None or same or name == "room_volume_m3":
            continue
        kind = quantity(name)
        shown = value if isinstance(value, str) else f"{kind.text(value)} {kind.unit}".strip()
        found.append((kind.heading, shown))
    for name, values in (row.labels.speaker if row else {}).items():
        kind = quantity(name)
        shown = ", ".join(kind.text(value) for value in values)
        found.append((kind.heading, f"{shown} {kind.unit}".strip()))
    return found


def _scores(content: ReportContent, row: SceneRow | None) -> list[dict[str, Any]]:
    """Each system that scored this scene, with improvements and azimuth errors as text."""
    gain, error = "si_sdr_improvement_db", "azimuth_error_median_deg"
    if row is None:
        return []
    return [
        {
            "name": name,
            "cells": [
                {
                    "gain": quantity(gain).text(of.scores.get("si_sdr_improvement"))
                    if content.tells(name, gain)
                    else DASH,
                    "error": quantity(error).text(_error(row.systems[name], of))
                    if content.tells(name, error)
                    else DASH,
                    "silent": of.silent,
                }
                for of in row.systems[name].speakers
            ],
        }
        for name in content.systems
        if name in row.systems
    ]


def _error(score: SceneScore, of: SpeakerScore) -> float | None:
    """The error as claimed; best matched of a system that gives no sound to match by."""
    claimed = azimuth_error(score, of)
    return azimuth_error(score, of, best_matched=True) if claimed is None else claimed


def _clips(view: SceneView, systems: Sequence[str]) -> list[dict[str, Any]]:
    """The mixture, then a group per speaker: the target and what each system made of it."""
    mixture, targets = np.asarray(view.mixture), np.atleast_2d(np.asarray(view.targets))
    made = {name: np.atleast_2d(view.estimates[name]) for name in systems if name in view.estimates}
    gain = common_gain(mixture, targets, *made.values())
    signals: list[tuple[str, list[tuple[str, NDArray[Any]]]]] = [("", [("Mixture", mixture)])]
    for speaker, target in enumerate(targets):
        clips = [("Target", target)]
        clips += [(name, audio[speaker]) for name, audio in made.items() if speaker < len(audio)]
        signals.append((f"Speaker {speaker + 1}", clips))
    levels = {
        (group, label): levels_db(signal * gain, view.sample_rate)
        for group, clips in signals
        for label, signal in clips
        if np.isfinite(signal).all()
    }
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max((float(np.percentile(level, 99.9)) for level in levels.values()), default=0.0)
    return [
        {
            "speaker": speaker,
            "heading": group,
            "clips": [
                _clip(view, group, label, signal * gain, levels.get((group, label)), loud)
                for label, signal in clips
            ],
        }
        for speaker, (group, clips) in enumerate(signals)
    ]


def _clip(
    view: SceneView,
    group: str,
    label: str,
    signal: NDArray[Any],
    levels: NDArray[np.float64] | None,
    loud: float,
) -> dict[str, Any]:
    about = f"{label}, {group.lower()}" if group else label
    if levels is None:
        return {"label": label, "audio": None}
    return {
        "label": label,
        "about": f"{about}, scene {view.id}",
        "audio": audio_uri(signal, view.sample_rate),
        "picture": spectrogram_uri(levels, loud),
        "alt": f"Spectrogram of {about}: {len(signal) / view.sample_rate:.1f} s, "
        f"0 to {view.sample_rate / 2000:g} kHz",
    }
