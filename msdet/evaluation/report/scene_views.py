# SPDX-License-Identifier: Apache-2.0
"""A scene to look at and listen to: its labels, scores, drawings, and sound with spectrograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from msdet.evaluation.report.content import ERROR, GAIN, ReportContent, SceneView
from msdet.evaluation.report.drawings import directions_svg, room_svg
from msdet.evaluation.report.media import audio_uri, common_gain, levels_db, spectrogram_uri
from msdet.evaluation.report.wording import quantity
from msdet.metrics import SceneRow
from msdet.metrics.measures import DASH
from msdet.metrics.table import azimuth_error

_TIMES = " \N{MULTIPLICATION SIGN} "


def view_of(content: ReportContent, number: int) -> dict[str, Any]:
    """Everything the template needs to show ``content.scenes[number]``."""
    view = content.scenes[number]
    row = next((row for row in content.rows if row.id == view.id), None)
    heard = [(i, name) for i, name in enumerate(content.systems) if name in view.directions]
    return {
        "id": view.id,
        "why": view.why,
        "facts": _facts(view, row),
        "scores": _scores(content, row) if row else [],
        "speakers": len(view.azimuth),
        "directions": [{"index": i, "name": name} for i, name in heard],
        "polar": directions_svg(view, row, heard, f"scene-{number}"),
        "above": room_svg(view, row, heard, f"scene-{number}"),
        "clips": _clips(view, content.systems),
    }


def _facts(view: SceneView, row: SceneRow | None) -> list[tuple[str, str]]:
    """Labels of the scene, as (name, value with unit)."""
    found = [("Room", _TIMES.join(f"{side:.1f}" for side in view.room) + " m")]
    found.append(("Length", f"{len(view.mixture) / view.sample_rate:.1f} s"))
    labels = dict(row.labels.scene) if row else {}
    labels.pop("room_volume_m3", None)
    if labels.get("sensor_snr_db") == labels.get("snr_db"):  # without a background
        labels.pop("sensor_snr_db", None)
    for name, value in {**labels, **(row.labels.speaker if row else {})}.items():
        kind, values = quantity(name), value if isinstance(value, tuple) else (value,)
        if value is not None:
            shown = ", ".join(v if isinstance(v, str) else kind.text(v) for v in values)
            unit = "" if isinstance(value, str) else kind.unit
            found.append((kind.heading, f"{shown} {unit}".strip()))
    return found


def _scores(content: ReportContent, row: SceneRow) -> list[dict[str, Any]]:
    """Each system's improvements and azimuth errors as text, the errors as claimed, or best
    matched of a system that gives no sound to match by."""
    lines = []
    for name in content.systems:
        score, cells = row.systems[name], []
        for of in score.speakers:
            gain, error = of.scores.get("si_sdr_improvement"), azimuth_error(score, of)
            if error is None:
                error = azimuth_error(score, of, best_matched=True)
            texts = {
                title: quantity(key).text(value) if content.tells(name, key) else DASH
                for title, key, value in (("gain", GAIN, gain), ("error", ERROR, error))
            }
            cells.append({**texts, "silent": of.silent})
        lines.append({"name": name, "cells": cells})
    return lines


def _clips(view: SceneView, systems: tuple[str, ...]) -> list[dict[str, Any]]:
    """The mixture, then a group per speaker: the target and what each system made of it."""
    made = {name: view.estimates[name] for name in systems if name in view.estimates}
    gain = common_gain(view.mixture, view.targets, *made.values())
    groups = [("", {"Mixture": view.mixture})]
    for speaker, target in enumerate(view.targets):
        of_systems = {name: audio[speaker] for name, audio in made.items()}
        groups.append((f"Speaker {speaker + 1}", {"Target": target, **of_systems}))
    levels = {
        (group, label): levels_db(signal * gain, view.sample_rate)
        for group, signals in groups
        for label, signal in signals.items()
        if np.isfinite(signal).all()
    }
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max((float(np.percentile(level, 99.9)) for level in levels.values()), default=0.0)
    found = []
    for speaker, (group, signals) in enumerate(groups):
        clips: list[dict[str, Any]] = []
        for label, signal in signals.items():
            about = f"{label}, {group.lower()}" if group else label
            if (level := levels.get((group, label))) is None:
                clips.append({"label": label, "audio": None})
                continue
            clips.append(
                {
                    "label": label,
                    "about": f"{about}, scene {view.id}",
                    "audio": audio_uri(signal * gain, view.sample_rate),
                    "picture": spectrogram_uri(level, loud),
                    "alt": f"Spectrogram of {about}: {len(signal) / view.sample_rate:.1f} s, "
                    f"0 to {view.sample_rate / 2000:g} kHz",
                }
            )
        found.append({"speaker": speaker, "heading": group, "clips": clips})
    return found
