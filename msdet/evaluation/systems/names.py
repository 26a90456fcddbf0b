# SPDX-License-Identifier: Apache-2.0
"""The names of all systems, and the choice of those that an evaluation scores.

``model`` stands for what is evaluated: each folder of estimates, and each checkpoint.
``model+NAME`` works on what it puts out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msdet.errors import InputError

MODEL, ESTIMATES = "model", "estimates"

NEW_VOICES, NEW_DIRECTIONS = ("mvdr",), ("srp_phat",)
AFTER = (*NEW_VOICES, *NEW_DIRECTIONS)
"""Steps behind a separation, named after the plus: new voices, or new directions."""

ALONE = (
    "unprocessed",
    "srp_phat",
    "music",
    "srp_mpdr",
    "delay_and_sum",
    "oracle_mvdr",
    "oracle_mask",
    "oracle_image",
)
"""Systems that need no model."""

DIRECTIONS_ALONE = ("srp_phat", "music")
"""Systems that give no audio."""

DEFAULT = (MODEL, *(f"{MODEL}+{after}" for after in AFTER), *ALONE)


def choose_systems(asked: Sequence[str] | None, models: Mapping[str, bool]) -> tuple[str, ...]:
    """The names of what is scored, in order, with every model in place of ``model``.

    Args:
        asked: names; None takes all that there can be of these models.
        models: what is evaluated, by name: whether it separates.
    Raises:
        InputError: an unknown name, or one that works on a separation of a model without any.
    """
    found: list[str] = []
    for name in DEFAULT if asked is None else asked:
        for system in _expanded(name, models):
            model, _, after = system.partition("+")
            if after and not models[model]:
                if asked is None or (name.startswith(f"{MODEL}+") and len(models) > 1):
                    continue
                raise InputError(
                    f"systems: {system!r} works on separated speakers, and {model!r} gives none"
                )
            if system not in found:
                found.append(system)
    if not found:
        raise InputError("systems: is empty; there is nothing to score")
    return tuple(found)


def _expanded(name: str, models: Mapping[str, bool]) -> tuple[str, ...]:
    base, plus, after = name.partition("+")
    if name in ALONE:
        return (name,)
    if (plus and after not in AFTER) or (base != MODEL and base not in models):
        known = [*ALONE, *models, *(f"{MODEL}+{follows}" for follows in AFTER)]
        raise InputError(f"systems: {name!r} is none of {', '.join(dict.fromkeys(known))}")
    bases = tuple(models) if base == MODEL else (base,)
    return tuple(f"{one}{plus}{after}" for one in bases)
