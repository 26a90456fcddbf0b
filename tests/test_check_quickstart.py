# SPDX-License-Identifier: Apache-2.0
"""The quickstart's verdict on itself."""

from __future__ import annotations

import json

from scripts.check_quickstart import DOCUMENTED, MEASURES, comparison


def test_what_was_documented_is_as_documented_and_half_of_it_is_not() -> None:
    [documented] = json.loads(DOCUMENTED.read_text()).values()
    lines = comparison(documented, documented)
    assert len(lines) == len(MEASURES)
    assert all(line.endswith("as documented") for line in lines)
    halved = {name: documented[name] / 2 for name in MEASURES}
    lines = comparison(halved, documented)
    assert sum("DIFFERENT" in line for line in lines) == len(MEASURES)
    assert "report it" in lines[-1]
