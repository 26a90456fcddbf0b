# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a config are told in one line of plain words."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from msdet.errors import first_mistake


class Config(BaseModel):
    count: int = 0
    both: tuple[int, int] = (1, 2)
    folders: str | dict[str, str] = ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"both": 3}, "both=3: Input should be a valid list, such as [1, 2]"),
        ({"count": "9" * 5000}, "Input should be a whole number of fewer digits"),
        (
            {"folders": ["a"]},
            "folders: Input should be a text, or: Input should be names with values, such as "
            "{a: 1, b: 2}",
        ),
        ({"folders": {"a": 1}}, "folders: Input should be a text (and 1 more)"),
        ({"both": 3, "count": "x"}, "(and 1 more)"),
    ],
)
def test_a_mistake_names_the_key_and_no_type_of_python(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(given)
    line = first_mistake(caught.value)
    assert told in line
    assert len(line) < 300
    assert "tuple" not in line
    assert ".str" not in line
