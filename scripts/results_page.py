#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A page of results for a trained model, from what its evaluations left.

``python scripts/results_page.py NAME CHECKPOINT EVALUATION ...`` writes ``docs/results/NAME.md``
and ``NAME.json``: the table of every evaluation (an output folder of ``msdet evaluate`` or ``msdet
train``) with the command that made it, and the training's curves where the checkpoint stands in
its run's folder. Prose in ``NAME-notes.md`` is taken into the page.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msdet.checkpoints import Description, load_checkpoint
from msdet.errors import InputError
from msdet.evaluation.exports import markdown_table
from msdet.files import write_atomically, write_json

RESULTS = Path("docs/results")


def main() -> int:
    """Write the page; 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help="of the page")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("evaluations", type=Path, nargs="+", help="folders with a summary.json")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the pages")
    options = parser.parse_args()
    try:
        description = load_checkpoint(options.checkpoint).description
        summaries = {}
        for folder in options.evaluations:
            summary = read_summary(folder)
            summaries[str(summary["scenes"] or f"{summary['split']} scenes of the training")] = (
                summary
            )
        page = options.results / f"{options.name}.md"
        curves = options.checkpoint.parent / "pictures" / "training.png"
        if curves.exists():
            (options.results / options.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(curves, options.results / options.name / curves.name)
        write_json(page.with_suffix(".json"), summaries)
        write_atomically(page, text_of(options.name, description, summaries, curves.exists(), page))
    except InputError as error:
        print(f"results_page.py: {error}", file=sys.stderr)
        return 2
    print(f"{page}: {', '.join(summaries)}")
    return 0


def read_summary(folder: Path) -> dict[str, Any]:
    """What an evaluation left.

    Raises:
        InputError: there is none, or it is of a version that did not say how it was made.
    """
    path = folder / "summary.json"
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); give an evaluation's folder"
        ) from error
    if missing := {"systems", "command", "made_with"} - set(summary):
        raise InputError(f"{path}: lacks {', '.join(sorted(missing))}; evaluate again")
    return summary


def text_of(
    name: str,
    description: Description,
    summaries: Mapping[str, Mapping[str, Any]],
    curves: bool,
    page: Path,
) -> str:
    """The page as Markdown."""
    notes = page.with_name(f"{page.stem}-notes.md")
    parts = [f"# {name}\n", f"{made_of(description)}\n"]
    if notes.exists():
        parts.append(notes.read_text(encoding="utf-8"))
    for scenes, summary in summaries.items():
        parts += [
            f"## {scenes}\n",
            f"{summary['num_scenes']} scenes, {summary['num_speakers']} speakers; 95 % intervals "
            "over scenes.\n",
            markdown_table(summary["systems"]),
            f"Made by `{summary['command']}` {made_with(summary['made_with'])}\n",
        ]
    if curves:
        parts += ["## Training\n", f"![Loss and scores over epochs]({name}/training.png)\n"]
    return "\n".join(parts)


def made_of(description: Description) -> str:
    """The model in a sentence or two."""
    training, weights = (
        description.training,
        sum(p.numel() for p in description.build().parameters()),
    )
    fewest, most = description.config["scene"]["num_speakers"]
    speakers = str(most) if fewest == most else f"{fewest} to {most}"
    return (
        f"{weights / 1e6:.2f} M weights; {description.sample_rate} Hz; trained on "
        f"{training['examples']} mixtures of {speakers} speakers for "
        f"{training['train_seconds']:.0f} s"
        f" (commit `{(description.git_commit or 'unknown')[:12]}`); outputs assigned by "
        f"`{description.assignment}`. The whole config is in the checkpoint."
    )


def made_with(found: Mapping[str, str]) -> str:
    """Commit and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if name != "commit")
    return f"at commit `{found['commit'][:12]}` with {versions}."


if __name__ == "__main__":
    sys.exit(main())
