# SPDX-License-Identifier: Apache-2.0
"""``msdet train``: a network is trained, and scored on unseen voices and rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msdet.checkpoints import read_description
from msdet.ending import tell
from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.evaluate import evaluate, print_tables
from msdet.files import write_json
from msdet.output_folder import sole_user
from msdet.parsing import parse
from msdet.training.config import TrainConfig
from msdet.training.run import fit_network, prepare, trained
from msdet.training.run_folder import (
    SUMMARY_NAME,
    is_first_process,
    is_trained,
    set_finished_aside,
)

OWN_SYSTEMS = ("unprocessed", "model", "srp_phat", "srp_mpdr")
"""Systems that a run's own evaluation scores: the network beside the classical chain.
``msdet evaluate`` has more, which takes longer."""


def run(values: dict[str, Any]) -> None:
    """Run ``msdet train``."""
    train(parse(TrainConfig, values))


def train(config: TrainConfig) -> dict[str, Any]:
    """Train, and evaluate if asked; returns what ``summary.json`` holds.

    The same config and output folder go on where a stopped run was; after a finished run the old
    folder is kept under a numbered name.

    Raises:
        InputError: something in the config cannot be done; before any work.
    """
    folder, prepared = Path(config.output), prepare(config)
    model = folder / "model.ckpt"
    if not is_first_process():
        if not is_trained(folder):
            fit_network(config, prepared, folder)
        return {}
    set_finished_aside(folder)
    with sole_user(folder):
        measured = trained(config, prepared, folder)
        if not config.evaluate:
            summary = _without_evaluation(folder, measured)
            tell(model=model, next=("evaluate", f"checkpoint={model}", *_trust(model)))
            return summary
        evaluation = EvaluationConfig(
            checkpoint=str(model),
            output=str(folder),
            systems=OWN_SYSTEMS,
            cache=config.data.cache,
            trust=True,  # they are the classes of this very config
        )
        summary = evaluate(evaluation, measured)
    print_tables(summary)
    tell(
        report=folder / "report.html",
        model=model,
        audio=folder / "audio",
        next=("separate", "RECORDING.wav", f"checkpoint={model}", *_trust(model)),
    )
    return summary


def _trust(model: Path) -> list[str]:
    return ["trust=true"] if read_description(model).own_classes else []


def _without_evaluation(folder: Path, measured: dict[str, Any]) -> dict[str, Any]:
    summary = {**measured, "valid": read_description(folder / "model.ckpt").metrics}
    write_json(folder / SUMMARY_NAME, summary)
    return summary
