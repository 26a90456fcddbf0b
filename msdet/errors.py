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
    location = shortened(".".join(str(part) for part in first["loc"]))
    message = shortened(first["msg"].removeprefix("Value error, "), 240)
    given = first.get("input")
    shown = "" if isinstance(given, dict | list | BaseModel) else f"={shortened(repr(given))}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{location or error.title}{shown}: {message}{more}"


def shortened(text: str, most: int = 100) -> str:
    """A text in one line of so many characters at most, its middle left out where it is longer.

    >>> shortened("0123456789", 7)
    '01...89'
    """
    text = " ".join(text.split("\n"))
    if len(text) <= most:
        return text
    half = (most - 3) // 2
    return f"{text[:half]}...{text[-half:]}"
