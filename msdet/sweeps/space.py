# SPDX-License-Identifier: Apache-2.0
"""What a search draws its settings from: Hydra's sweeps as Optuna's distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from msdet.errors import InputError
from msdet.sweeps.settings import values_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def distribution(override: Override) -> BaseDistribution:
    """What Optuna draws a key from: an interval, evenly spaced numbers, or a choice.

    ``range()`` leaves out its end, as everywhere in Hydra.

    Raises:
        InputError: an interval cannot be.
    """
    from optuna.distributions import CategoricalDistribution

    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None
            assert value.end is not None
            return _between(value.start, value.end, log="log" in value.tags)
        texts = values_of(override)
        if isinstance(value, RangeSweep) and not value.shuffle and len(texts) > 1:
            numbers = sorted(n for n in override.sweep_iterator() if isinstance(n, int | float))
            return _between(numbers[0], numbers[-1], step=numbers[1] - numbers[0])
        return CategoricalDistribution(list(dict.fromkeys(texts)))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{override.input_line}: {error}") from error


def _between(
    low: float, high: float, *, log: bool = False, step: float | None = None
) -> BaseDistribution:
    """Integers where both ends are."""
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log, step=round(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def ends(searched: BaseDistribution) -> list[str]:
    """Texts of all choices, or of the lowest and the highest number, and one between."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(searched, CategoricalDistribution):
        return [str(choice) for choice in searched.choices]
    assert isinstance(searched, FloatDistribution | IntDistribution)
    low, high = searched.low, searched.high
    if isinstance(searched, IntDistribution) or searched.step is not None:
        return [text_of(low), text_of(high)]
    between = low + (high - low) / math.pi  # both ends may be whole numbers where others are not
    return [text_of(number) for number in (low, between, high)]


def text_of(value: Any) -> str:
    """A drawn value as Hydra reads it."""
    return value if isinstance(value, str) else repr(value)


def described(searched: BaseDistribution) -> str:
    """All of it as JSON, to tell it from another."""
    from optuna.distributions import distribution_to_json

    return str(distribution_to_json(searched))
