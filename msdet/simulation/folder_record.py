# SPDX-License-Identifier: Apache-2.0
"""A folder's record of what its files are: written before them, and compared by whoever goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from msdet.errors import InputError, first_mistake
from msdet.files import read_json, write_atomically
from msdet.output_folder import contents
from msdet.parsing import first_difference
from msdet.simulation.config import Record

Kind = TypeVar("Kind", bound=Record)


def read_record(kind: type[Kind], path: Path) -> Kind:
    """Read a record from its file.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return kind.model_validate(read_json(path, "make it again, or choose another"))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error


def write_record(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    try:
        write_atomically(path, record.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def refuse_another(
    path: Path, wanted: Kind, noun: str, compared: Callable[[Kind], dict[str, Any]]
) -> Kind | None:
    """See that an output folder has the wanted record, or holds nothing.

    Args:
        compared: the part of a record that must be the same.
    Returns:
        The record that is there.
    Raises:
        InputError: the folder is for something else, and what the first difference is.
    """
    key = f"output={path.parent}"
    if path.exists():
        found = read_record(type(wanted), path)
        if difference := first_difference(compared(found), compared(wanted)):
            raise InputError(
                f"{key}: holds another {noun} ({difference.removeprefix('config.')}); give the "
                "settings that it was made with, or choose another output="
            )
        return found
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"{key}: is a file; name a folder")
    try:
        others = contents(path.parent)
    except OSError as error:
        raise InputError(f"{key}: cannot be read ({error.strerror})") from error
    if others:
        raise InputError(
            f"{key}: is not empty and holds no {path.name} (but {min(others).name!r}, for one); "
            "choose another output="
        )
    return None
