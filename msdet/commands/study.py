# SPDX-License-Identifier: Apache-2.0
"""``msdet study``: methods are trained with several seeds, scored on the same scenes, and compared
on one page."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from msdet.ending import tell
from msdet.errors import InputError
from msdet.output_folder import sole_user
from msdet.provenance import git_commit, versions
from msdet.sweeps.bench import refuse_failures, threads_of, train_all
from msdet.sweeps.page import write_report
from msdet.sweeps.settings import search_paths
from msdet.sweeps.study import load_study, plan
from msdet.sweeps.study_scenes import study_scenes
from msdet.sweeps.study_scores import collect, how_far, score_all
from msdet.workers import available_cores


def run(overrides: Sequence[str], print_config: bool = False, flags: Collection[str] = ()) -> None:
    """Check all runs, train what is left, score, and write the page.

    Args:
        overrides: the study's name or YAML file, and ``KEY=VALUE`` on its keys.
        print_config: print the study in place of all that.
        flags: one at most: ``dry_run`` lists the runs and their state, ``report_only`` writes the
            page of what is scored, ``no_training`` scores what is trained.
    Raises:
        InputError: something is wrong, before any run; or there is nothing to report; or runs
            failed, after all others and with the page written.
    """
    if len(flags) > 1:
        raise InputError("--dry-run, --report-only, --no-training: give one of them")
    search = search_paths(overrides)
    rest = [text for text in overrides if text not in search]
    names = [text for text in rest if "=" not in text]
    if len(names) != 1:
        raise InputError(f"STUDY: needs one name or YAML file, such as main, got {names}")
    study = load_study(names[0], [text for text in rest if "=" in text])
    if print_config:
        print(OmegaConf.to_yaml(OmegaConf.create(study.model_dump(mode="json"))), end="")
        return
    runs = plan(study, search)
    if "dry_run" in flags:
        for one in runs:
            print(f"{one.name}: {how_far(one)}")
        return
    output, jobs = Path(study.output), study.jobs or available_cores()
    try:
        Path(study.results).mkdir(parents=True, exist_ok=True)  # before hours of training
    except OSError as error:
        raise InputError(f"results={study.results}: {error.strerror}") from error
    with sole_user(output):
        scenes = study_scenes(output / "scenes", study.scenes, runs[0].config)
        failures: dict[str, str] = {}
        left = [one for one in runs if one.state != "finished"]
        if left and not flags:
            epochs = sum(one.config.trainer.epochs for one in left)
            failures |= train_all(left, output / "logs", epochs=epochs, jobs=jobs)
        if "report_only" not in flags:
            finished = [one for one in runs if one.state == "finished"]
            failures |= score_all(output, finished, scenes, jobs)
        results = collect(output, runs, scenes, failures)
        for missing, why in results.missing.items():
            print(f"{missing}: {why}", file=sys.stderr)
        if not results.runs:
            raise InputError(
                f"{output}: no run is trained and scored yet; there is nothing to report"
            )
        threads = threads_of(jobs) or available_cores()
        made_with = {
            "command": shlex.join(["msdet", "study", *rest]),
            "versions": versions(),
            "git_commit": git_commit(),
            "machine": {"name": _machine(), "jobs": jobs, "threads": threads},
        }
        page = write_report(study, results, made_with)
    tell(page=page)
    refuse_failures(failures, "the page says which; the same command tries again")


def _machine() -> str:
    """Return the processor and its cores."""
    name = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        models = [line for line in listed.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{available_cores()} cores of {name} ({platform.system()})"
