# SPDX-License-Identifier: Apache-2.0
"""What the commands do with their configs; effects start here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msdet.config import (
    BankConfig,
    EvaluationConfig,
    ExportConfig,
    ImportConfig,
    SeparateConfig,
    SimulateConfig,
    TrainConfig,
    parse,
)
from msdet.errors import InputError


def train(values: dict[str, Any]) -> None:
    """``msdet train``."""
    from msdet.training.run import train as run

    config = parse(TrainConfig, values)
    run(config)


def evaluate(values: dict[str, Any]) -> None:
    """``msdet evaluate``, also ``scripts/evaluate.py``."""
    from msdet.evaluation.evaluate import evaluate as run
    from msdet.evaluation.evaluate import print_tables

    print_tables(run(parse(EvaluationConfig, values)))


def simulate(values: dict[str, Any], dry_run: bool = False) -> None:
    """``msdet simulate``."""
    from msdet.simulation.simulate import simulate as run

    run(parse(SimulateConfig, values), dry_run)


def bank(values: dict[str, Any]) -> None:
    """``msdet bank``."""
    from msdet.simulation.make_bank import make_bank

    make_bank(parse(BankConfig, values))


def import_scenes(values: dict[str, Any]) -> None:
    """``msdet import``."""
    from msdet.simulation.importing import import_scenes as run

    run(parse(ImportConfig, values))


def separate(values: dict[str, Any]) -> None:
    """``msdet separate``: one WAV a speaker, and ``directions.json``."""
    from msdet.audio import read_audio, write_audio
    from msdet.inference.separator import load

    config = parse(SeparateConfig, values)
    default = Path("outputs", "separated", Path(config.recording).stem)
    folder = default if config.output is None else Path(config.output)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"output={folder}: is not empty; name another folder")
    separator = load(config.checkpoint)
    array = config.array.build() if config.array else None
    audio, sample_rate = read_audio(config.recording)
    try:
        result = separator.separate(audio, sample_rate, array)
    except InputError as error:
        raise InputError(f"recording={config.recording}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    speakers = []
    for number, (speech, azimuth) in enumerate(zip(result.audio, result.azimuth, strict=True), 1):
        name = f"speaker{number}.wav"
        write_audio(folder / name, speech, sample_rate)
        known = None if azimuth != azimuth else round(float(azimuth), 1)
        speakers.append({"file": name, "azimuth_deg": known})
        if result.distance is not None:
            speakers[-1]["distance_m"] = round(float(result.distance[number - 1]), 2)
        where = "" if known is None else f" at {known:.1f} degrees"
        print(f"{folder / name}: speaker {number}{where}")
    if not speakers:
        print(f"{config.recording}: the model finds no speaker in it")
    content = {"recording": config.recording, "sample_rate": sample_rate, "speakers": speakers}
    (folder / "directions.json").write_text(json.dumps(content, indent=2) + "\n")


def export(values: dict[str, Any]) -> None:
    """``msdet export``: a model as one ONNX file."""
    from msdet.inference.export import export as run

    run(parse(ExportConfig, values))
