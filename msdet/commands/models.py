# SPDX-License-Identifier: Apache-2.0
"""``msdet models``: list the models that ship."""

from __future__ import annotations

from typing import Any

from msdet.checkpoints import read_description
from msdet.shipped import default_model, how_many, shipped_models


def run(values: dict[str, Any]) -> None:
    """Print a line for each model: name, size, rate, speakers, array, and its card's summary."""
    models = shipped_models()
    if not models:
        print("no model ships with this version of msdet; `msdet train` makes one")
        return
    default = {default_model(linear).name: linear for linear in (True, False)}
    for model in models:
        made = read_description(model.path)
        served = "lines" if made.array.is_linear else "arrays that are no lines"
        if not made.model.frontend.any_array:
            served = "this array only"
        facts = [
            f"{model.path.stat().st_size / 1e6:.1f} MB",
            f"{made.sample_rate} Hz",
            f"{how_many(*made.trained_speakers)} speakers",
            f"trained on {made.trained_arrays}",
            f"serves {served}",
        ]
        chosen = ""
        if model.name in default:
            chosen = " (default for lines)" if default[model.name] else " (default)"
        summary = f"; {model.summary}" if model.summary else ""
        print(f"{model.name}{chosen}: {', '.join(facts)}{summary}")
