# SPDX-License-Identifier: Apache-2.0
"""Arrays by name, as in ``configs/array``, or from files of positions: JSON or CSV, metres."""

from __future__ import annotations

import csv
import json
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from msdet.errors import InputError
from msdet.geometry import ArrayConfig, MicrophoneArray
from msdet.resources import configs_dir

_LARGEST_METRES = 2.0
"""From the centre: phases say nothing about directions long before, and millimetres do this."""

POSITIONS = "positions"
"""The config that leaves them to its user."""


@cache
def named_arrays() -> dict[str, MicrophoneArray]:
    """The arrays of ``configs/array``, by name."""
    from omegaconf import OmegaConf
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(ArrayConfig)
    return {
        file.stem: adapter.validate_python(OmegaConf.to_container(OmegaConf.load(file))).build()
        for file in sorted((configs_dir() / "array").glob("*.yaml"))
        if file.stem != POSITIONS
    }


def find_array(name: str) -> MicrophoneArray:
    """An array by its name, or of the positions in a ``.json`` or ``.csv`` file.

    Raises:
        InputError: there is no such array; or names the file and what is wrong with it.
    """
    if name.lower().endswith((".json", ".csv")):
        return MicrophoneArray(Path(name).stem, read_positions(name))
    return named_array(name)


def named_array(name: str) -> MicrophoneArray:
    """An array by its name, never a file.

    Raises:
        InputError: there is no such array; says which there are.
    """
    named = named_arrays()
    if name not in named:
        near = get_close_matches(name, named, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"array={name}: no such array; there are {', '.join(named)}{hint}")
    return named[name]


def read_positions(path: str | Path) -> tuple[tuple[float, float, float], ...]:
    """Positions ``[mic][3]`` in metres from a file.

    JSON holds ``[[x, y, z], ...]``, alone or as ``positions`` of an object; CSV a line
    ``x,y,z`` for each microphone, after a line of names or without one.

    Raises:
        InputError: names the file and what is wrong with it, such as millimetres.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else _from_csv(text)
    except OSError as error:
        raise InputError(f"array={path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"array={path}: is not a text of microphone positions") from error
    except (ValueError, RecursionError, csv.Error) as error:
        kind = path.suffix[1:].upper()
        raise InputError(f"array={path}: is not {kind} that can be read ({error})") from error
    if isinstance(rows, dict):
        rows = rows.get("positions")
    if not isinstance(rows, list) or not rows:
        raise InputError(
            f'array={path}: expected [[x, y, z], ...] or {{"positions": [[x, y, z], ...]}}, '
            "or lines x,y,z in CSV, in metres"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != 3 or not all(map(_is_number, row)):
            raise InputError(
                f"array={path}: microphone {number}: expected three numbers x, y, z in metres "
                f"(z = 0 where all are in one plane), got {str(row)[:80]}"
            )
    positions = tuple((float(x), float(y), float(z)) for x, y, z in rows)
    try:
        check_metres(MicrophoneArray(path.stem, positions))
    except InputError as error:
        raise InputError(f"array={path}: {error}") from error
    return positions


def check_metres(array: MicrophoneArray) -> None:
    """Refuse an array so large that its unit must be another.

    Raises:
        InputError: says how far the farthest microphone is.
    """
    farthest = float(np.linalg.norm(array.as_array(), axis=1).max())
    if farthest > _LARGEST_METRES:
        raise InputError(
            f"array {array.name!r}: a microphone is {farthest:g} m from the centre; positions are "
            "in metres (divide by 1000 what is in millimetres)"
        )


def _from_csv(text: str) -> list[list[float | str]]:
    rows = [[_number(cell) for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    names = bool(rows) and not any(_is_number(cell) for cell in rows[0])
    return rows[1:] if names else rows


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _is_number(value: object) -> bool:
    # JSON has integers that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
