# SPDX-License-Identifier: Apache-2.0
"""What tells one set of settings from another, in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def first_difference(
    found: Any, wanted: Any, ignore: Collection[str] = (), *, where: str = ""
) -> str:
    """The first key that differs and both values; empty where none does.

    Args:
        found, wanted: nested mappings, as from a config's ``model_dump``.
        ignore: keys, with dots between levels, that do not matter, nor what is below them.
    """
    if where in ignore:
        return ""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            inner = f"{where}.{key}" if where else str(key)
            if difference := first_difference(found.get(key), wanted.get(key), ignore, where=inner):
                return difference
        return ""
    return "" if found == wanted else f"{where} was {found!r}, is {wanted!r}"
