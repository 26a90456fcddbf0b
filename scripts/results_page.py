#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A page of results for a trained model, from what its evaluations left.

``python scripts/results_page.py NAME CHECKPOINT EVALUATION ...`` writes ``docs/results/NAME.md``
and ``NAME.json``: the table of every evaluation (an output folder of ``msdet evaluate`` or ``msdet
train``) with the command that made it. The summaries of a model that ships go into
``shipped.json``, under its name, instead. The runs that led to the checkpoint, whose folders are
given by ``--runs`` or which it stands in, are shown by their curves and by what each doubling of
examples brought. Prose in ``NAME-notes.md`` is taken into the page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from msdet.checkpoints import Description, load_checkpoint
from msdet.errors import InputError
from msdet.evaluation.exports import markdown_table
from msdet.figures import COLOURS, grid_of_axes, save, styled
from msdet.files import read_json, write_atomically, write_json
from msdet.metrics.measures import MEASURES, VALIDATION
from msdet.provenance import short_commit
from msdet.resources import models_dir
from msdet.shipped import how_many

RESULTS = Path("docs/results")


def main() -> int:
    """Write the page; 2 for what the user can mend."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help="of the page")
    parser.add_argument("checkpoint", help="a file, or the name of a model that ships")
    parser.add_argument("evaluations", type=Path, nargs="+", help="folders with a summary.json")
    parser.add_argument("--runs", type=Path, nargs="*", help="folders of trainings, in their order")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the pages")
    options = parser.parse_args()
    try:
        checkpoint = load_checkpoint(options.checkpoint)
        found = [read_summary(folder) for folder in options.evaluations]
        summaries = {s["scenes"] or f"{s['split']} scenes of the training": s for s in found}
        page = options.results / f"{options.name}.md"
        runs = options.runs
        if runs is None:
            beside = checkpoint.path.parent
            runs = [beside] if (beside / "history.jsonl").exists() else []
        trainings = [training_of(run, page.with_suffix("")) for run in runs]
        numbers = write_numbers(checkpoint.path, page, summaries)
        write_atomically(page, text_of(page, checkpoint.description, summaries, trainings, numbers))
    except InputError as error:
        print(f"results_page.py: {error}", file=sys.stderr)
        return 2
    print(f"{page}: {', '.join(summaries)}")
    return 0


def read_summary(folder: Path) -> dict[str, Any]:
    """Read what an evaluation left.

    Raises:
        InputError: there is none, or it is of a version that did not say how it was made.
    """
    path = folder / "summary.json"
    summary = read_json(path, "give an evaluation's folder")
    if missing := {"systems", "command", "made_with"} - set(summary):
        raise InputError(f"{path}: lacks {', '.join(sorted(missing))}; evaluate again")
    return summary


def write_numbers(checkpoint: Path, page: Path, summaries: Mapping[str, Any]) -> Path:
    """The summaries as JSON; of a model that ships, beside those of the others that do."""
    if checkpoint.resolve().parent != models_dir().resolve():
        write_json(page.with_suffix(".json"), summaries)
        return page.with_suffix(".json")
    path = page.with_name("shipped.json")
    others = read_json(path, "take it from git") if path.exists() else {}
    write_json(path, {**others, checkpoint.stem: summaries})
    return path


def training_of(run: Path, pictures: Path) -> str:
    """A training's curves, drawn into a folder beside the page, and its doublings, as Markdown.

    Raises:
        InputError: the folder is not one of a training.
    """
    try:
        lines = (run / "history.jsonl").read_text(encoding="utf-8").splitlines()
        pictures.mkdir(parents=True, exist_ok=True)
        picture = f"{run.resolve().name}.png"
        draw_curves([json.loads(line) for line in lines], pictures / picture)
    except OSError as error:
        raise InputError(f"{run}: is not the folder of a finished training ({error})") from error
    curves = f"![Loss and scores over epochs]({pictures.name}/{picture})"
    history = doublings([json.loads(line) for line in lines])
    return f"### {run.resolve().name}\n\n{curves}\n\n{history}"


@styled
def draw_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The loss and the validation scores over the examples, as a PNG file."""
    names = ("loss", *VALIDATION[:2])
    figure, axes = grid_of_axes(1, len(names), (4.0 * len(names), 2.9))
    for place, name in zip(axes.flat, names, strict=True):
        for split, colour in (("train", COLOURS[0]), ("valid", COLOURS[1])):
            found = [row for row in history if row.get(f"{split}_{name}") is not None]
            x, y = ([row[key] for row in found] for key in ("examples", f"{split}_{name}"))
            if found:
                place.plot(x, y, color=colour, label={"train": "training"}.get(split, "validation"))
        place.set_title(MEASURES[name].heading if name in MEASURES else name)
        place.set_xlabel("examples")
    axes[0, 0].legend()
    save(figure, path)


def doublings(history: Sequence[Mapping[str, Any]]) -> str:
    """Tell in a Markdown table what each doubling of examples brought on the valid scenes."""
    epochs = [2**power for power in range(len(history).bit_length()) if 2**power <= len(history)]
    lines = [
        "| examples | minutes | SI-SDR improvement, dB | median azimuth error, deg |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for row in (history[epoch - 1] for epoch in sorted({*epochs, len(history)})):
        scores = [row[f"valid_{name}"] for name in VALIDATION[:2]]
        shown = ["" if score is None else f"{score:.2f}" for score in scores]
        minutes = f"{row['train_seconds'] / 60:.0f}"
        lines.append(f"| {row['examples']} | {minutes} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def text_of(
    page: Path,
    description: Description,
    summaries: Mapping[str, Mapping[str, Any]],
    trainings: Sequence[str],
    numbers: Path,
) -> str:
    """The page as Markdown."""
    notes = page.with_name(f"{page.stem}-notes.md")
    made = f"{made_of(description)} All numbers: [{numbers.name}]({numbers.name})."
    parts = [f"# {page.stem}\n", f"{made}\n"]
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
    if trainings:
        parts += [
            "## Training\n",
            "On the valid scenes of each run, at each doubling of its examples; of a run whose "
            "learning rate falls to zero at its end.\n",
            *trainings,
        ]
    return "\n".join(parts)


def made_of(description: Description) -> str:
    """The model in a sentence or two."""
    training = description.training
    weights = sum(p.numel() for p in description.build().parameters())
    speakers = how_many(*description.trained_speakers)
    going_on = ", going on from another model," if description.config["init_from"] else ""
    return (
        f"{weights / 1e6:.2f} M weights; {description.sample_rate} Hz; trained on "
        f"{training['examples']} mixtures of {speakers} speakers{going_on} for "
        f"{training['train_seconds']:.0f} s"
        f" (commit `{short_commit(description.git_commit)}`); outputs assigned by "
        f"`{description.assignment}`. The whole config is in the checkpoint."
    )


def made_with(found: Mapping[str, str]) -> str:
    """Commit and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in found.items() if name != "commit")
    return f"at commit `{short_commit(found['commit'])}` with {versions}."


if __name__ == "__main__":
    sys.exit(main())
