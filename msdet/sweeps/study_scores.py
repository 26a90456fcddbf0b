# SPDX-License-Identifier: Apache-2.0
"""The scores of a study: every finished run's network on every scene, each scene rendered once.

A run has rows of its own for each set of scenes, so that runs which finish later join in, and a
killed scoring goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from msdet.checkpoints import load_checkpoint
from msdet.corpora import open_corpus
from msdet.errors import InputError
from msdet.evaluation.preparation import check_scenes, scenes_hash
from msdet.evaluation.rows import RowsHeader, RowWriter, read_rows
from msdet.evaluation.scoring import SceneScorer, Scoring
from msdet.evaluation.systems.names import MODEL
from msdet.metrics import SceneRow, score_table
from msdet.metrics.bootstrap import Values
from msdet.metrics.choose import MATCHING
from msdet.metrics.table import Arrays, arrays_of
from msdet.simulation import RirBank, Scene, check_corpus, rirs_folder
from msdet.sweeps.run import Run
from msdet.sweeps.study import Comparison
from msdet.sweeps.study_scenes import SceneSets, SetName
from msdet.workers import in_processes

MAIN, ON_SEAM, OFF_SEAM, OPPOSITE = "main", "on the seam", "off the seam", "opposite"
"""Sets of scenes as results name them: the two sides of the pairs apart, in the same order."""


@dataclass(frozen=True)
class Results:
    """All runs that are trained and scored.

    Attributes:
        rows: of each set of scenes; every run is a system of its own, by its name.
        left_out: sets of scenes that there are not, and why.
        missing: runs that are not among them, by name, and why.
    """

    runs: tuple[Run, ...]
    rows: Mapping[str, Sequence[SceneRow]]
    left_out: Mapping[SetName, str]
    missing: Mapping[str, str]

    @property
    def linear_array(self) -> bool:
        return self.runs[0].config.array.build().is_linear

    @property
    def methods(self) -> list[str]:
        """Those that have a run, in the study's order."""
        return list(dict.fromkeys(run.values["method"] for run in self.runs))

    def of(self, method: str, seeds: Sequence[int] | None = None) -> list[Run]:
        """Return a method's runs in order of their seeds."""
        found = [run for run in self.runs if run.values["method"] == method]
        found = [run for run in found if seeds is None or run.config.seed in seeds]
        return sorted(found, key=lambda run: run.config.seed)

    def seeds(self, *methods: str) -> list[int]:
        """Return those that all of these methods have."""
        each = [{run.config.seed for run in self.of(method)} for method in methods]
        return sorted(set.intersection(*each))

    def values(
        self, method: str, scenes_set: str, quantity: str, seeds: Sequence[int] | None = None
    ) -> Values | None:
        """Return ``[seed, scene, speaker]`` of the table of scores; None where there is nothing."""
        arrays = self._arrays.get(scenes_set, {})
        found = [arrays.get(run.name, {}).get(quantity) for run in self.of(method, seeds)]
        shape = next((values.shape for values in found if values is not None), None)
        if shape is None:
            return None
        return np.stack([np.full(shape, np.nan) if v is None else v for v in found])

    def pair(
        self, pair: Comparison, scenes_set: str, quantity: str
    ) -> tuple[Values, Values] | None:
        """Return the values of both methods for the seeds that they share; None without."""
        methods = pair.method, pair.reference
        seeds = self.seeds(*methods)
        mine, theirs = (self.values(name, scenes_set, quantity, seeds) for name in methods)
        return None if mine is None or theirs is None else (mine, theirs)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The table of scores of each set of scenes; its systems are the runs."""
        return {name: score_table(rows) for name, rows in self.rows.items()}

    @cached_property
    def _arrays(self) -> dict[str, dict[str, Arrays]]:
        return {
            name: {run.name: arrays_of(table, run.name) for run in self.runs}
            for name, table in self.tables.items()
        }


def score_all(output: Path, runs: Sequence[Run], scenes: SceneSets, jobs: int) -> dict[str, str]:
    """Score what is left of finished runs, ``jobs`` processes at a time.

    Returns:
        Of runs that could not be scored, by name, why.
    """
    failures: dict[str, str] = {}
    if not runs:
        return failures
    training = runs[0].config
    corpus = open_corpus(training.corpus, training.sample_rate).split("test")
    bank = rirs_folder(training.data.cache)
    for set_name, found in scenes.sets.items():
        digest = scenes_hash(found)
        with ExitStack() as stack:
            writers: dict[str, RowWriter] = {}
            for run in (run for run in runs if run.name not in failures):
                try:
                    writer = stack.enter_context(_writer(output, run, set_name, digest))
                    if len(writer.done) < len(found):
                        check_scenes(found, load_checkpoint(run.checkpoint, trust=True))
                        writers[run.name] = writer
                except (InputError, OSError) as error:
                    failures[run.name] = str(error)
            left = [s for s in found if any(s.index not in w.done for w in writers.values())]
            if left:
                check_corpus(left, corpus)
                rirs = RirBank(bank, training.array.build(), training.sample_rate)
                rirs.fill((scene.room for scene in left), jobs)
            scoring = Scoring(
                models={run.name: run.checkpoint for run in runs if run.name in writers},
                corpus=training.corpus,
                sample_rate=training.sample_rate,
                split="test",
                bank=bank,
                systems=tuple(writers),
                metrics=dict.fromkeys(writers, (MATCHING,)),
                as_networks=True,
            )
            title = f"scoring {len(writers)} networks on scenes of {set_name}"
            for row in in_processes(_scorer, scoring, left, num_workers=jobs, title=title):
                for name, writer in writers.items():
                    if row.index not in writer.done:
                        own = {MODEL: row.systems[name]}
                        writer.add(row.model_copy(update={"systems": own}))
    return failures


def collect(
    output: Path, runs: Sequence[Run], scenes: SceneSets, failures: Mapping[str, str]
) -> Results:
    """Read what the finished runs left.

    Args:
        failures: of runs that failed just now, by name, why.
    """
    missing: dict[str, str] = {}
    every: dict[str, dict[SetName, tuple[SceneRow, ...]]] = {}
    for run in runs:
        try:
            rows = {name: _rows(output, run, name, len(of)) for name, of in scenes.sets.items()}
            run.history(), run.description(), run.summary()  # which the page tells, too
            every[run.name] = rows
        except InputError as error:
            missing[run.name] = failures.get(run.name, str(error))
    found: dict[str, Sequence[SceneRow]] = {}
    for name in scenes.sets if every else ():
        together = [
            parts[0].model_copy(
                update={"systems": dict(zip(every, (p.systems[MODEL] for p in parts), strict=True))}
            )
            for parts in zip(*(rows[name] for rows in every.values()), strict=True)
        ]
        if name == "seam":
            found |= {ON_SEAM: together[0::2], OFF_SEAM: together[1::2]}
        else:
            found[name] = together
    kept = tuple(run for run in runs if run.name in every)
    return Results(kept, found, scenes.left_out, missing)


def _rows(output: Path, run: Run, set_name: SetName, wanted: int) -> tuple[SceneRow, ...]:
    """Read a run's rows of a set of scenes.

    Raises:
        InputError: it is not that far.
    """
    if run.state != "finished":
        raise InputError(how_far(run))
    folder = _folder(output, run, set_name)
    rows = read_rows(folder) if (folder / "rows.jsonl").exists() else ()
    if len(rows) < wanted:
        raise InputError(f"trained; {len(rows)} of {wanted} scenes of {set_name} are scored")
    return rows


def how_far(run: Run) -> str:
    """Say how far a run is."""
    epochs = f", {run.epochs_done} of {run.config.trainer.epochs} epochs"
    return run.state + (epochs if run.state == "unfinished" else "")


def _folder(output: Path, run: Run, set_name: SetName) -> Path:
    return output / "evaluation" / run.name / set_name


def _writer(output: Path, run: Run, set_name: SetName, digest: str) -> RowWriter:
    checkpoint = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
    systems = {MODEL: (MATCHING.name,)}
    header = RowsHeader(models={MODEL: checkpoint}, scenes=digest, systems=systems)
    return RowWriter(_folder(output, run, set_name), header)


def _scorer(scoring: Scoring) -> Callable[[Scene], SceneRow]:
    scorer = SceneScorer(scoring)
    return lambda scene: scorer.score(scene)[0]
