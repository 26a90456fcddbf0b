# SPDX-License-Identifier: Apache-2.0
"""A study's page, around the prose that somebody wrote beside it.

The page is made anew each time; what is written by hand stands in ``NAME-notes.md`` beside it and
is taken in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.metrics.bootstrap import RESAMPLES
from msdet.provenance import short_commit
from msdet.study import sections
from msdet.study.analysis import Findings, find
from msdet.study.config import StudyConfig
from msdet.study.markdown import table
from msdet.study.records import ROWS_NAME, SCENES_NAME, as_json, study_record, write_rows
from msdet.study.results import Results


@dataclass(frozen=True)
class MadeWith:
    """What made a page: shown on it, and kept in its JSON."""

    command: str
    versions: dict[str, str]
    git_commit: str | None
    machine: str
    jobs: int
    threads: int

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "command": self.command,
            "versions": self.versions,
            "git_commit": self.git_commit,
            "machine": {"name": self.machine, "jobs": self.jobs, "threads": self.threads},
        }


def check_results(study: StudyConfig) -> None:
    """Make the folder of the results, before hours of training.

    Raises:
        InputError: it cannot be written.
    """
    for folder in (Path(study.results).parent, Path(study.results)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = "is a file" if isinstance(error, FileExistsError) else error.strerror
            raise InputError(f"results={study.results}: {folder}: {reason}") from error


def write_report(study: StudyConfig, results: Results, made_with: MadeWith) -> Path:
    """Write page, pictures, JSON and raw rows; returns the page.

    Args:
        results: of one run at least.
    """
    page, folder = Path(f"{study.results}.md"), Path(study.results)
    found = find(study, results)
    record = study_record(found, made_with.record())
    write_rows(folder, results)
    parts = [
        _head(found, made_with),
        _notes(page),
        _methods(found),
        sections.numbers(found),
        sections.comparisons(found, folder),
        sections.by_angle(found, folder),
        sections.seam(found, folder),
        sections.opposite(found),
        sections.training(found, folder),
        sections.gradients(found, folder),
        sections.where(found),
        _making(found, made_with, folder),
    ]
    write_atomically(Path(f"{study.results}.json"), as_json(record))
    write_atomically(page, "\n".join(part for part in parts if part))
    return page


def _head(found: Findings, made_with: MadeWith) -> str:
    text = f"# {found.study.title}\n\n"
    text += f"Made by `{made_with.command}`; [how](#how-this-was-made).\n"
    if found.results.missing:
        asked = len(found.study.methods) * len(found.study.seeds)
        text += (
            f"\n**Not complete: {len(found.results.missing)} of {asked} runs are missing** and "
            "listed at the end; differences are over the seeds that both methods have.\n"
        )
    return text


def _notes(page: Path) -> str:
    notes = page.with_name(f"{page.stem}-notes.md")
    return notes.read_text(encoding="utf-8").strip() + "\n" if notes.exists() else ""


def _methods(found: Findings) -> str:
    rows = []
    for method in found.methods:
        runs = found.results.of(method)
        criterion, heads = runs[0].run.config.criterion, runs[0].run.config.model.heads
        rows.append(
            [
                found.label(method),
                f"`{criterion.assignment}`",
                " and ".join(runs[0].tasks),
                f"{criterion.weight:g}",
                "plain" if heads.guidance == "none" else f"guided: {heads.guidance}",
                ", ".join(str(run.run.seed) for run in runs),
                ", ".join(sorted({str(run.trained["examples"]) for run in runs})),
                f"{sum(run.trained['train_seconds'] for run in runs) / len(runs):.0f}",
            ]
        )
    head = ["method", "assignment", "trained for", "w", "heads", "seeds", "examples", "seconds"]
    settings = "".join(
        f"- {found.label(method)}: `{' '.join(overrides)}`\n"
        for method in found.methods
        if (overrides := found.study.methods[method].overrides)
    )
    return (
        "## Methods\n\n"
        + table(head, rows)
        + "\nSeconds: mean over seeds, with validation. All runs of a seed saw the same examples "
        f"in the same order. Settings on top of `{' '.join(found.study.base)}`:\n\n{settings}"
    )


def _making(found: Findings, made_with: MadeWith, folder: Path) -> str:
    runs = found.results.runs
    commits = sorted({short_commit(run.git_commit) for run in runs})
    seconds = sum(run.trained["train_seconds"] for run in runs)
    versions = ", ".join(f"{name} {version}" for name, version in made_with.versions.items())
    threads = f"{made_with.threads} thread{'s' if made_with.threads > 1 else ''}"
    text = (
        f"## How this was made\n\n```bash\n{made_with.command}\n```\n\n"
        f"- {len(runs)} runs, {seconds / 3600:.2g} hours of training in all; {made_with.jobs} side "
        f"by side with {threads} each, on {made_with.machine}.\n"
        f"- Trained at commit {', '.join(f'`{commit}`' for commit in commits)}. The network "
        "of the best epoch on the valid scenes is the one that is scored.\n"
        f"- Page made at commit `{short_commit(made_with.git_commit)}` with {versions}.\n"
        f"- Intervals: {RESAMPLES} resamples of seeds and of scenes, methods paired. With a "
        "handful of seeds such intervals are somewhat too narrow.\n"
        f"- Numbers: [{folder.name}.json]({folder.name}.json); raw rows: "
        f"[{ROWS_NAME}]({folder.name}/{ROWS_NAME}), [{SCENES_NAME}]({folder.name}/{SCENES_NAME}).\n"
    )
    for name, why in found.results.left_out.items():
        text += f"- Scenes of `{name}` are left out: {why}.\n"
    if found.results.missing:
        rows = [[f"`{name}`", why] for name, why in found.results.missing.items()]
        text += "\nMissing:\n\n" + table(["run", "why"], rows)
    return text
