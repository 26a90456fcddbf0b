# SPDX-License-Identifier: Apache-2.0
"""Parts of a user's own, named by their class."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from msdet.errors import InputError
from msdet.parts import OwnPart, build, own_targets


def part(**values: object) -> OwnPart:
    return TypeAdapter(OwnPart).validate_python(values)


def test_a_part_is_made_with_its_arguments_and_what_its_place_gives() -> None:
    made = build(part(_target_="fractions.Fraction", numerator=3), "key", denominator=4)
    assert (made.numerator, made.denominator) == (3, 4)


def test_parts_within_parts_are_made_first() -> None:
    inner = {"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}
    made = build(part(_target_="fractions.Fraction", numerator=inner), "key", denominator=4)
    assert made.denominator == 8


def test_a_config_comes_back_as_it_was_written() -> None:
    values = {"_target_": "my.Part", "width": 8, "inner": {"_target_": "my.Other"}}
    assert part(**values).model_dump(mode="json") == values
    assert list(own_targets({"model": [values]})) == ["my.Part", "my.Other"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"_target_": "no_such_package.Part"}, "no_such_package"),
        ({"_target_": "fractions.NoSuchPart"}, "NoSuchPart"),
        ({"_target_": "fractions.Fraction", "nominator": 1}, "nominator"),
        ({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 0}, "Fraction(1, 0)"),
    ],
)
def test_what_cannot_be_made_is_told_in_a_line_with_its_key(
    values: dict[str, object], told: str
) -> None:
    with pytest.raises(InputError) as raised:
        build(part(**values), "model.encoder")
    message = str(raised.value)
    assert message.startswith("model.encoder: ")
    assert told in message
    assert "\n" not in message


@pytest.mark.parametrize("target", ["Part", "my..Part", "my.Part()", "", 3])
def test_a_class_has_a_dotted_path(target: object) -> None:
    with pytest.raises(ValidationError, match=r"class and its module|valid string"):
        part(_target_=target)
