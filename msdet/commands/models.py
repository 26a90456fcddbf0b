# SPDX-License-Identifier: Apache-2.0
"""``msdet models``: what ships."""

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
    default = default_model().name
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
        chosen = " (default)" if model.name == default else ""
        summary = f"; {model.summary}" if model.summary else ""
        print(f"{model.name}{chosen}: {', '.join(facts)}{summary}")
