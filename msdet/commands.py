# SPDX-License-Identifier: Apache-2.0
"""What the commands do with their configs; effects start here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msdet.ending import tell


def train(values: dict[str, Any]) -> None:
    """``msdet train``."""
    from msdet.config import TrainConfig, parse
    from msdet.training.run import train as run

    config = parse(TrainConfig, values)
    run(config)


def evaluate(values: dict[str, Any]) -> None:
    """``msdet evaluate``, also ``scripts/evaluate.py``."""
    from msdet.config import EvaluationConfig, parse
    from msdet.evaluation.evaluate import evaluate as run
    from msdet.evaluation.evaluate import print_tables

    config = parse(EvaluationConfig, values)
    print_tables(run(config))
    output, checkpoint = Path(config.output), config.checkpoint
    tell(
        report=output / "report.html",
        scores=output / "rows.csv",
        audio=output / "audio",
        next=()
        if checkpoint is None
        else ("separate", "RECORDING.wav", f"checkpoint={checkpoint}"),
    )


def simulate(values: dict[str, Any], dry_run: bool = False) -> None:
    """``msdet simulate``."""
    from msdet.config import SimulateConfig, parse
    from msdet.simulation.simulate import simulate as run

    run(parse(SimulateConfig, values), dry_run)


def bank(values: dict[str, Any]) -> None:
    """``msdet bank``."""
    from msdet.config import BankConfig, parse
    from msdet.simulation.make_bank import make_bank

    make_bank(parse(BankConfig, values))


def import_scenes(values: dict[str, Any]) -> None:
    """``msdet import``."""
    from msdet.config import ImportConfig, parse
    from msdet.simulation.importing import import_scenes as run

    run(parse(ImportConfig, values))


def separate(values: dict[str, Any]) -> None:
    """``msdet separate``: one WAV a speaker, ``speakers.json`` and a picture."""
    from msdet.inference.command import separate as run
    from msdet.inference.config import SeparateConfig
    from msdet.parsing import parse

    run(parse(SeparateConfig, values))


def export(values: dict[str, Any]) -> None:
    """``msdet export``: a model as one ONNX file."""
    from msdet.config import ExportConfig, parse
    from msdet.inference.export import export as run

    run(parse(ExportConfig, values))


def serve(values: dict[str, Any]) -> None:
    """``msdet serve``: the page, until Ctrl-C."""
    from msdet.parsing import parse
    from msdet.serve.command import serve as run
    from msdet.serve.config import ServeConfig

    run(parse(ServeConfig, values))
