# SPDX-License-Identifier: Apache-2.0
"""Say whether the quickstart reached what README.md says; ``make quickstart`` runs it last."""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCUMENTED = Path(__file__).parents[1] / "docs" / "results" / "quickstart.json"
"""The evaluation that README.md takes its figures from."""

MEASURES = {
    "si_sdr_improvement_db": ("SI-SDR improvement", "dB"),
    "azimuth_error_median_deg": ("azimuth error, median", "degrees"),
}


def comparison(summary: dict, documented: dict) -> list[str]:
    """Return a line for each measure of MEASURES: what is documented, what was reached, a verdict.

    Args:
        summary, documented: as of ``summary.json``, the second with intervals.
    """
    lines, all_there = [], True
    for name, (title, unit) in MEASURES.items():
        low, high = documented["intervals"][name]
        there = low <= summary[name] <= high
        all_there &= there
        lines.append(
            f"  {title:22} README {documented[name]:.1f} ({low:.1f} to {high:.1f}) {unit}, "
            f"here {summary[name]:.1f}: {'as documented' if there else 'DIFFERENT'}"
        )
    if not all_there:
        lines.append(
            "  Other processors and other versions of PyTorch round differently, which moves these "
            "figures a little.\n  If they are far off, something is wrong: please report it with "
            "outputs/quickstart/summary.json."
        )
    return lines


if __name__ == "__main__":
    [documented] = json.loads(DOCUMENTED.read_text()).values()
    print("What this run reached, beside what README.md says (95 % intervals over scenes):")
    print("\n".join(comparison(json.loads(Path(sys.argv[1]).read_text()), documented)))
