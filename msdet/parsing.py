# SPDX-License-Identifier: Apache-2.0
"""Values of a config: checked by the pydantic model that says what they may be, and compared with
others; and types of keys that several configs have."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.errors import InputError, first_mistake

ConfigType = TypeVar("ConfigType", bound=BaseModel)

SampleRate = Annotated[int, Field(ge=4000, le=48000)]
"""Hertz."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""torch takes no larger ones."""

_LONGEST_NAME = 255
"""Bytes, on the file systems of Linux and macOS."""

MOST_WORKERS = 1000
"""Processes of one machine."""


class Config(BaseModel):
    """Settings that do not change, of known names and finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )


def parse(model: type[ConfigType], values: dict[str, Any]) -> ConfigType:
    """A checked config.

    Raises:
        InputError: one line that names the first wrong key, what it holds and what it may hold.
    """
    if (path := _unusable_text(values)) is not None:
        raise InputError(f"{path}: no file can have this name (it is too long, or holds NUL)")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(first_mistake(error)) from error


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


def _unusable_text(value: Any, path: str = "") -> str | None:
    """The key of a text that the system takes for no name of a file, whatever it is for."""
    if isinstance(value, str):
        try:
            parts = os.fsencode(value).split(b"/")
        except UnicodeEncodeError:
            return path
        return path if any(len(part) > _LONGEST_NAME or b"\0" in part for part in parts) else None
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    inner = (_unusable_text(v, f"{path}.{key}" if path else str(key)) for key, v in items)
    return next((found for found in inner if found is not None), None)
