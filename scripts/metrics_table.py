# SPDX-License-Identifier: Apache-2.0
"""Writes the table of metrics into docs/evaluation.md, from the registry of measures."""

from __future__ import annotations

from pathlib import Path

from msdet.files import write_atomically
from msdet.metrics.measures import METRICS
from msdet.metrics.metric import say

PAGE = Path(__file__).resolve().parent.parent / "docs" / "evaluation.md"
START, END = "<!-- metrics: scripts/metrics_table.py -->\n", "<!-- end of metrics -->\n"


def table() -> str:
    """A line for each metric: name, title, unit, which way is better, and what it needs."""
    lines = ["| `metrics=` | | unit | better | computed |", "| --- | --- | --- | --- | --- |"]
    for name, metric in METRICS.items():
        rates = [rate for rate in (8000, 16000) if say(metric, "by_default")(rate)]
        when = {0: "on request", 1: "below 16 kHz" if rates == [8000] else "from 16 kHz"}
        computed = when.get(len(rates), "always" if name == "si_sdr" else "by default")
        if packages := say(metric, "packages"):
            computed += f", needs `{'`, `'.join(packages)}`"
        better = "higher" if say(metric, "higher_is_better") else "lower"
        unit = say(metric, "unit")
        lines.append(f"| `{name}` | {say(metric, 'title')} | {unit} | {better} | {computed} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with its table made anew."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    write_atomically(PAGE, with_table(PAGE.read_text(encoding="utf-8")))
