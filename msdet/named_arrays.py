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
    except OSError as error:
        raise InputError(f"array={path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"array={path}: is not a text of microphone positions") from error
    rows = _from_json(path, text) if path.suffix.lower() == ".json" else _from_csv(path, text)
    positions = []
    for number, row in enumerate(rows):
        if not isinstance(row, list | tuple) or len(row) != 3 or not all(map(_is_number, row)):
            raise InputError(
                f"array={path}: microphone {number}: expected three numbers x, y, z in metres "
                f"(z = 0 where all are in one plane), got {str(row)[:80]}"
            )
        positions.append((float(row[0]), float(row[1]), float(row[2])))
    try:
        array = MicrophoneArray(path.stem, tuple(positions))
        check_metres(array)
    except InputError as error:
        raise InputError(f"array={path}: {error}") from error
    return tuple(positions)


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


def _from_json(path: Path, text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"array={path}: is not JSON that can be read ({error})") from error
    if isinstance(content, dict):
        content = content.get("positions")
    if not isinstance(content, list):
        raise InputError(
            f'array={path}: expected [[x, y, z], ...] or {{"positions": [[x, y, z], ...]}}, metres'
        )
    return content


def _from_csv(path: Path, text: str) -> list[Any]:
    try:
        rows: list[Any] = [row for row in csv.reader(text.splitlines()) if any(row)]
    except csv.Error as error:
        raise InputError(f"array={path}: is not CSV ({error})") from error
    found = [[_number(cell) for cell in row] for row in rows]
    if found and not any(_is_number(cell) for cell in found[0]):
        found = found[1:]  # names of the columns
    if not found:
        raise InputError(f"array={path}: holds no positions")
    return found


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _is_number(value: object) -> bool:
    # JSON has integers that no float holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
