# SPDX-License-Identifier: Apache-2.0
"""From checkpoints or estimates to a report: every scene is rendered once, done and scored."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.exports import csv_text, markdown_table
from msdet.evaluation.preparation import Prepared, name_of, prepare
from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.page import write_report
from msdet.evaluation.rows import RowWriter, SceneTime
from msdet.evaluation.scoring import SceneScorer, Scoring
from msdet.evaluation.systems.names import MODEL
from msdet.evaluation.tables import clipping_warnings, result_tables, systems_table
from msdet.evaluation.views import scene_views
from msdet.files import read_json_lines, write_atomically, write_json
from msdet.memory import PeakMemory
from msdet.metrics import SceneRow, compare_systems, score_table, summarise
from msdet.metrics.conditions import DEFAULT_CONDITIONS
from msdet.metrics.measures import MEASURES, measures_in
from msdet.output_folder import sole_user
from msdet.provenance import git_commit, versions
from msdet.simulation import RirBank, Scene, fill_banks
from msdet.workers import available_cores, in_processes


def evaluate(config: EvaluationConfig, training: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Score systems on scenes; returns what ``summary.json`` holds.

    Goes on where a killed evaluation of the same systems on the same scenes stopped.

    Args:
        training: what the training run measured of itself; None takes what the checkpoint says.
    Raises:
        InputError: a file is missing or damaged, or the scenes do not fit the model.
    """
    started = time.perf_counter()
    prepared, output = prepare(config), Path(config.output)
    with sole_user(output):
        return _evaluate(config, prepared, training, started)


def _evaluate(
    config: EvaluationConfig,
    prepared: Prepared,
    training: Mapping[str, Any] | None,
    started: float,
) -> dict[str, Any]:
    output, scenes = Path(config.output), prepared.scenes
    with PeakMemory() as memory, RowWriter(output, prepared.header) as writer:
        _fill_banks(scenes, prepared.scoring.bank, config.num_workers)
        left = [scene for scene in scenes if scene.index not in writer.done]
        for row, taken in in_processes(
            _scorer,
            prepared.scoring,
            left,
            num_workers=config.num_workers,
            title="scoring",
            done=len(scenes) - len(left),
        ):
            writer.add(row, taken)
    rows = writer.rows
    summary = _summary(prepared, writer, config.conditions)
    summary |= _measured(prepared, training, memory.peak_gb)
    summary |= {
        "own_measures": {
            name: asdict(of) for name, of in prepared.measures.items() if name not in MEASURES
        },
        "evaluation_seconds": round(time.perf_counter() - started, 1),
        "checkpoint": config.checkpoint,
        "estimates": config.estimates,
        "clipped": prepared.clipped,
        "scenes": config.scenes,
        "scenes_sha256": prepared.header.scenes,
        "scenes_corpus": prepared.scenes[0].corpus,
        "split": config.split,
        "command": _command(),
        "made_with": versions() | {"commit": git_commit() or "unknown"},
    }
    write_json(output / "summary.json", summary)
    write_atomically(output / "rows.csv", csv_text(rows))
    write_atomically(output / "table.md", markdown_table(summary["systems"], prepared.measures))
    views = scene_views(output, prepared, rows, config.pictures) if config.pictures else ()
    write_report(
        output / "report.html",
        ReportContent(
            title=_title(prepared, config),
            command=summary["command"],
            made_with=summary["made_with"],
            summary=summary,
            rows=rows,
            scenes=views,
            history=_history(prepared),
        ),
    )
    return summary


def print_tables(summary: dict[str, Any]) -> None:
    """The summary as tables on the screen."""
    console, measures = Console(), measures_in(summary)
    for table in result_tables(summary, measures):
        console.print(table)
    if len(summary["systems"]) > 1:
        console.print(systems_table(summary["systems"], measures))
    for warning in clipping_warnings(summary["clipped"]):
        console.print(f"warning: {warning}", markup=False, highlight=False)


def _summary(
    prepared: Prepared, writer: RowWriter, conditions: Sequence[str] | None
) -> dict[str, Any]:
    """The main system's numbers, ``systems`` with those of all, and ``comparisons`` of the main one
    with each of them."""
    rows, measures = writer.rows, prepared.measures
    table = score_table(rows)
    others = [system for system in prepared.scoring.systems if system != prepared.main]
    of_system = {
        system: summarise(
            rows,
            system,
            table=table,
            measures=measures,
            linear_array=prepared.linear,
            unavailable=prepared.unavailable,
            conditions=DEFAULT_CONDITIONS if conditions is None else tuple(conditions),
        )
        | {"real_time_factor": writer.real_time_factor(system)}
        for system in (prepared.main, *others)
    }
    return {
        **of_system[prepared.main],
        "main_system": prepared.main,
        "systems": of_system,
        "comparisons": [
            {"system": prepared.main, "reference": system, **found}
            for system in others
            for found in compare_systems(table, prepared.main, system, measures=measures)
        ],
    }


def _scorer(scoring: Scoring) -> Callable[[Scene], tuple[SceneRow, SceneTime]]:
    scorer, started = SceneScorer(scoring), False

    def score(scene: Scene) -> tuple[SceneRow, SceneTime]:
        nonlocal started
        if not started:  # imports and first calls are no part of what a system takes
            scorer.do(scene)
            started = True
        return scorer.score(scene)

    return score


def _fill_banks(scenes: Sequence[Scene], folder: Path, num_workers: int | None) -> None:
    arrays: dict[str, list[Scene]] = {}
    for scene in scenes:
        arrays.setdefault(json.dumps(scene.array.positions), []).append(scene)
    banks = [
        (
            RirBank(folder, group[0].microphone_array(), group[0].sample_rate),
            [scene.room for scene in group],
        )
        for group in arrays.values()
    ]
    fill_banks(banks, num_workers or available_cores())


def _measured(
    prepared: Prepared, training: Mapping[str, Any] | None, peak_gb: float
) -> dict[str, Any]:
    """Measurements of the main system's training run, the recordings that it was
    trained on, and the memory of all."""
    checkpoint = prepared.checkpoints.get(prepared.main)
    found = dict(checkpoint.description.training if checkpoint else {})
    found = found if training is None else dict(training)
    data = checkpoint.description.config.get("data", {}) if checkpoint else {}
    if data.get("labelled") is not None:
        found |= {f"data.{key}": data[key] for key in ("labelled", "labelled_share")}
    found["peak_rss_gb"] = max(peak_gb, found.get("peak_rss_gb", 0.0))
    found["evaluation_peak_rss_gb"] = peak_gb
    return found


def _history(prepared: Prepared) -> list[dict[str, Any]]:
    """The epochs of the training that made the main system, where its folder still has them."""
    checkpoint = prepared.checkpoints.get(prepared.main)
    path = None if checkpoint is None else checkpoint.path.parent / "history.jsonl"
    if path is None or not path.is_file():
        return []
    return read_json_lines(path, "delete it, or evaluate a copy of the checkpoint")


def _title(prepared: Prepared, config: EvaluationConfig) -> str:
    named = [
        name_of(prepared.checkpoints[name]) if name == MODEL else name
        for name in sorted(prepared.scoring.models, key=lambda name: name != prepared.main)
    ]
    scenes = f"the {config.split} scenes of its training"
    return f"{', '.join(named)} on {Path(config.scenes).name if config.scenes else scenes}"


def _command() -> str:
    program = Path(sys.argv[0]).name
    return shlex.join(["msdet" if program == "__main__.py" else program, *sys.argv[1:]])
