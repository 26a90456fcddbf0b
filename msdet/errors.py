# SPDX-License-Identifier: Apache-2.0
"""The one error that is meant for the person at the keyboard."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError


class InputError(ValueError):
    """Something that the user can mend: a file, a config key, a recording.

    The message is one line that names the file or key, says what came and what was expected.
    Commands print it without a traceback and exit with code 2.
    """


def first_mistake(error: ValidationError) -> str:
    """A validation error in one line: the first wrong key, and how many more there are."""
    errors = error.errors()
    first = errors[0]
    location = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = "" if isinstance(given, dict | list | BaseModel) else f"={given!r}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{location or error.title}{shown}: {message}{more}"
