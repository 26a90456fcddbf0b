# SPDX-License-Identifier: Apache-2.0
"""``msdet evaluate``, also ``scripts/evaluate.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msdet.ending import tell
from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.evaluate import evaluate, print_tables
from msdet.parsing import parse


def run(values: dict[str, Any]) -> None:
    """Run ``msdet evaluate``."""
    config = parse(EvaluationConfig, values)
    print_tables(evaluate(config))
    output, checkpoint = Path(config.output), config.checkpoint
    first = checkpoint if isinstance(checkpoint, str | None) else checkpoint[0]
    trust = ["trust=true"] if config.trust else []
    tell(
        report=output / "report.html",
        scores=output / "rows.csv",
        audio=output / "audio",
        next=() if first is None else ("separate", "RECORDING.wav", f"checkpoint={first}", *trust),
    )
