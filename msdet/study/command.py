# SPDX-License-Identifier: Apache-2.0
"""``python scripts/study.py``: check, train what is left, score, and write the page."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from msdet.ending import ending
from msdet.errors import InputError
from msdet.output_folder import sole_user
from msdet.provenance import git_commit, versions
from msdet.study.config import StudyConfig, load_study
from msdet.study.grid import Run, plan
from msdet.study.page import MadeWith, check_results, write_report
from msdet.study.results import collect
from msdet.study.scenes import study_scenes
from msdet.study.scoring import score_all
from msdet.study.trainings import train_all
from msdet.workers import available_cores

_DESCRIPTION = """\
Train methods x seeds, score them on the same scenes, and write one page. The same command goes on
where a stopped one was. STUDY is a name from configs/study/ or a YAML file; KEY=VALUE changes its
keys, such as jobs=4 or 'seeds=[0,1]'."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a study; return its exit code.

    1 where a run failed, and the page says which; else as of `msdet.ending.ending`.
    """
    parser = argparse.ArgumentParser(prog="study.py", description=_DESCRIPTION)
    parser.add_argument("study", metavar="STUDY")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--dry-run", action="store_true", help="list the runs and their state")
    only.add_argument("--report-only", action="store_true", help="write the page of what is scored")
    only.add_argument("--no-training", action="store_true", help="score and report what is trained")
    options = parser.parse_intermixed_args(arguments)
    typed = shlex.join(["python", "scripts/study.py", options.study, *options.overrides])

    def command() -> int:
        study = load_study(options.study, options.overrides)
        runs = plan(study)
        if options.dry_run:
            _list(runs)
            return 0
        with sole_user(Path(study.output)):
            return _run(study, runs, typed, not options.no_training, not options.report_only)

    return ending("study.py", command)


def _run(
    study: StudyConfig, runs: Sequence[Run], command: str, training: bool, scoring: bool
) -> int:
    output = Path(study.output)
    jobs = study.jobs or available_cores()
    threads = max(1, available_cores() // jobs)
    left = [run for run in runs if run.state() != "finished"]  # refuses other runs' folders
    check_results(study)
    scenes = study_scenes(output / "scenes", study.scenes, runs[0].config)
    failures: dict[str, str] = {}
    if training and scoring and left:
        failures = train_all(left, jobs, threads, output / "logs")
    if scoring:
        finished = [run for run in runs if run.state() == "finished"]
        failures |= score_all(output, finished, scenes, jobs)
    results = collect(output, runs, scenes, failures)
    for name, why in results.missing.items():
        print(f"{name}: {why}", file=sys.stderr)
    if not results.runs:
        raise InputError(f"{output}: no run is trained and scored yet; there is nothing to report")
    made_with = MadeWith(command, versions(), git_commit(), _machine(), jobs, threads)
    page = write_report(study, results, made_with)
    Console(stderr=True, highlight=False).print(f"{len(results.runs)} runs: {page}")
    return 1 if failures else 0


def _list(runs: Sequence[Run]) -> None:
    for run in runs:
        state: str = run.state()
        if state == "unfinished":
            state += f", {run.epochs_done()} of {run.config.trainer.epochs} epochs"
        print(f"{run.name}: {state}")


def _machine() -> str:
    """The processor and its cores."""
    name = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        models = [line for line in listed.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{available_cores()} cores of {name} ({platform.system()})"
