# SPDX-License-Identifier: Apache-2.0
"""The space of a search: Hydra's sweeps as Optuna's distributions."""

from __future__ import annotations

import math
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from msdet.errors import InputError
from msdet.sweeps.settings import values_of


def distribution(override: Override) -> BaseDistribution:
    """Return what Optuna draws a key from: an interval, evenly spaced numbers, or a choice.

    ``range()`` leaves out its end, as everywhere in Hydra.

    Raises:
        InputError: an interval cannot be.
    """
    value: Any = override.value()
    try:
        if isinstance(value, IntervalSweep):
            low, high, tags = value.start, value.end, value.tags
            whole = {type(low), type(high)} == {int}
            kind: Any = IntDistribution if whole else FloatDistribution
            return kind(low, high, log="log" in tags)  # type: ignore[no-any-return]
        texts = values_of(override)
        if isinstance(value, RangeSweep) and not value.shuffle and len(texts) > 1:
            numbers = sorted(float(text) for text in texts)
            low, high, step = numbers[0], numbers[-1], numbers[1] - numbers[0]
            if all(number.is_integer() for number in (low, step)):
                return IntDistribution(int(low), int(high), step=int(step))
            return FloatDistribution(low, high, step=step)
        return CategoricalDistribution(texts)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{override.input_line}: {error}") from error


def ends(searched: BaseDistribution) -> list[str]:
    """Return all choices, or the lowest and the highest number and one between, as texts."""
    if isinstance(searched, CategoricalDistribution):
        return [str(choice) for choice in searched.choices]
    assert isinstance(searched, FloatDistribution | IntDistribution)
    low, high = searched.low, searched.high
    if isinstance(searched, IntDistribution) or searched.step is not None:
        return [text_of(low), text_of(high)]
    between = low + (high - low) / math.pi  # both ends may be whole numbers where others are not
    return [text_of(number) for number in (low, between, high)]


def text_of(value: Any) -> str:
    """Return a drawn value as Hydra reads it."""
    return value if isinstance(value, str) else repr(value)
