# SPDX-License-Identifier: Apache-2.0
"""Scores the networks of finished runs on a study's scenes; a killed scoring goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from msdet.checkpoints import load_checkpoint
from msdet.corpora import CorpusConfig, open_corpus
from msdet.errors import InputError
from msdet.evaluation.preparation import check_scenes, scenes_hash
from msdet.evaluation.rows import RowsHeader, RowWriter
from msdet.evaluation.scoring import SceneScorer, Scoring
from msdet.evaluation.systems.names import MODEL
from msdet.metrics import SceneRow
from msdet.simulation import RirBank, Scene, check_corpus, rirs_folder
from msdet.study.grid import Run
from msdet.study.scenes import SceneSets, SetName
from msdet.workers import in_processes

METRICS = ("si_sdr",)

_CHUNK = 10
"""Scenes that a process scores before it hands the rows back: seconds, which a kill may cost."""


@dataclass(frozen=True)
class _Setting:
    """What all runs share."""

    corpus: CorpusConfig
    sample_rate: int
    bank: Path


@dataclass(frozen=True)
class _Chunk:
    """Some scenes for one run."""

    run: str
    checkpoint: Path
    set_name: SetName
    scenes: tuple[Scene, ...]


@dataclass(frozen=True)
class _Scored:
    run: str
    set_name: SetName
    rows: tuple[SceneRow, ...]
    failure: str | None


def rows_folder(output: Path, run: Run, set_name: SetName) -> Path:
    """Where the rows of a run on a set of scenes are."""
    return output / "evaluation" / run.name / set_name


def score_all(output: Path, runs: Sequence[Run], scenes: SceneSets, jobs: int) -> dict[str, str]:
    """Score what is left of finished runs, ``jobs`` processes at a time.

    Returns:
        Of runs that could not be scored, by name, why.
    """
    if not runs:
        return {}
    training = runs[0].config
    corpus = open_corpus(training.corpus, training.sample_rate).split("test")
    bank = rirs_folder(training.data.cache)
    digests = {name: scenes_hash(found) for name, found in scenes.sets.items()}
    failures: dict[str, str] = {}
    with ExitStack() as stack:
        writers: dict[tuple[str, SetName], RowWriter] = {}
        chunks: list[_Chunk] = []
        for run in runs:
            try:
                opened = {
                    name: stack.enter_context(_writer(output, run, name, digest))
                    for name, digest in digests.items()
                }
                left = _left(run, scenes.sets, opened)
                if left:
                    _check(run, scenes.sets)
            except (InputError, OSError) as error:
                failures[run.name] = str(error)
                continue
            writers |= {(run.name, name): writer for name, writer in opened.items()}
            chunks += left
        if chunks:
            every = [scene for found in scenes.sets.values() for scene in found]
            check_corpus(every, corpus)
            rooms = (scene.room for scene in every)
            RirBank(bank, training.array.build(), training.sample_rate).fill(rooms, jobs)
        setting = _Setting(training.corpus, training.sample_rate, bank)
        for scored in in_processes(
            _scorer, setting, chunks, num_workers=jobs, title=f"scoring, {_CHUNK} scenes each"
        ):
            if scored.failure is not None:
                failures[scored.run] = scored.failure
            for row in scored.rows:
                writers[scored.run, scored.set_name].add(row)
    return failures


def _writer(output: Path, run: Run, set_name: SetName, digest: str) -> RowWriter:
    checkpoint = hashlib.sha256(run.checkpoint.read_bytes()).hexdigest()
    header = RowsHeader(models={MODEL: checkpoint}, scenes=digest, systems={MODEL: METRICS})
    return RowWriter(rows_folder(output, run, set_name), header)


def _check(run: Run, sets: Mapping[SetName, Sequence[Scene]]) -> None:
    checkpoint = load_checkpoint(run.checkpoint)
    for found in sets.values():
        check_scenes(found, checkpoint)


def _left(
    run: Run,
    sets: Mapping[SetName, Sequence[Scene]],
    writers: Mapping[SetName, RowWriter],
) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    for name, scenes in sets.items():
        left = tuple(scene for scene in scenes if scene.index not in writers[name].done)
        starts = range(0, len(left), _CHUNK)
        chunks += (_Chunk(run.name, run.checkpoint, name, left[i : i + _CHUNK]) for i in starts)
    return chunks


class _Scorer:
    """Keeps the network of the run that it scores, since chunks come run by run."""

    def __init__(self, setting: _Setting) -> None:
        self.setting = setting
        self.opened: tuple[Path, SceneScorer] | None = None

    def __call__(self, chunk: _Chunk) -> _Scored:
        """Whatever goes wrong is this run's failure alone."""
        try:
            if self.opened is None or self.opened[0] != chunk.checkpoint:
                setting = self.setting
                scoring = Scoring.of_network(
                    chunk.checkpoint,
                    setting.corpus,
                    setting.sample_rate,
                    "test",
                    setting.bank,
                )
                self.opened = chunk.checkpoint, SceneScorer(scoring)
            scorer = self.opened[1]
            rows = tuple(scorer.score(scene).row for scene in chunk.scenes)
        except Exception as error:  # a broken checkpoint must not cost the other runs their rows
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            return _Scored(chunk.run, chunk.set_name, (), reason)
        return _Scored(chunk.run, chunk.set_name, rows, None)


def _scorer(setting: _Setting) -> Callable[[_Chunk], _Scored]:
    return _Scorer(setting)
