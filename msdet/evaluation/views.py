# SPDX-License-Identifier: Apache-2.0
"""A few scenes from the best to the worst, to look at and to listen to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msdet.audio import write_audio
from msdet.evaluation.preparation import Prepared
from msdet.evaluation.report.content import Directions, SceneView
from msdet.evaluation.report.media import common_gain
from msdet.evaluation.scoring import Done, SceneScorer
from msdet.evaluation.systems.names import NEW_DIRECTIONS, NEW_VOICES
from msdet.metrics import SceneRow, SceneScore

_HEARD_ALONE = ("srp_mpdr", "oracle_mvdr")
"""Heard beside the models and the voices made of theirs; the others are read, and would make the
page large."""


def scene_views(
    output: Path, prepared: Prepared, rows: Sequence[SceneRow], count: int
) -> list[SceneView]:
    """Return scenes spread evenly from the best to the worst, and write what is heard of them."""
    (output / "audio").mkdir(exist_ok=True)
    scorer = SceneScorer(prepared.scoring)
    by_index = {scene.index: scene for scene in prepared.scenes}
    views = []
    for place, row in _chosen(rows, prepared.main, count):
        done = scorer.do(by_index[row.index])
        views.append(_view(place, done, row, prepared))
        _write_audio(output / "audio" / row.id, views[-1], prepared.main)
    return views


def _chosen(rows: Sequence[SceneRow], main: str, count: int) -> list[tuple[str, SceneRow]]:
    """The best first, each with its place among all."""
    gains = [(g, row.index, row) for row in rows if (g := _goodness(row.systems[main])) is not None]
    ranked = [row for _, _, row in sorted(gains, key=lambda entry: entry[:2], reverse=True)]
    last = len(ranked) - 1
    spread = np.linspace(0, last, min(count, len(ranked))).round().astype(int)
    names = {round(last / 2): "median", last: "worst", 0: "best"}
    return [
        (names.get(place, f"place {place + 1} of {last + 1}"), ranked[place])
        for place in dict.fromkeys(spread.tolist())
    ]


def _goodness(score: SceneScore) -> float | None:
    """Mean SI-SDR improvement, or of what finds directions alone, less error; None without."""
    gains = [s.scores.get("si_sdr_improvement") for s in score.speakers]
    if known := [gain for gain in gains if gain is not None]:
        return sum(known) / len(known)
    errors = [s.azimuth_error_best_matched for s in score.speakers]
    known = [-error for error in errors if error is not None]
    return sum(known) / len(known) if known else None


def _view(why: str, done: Done, row: SceneRow, prepared: Prepared) -> SceneView:
    heard, example, room = done.heard, done.heard.example, done.heard.example.scene.room
    systems, models = prepared.scoring.systems, prepared.scoring.models
    return SceneView(
        id=example.scene.id,
        why=why,
        sample_rate=heard.sample_rate,
        room=room.size,
        array_centre=room.array_centre,
        array_rotation=room.array_rotation,
        microphones=room.microphones(heard.array),
        speakers=np.array([room.speakers[n].position for n in example.scene.heard]),
        azimuth=example.azimuth,
        mixture=heard.reference,
        targets=example.targets,
        estimates={
            name: _of_slots(audio, [s.slot for s in row.systems[name].speakers])
            for name in systems
            if name in (*models, *_HEARD_ALONE) or name.partition("+")[2] in NEW_VOICES
            if (audio := done.estimates[name].audio) is not None
        },
        directions={
            name: _directions(azimuth, name, done, prepared)
            for name in systems
            if (azimuth := done.estimates[name].azimuth) is not None
            if "+" not in name or name.partition("+")[2] in NEW_DIRECTIONS
        },
        linear_array=heard.array.is_linear,
    )


def _of_slots(values: NDArray[np.floating], slots: Sequence[int | None]) -> NDArray[np.floating]:
    """Rows of slots; NaN for None, and for slots beyond the outputs: nothing was put out."""
    found = np.full((len(slots), *values.shape[1:]), np.nan, values.dtype)
    for row, slot in enumerate(slots):
        if slot is not None and slot < len(values):
            found[row] = values[slot]
    return found


def _directions(
    azimuth: NDArray[np.float64], name: str, done: Done, prepared: Prepared
) -> Directions:
    posterior, checkpoint = done.estimates[name].posterior, prepared.checkpoints.get(name)
    centres = None if checkpoint is None else checkpoint.model.grid.centres
    if centres is None or posterior is None or posterior.shape[1] != len(centres):
        return Directions(azimuth)
    return Directions(azimuth, posterior, centres)


def _write_audio(stem: Path, view: SceneView, system: str) -> None:
    """The mixture, the targets, and what a system put out for each speaker, equally loud."""
    targets = {f"speaker{i + 1}-target": x for i, x in enumerate(view.targets) if x.any()}
    made = {
        f"speaker{i + 1}-estimate": signal
        for i, signal in enumerate(view.estimates.get(system, ()))
        if np.isfinite(signal).all() and signal.any()  # nothing was put out for others
    }
    if system not in view.estimates:
        return
    signals = {"mixture": view.mixture, **targets, **made}
    gain = common_gain(*signals.values())
    for name, signal in signals.items():
        write_audio(f"{stem}-{name}.wav", signal * gain, view.sample_rate)
