# SPDX-License-Identifier: Apache-2.0
"""Measure the simulated rooms; write tables and pictures into docs/simulation.md.

``python scripts/verify_simulation.py [SECTION ...]`` does all sections or some, some minutes in
all on one core. Needs the extra ``test`` (rir-generator). Ends with 1 where something is out of
its tolerance. What it writes between the markers of the page is its own; the rest is the page's.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from verification.sections import SECTIONS, Check, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "simulation.md"
PICTURES = PAGE.parent / "pictures" / "simulation"


def main() -> int:
    """Run the sections, write the page, say what failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    chosen = parser.parse_args().sections or list(SECTIONS)
    if unknown := sorted(set(chosen) - set(SECTIONS)):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in chosen:
        section(name)  # a page without its place is known before the work
    failed = []
    for name in chosen:
        started = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        before, checks = SECTIONS[name](PICTURES)
        write(name, before, checks)
        failed += [f"{name}: {c.what}: {c.value:.4g} {c.unit}" for c in checks if not c.passed]
        print(f"{time.monotonic() - started:.0f} s", flush=True)
    for line in failed:
        print(f"out of tolerance: {line}", file=sys.stderr)
    return 1 if failed else 0


def write(name: str, before: str, checks: Sequence[Check]) -> None:
    """Replace what stands between the markers of a section in the page."""
    head = ["measured", "value", "allowed", "within"]
    rows = table(head, [c.cells() for c in checks]) if checks else ""
    found = section(name)
    text = found.string
    body = f"\n{before}{rows}\n"
    PAGE.write_text(text[: found.start(1)] + body + text[found.end(1) :], encoding="utf-8")


def section(name: str) -> re.Match[str]:
    """Find what stands between its markers in the page, as group 1."""
    marked = rf"<!-- measured: {name} -->\n(.*?)<!-- end -->"
    found = re.search(marked, PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise SystemExit(f"{PAGE}: expected '<!-- measured: {name} -->' and then '<!-- end -->'")
    return found


if __name__ == "__main__":
    sys.exit(main())
