# SPDX-License-Identifier: Apache-2.0
"""The one error that is meant for the person at the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel, ValidationError


class InputError(ValueError):
    """Something that the user can mend: a file, a config key, a recording.

    The message is one line that names the file or key, says what came and what was expected.
    Commands print it without a traceback and exit with code 2.
    """


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Let errors begin with the file or key, and the place in it, that they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


_PLAINLY = {
    "tuple_type": "Input should be a valid list, such as [1, 2]",
    "list_type": "Input should be a valid list, such as [1, 2]",
    "dict_type": "Input should be names with values, such as {a: 1, b: 2}",
    "string_type": "Input should be a text",
    "int_parsing_size": "Input should be a whole number of fewer digits",
}
"""pydantic's messages that speak of Python, by their types, in words for everybody."""

_TYPE_NAMES = re.compile(r"str|int|float|bool|none|(dict|tuple|list)\[.*\]|<.*>")
"""Type that was tried: pydantic puts it behind a key that may hold one of several."""


def first_mistake(error: ValidationError) -> str:
    """A validation error in one line: the first wrong key, and how many more there are."""
    told: dict[tuple[str, str], list[str]] = {}
    for mistake in error.errors():
        keys = [str(k) for k in mistake["loc"] if not _TYPE_NAMES.fullmatch(str(k))]
        given = mistake.get("input")
        shown = "" if isinstance(given, dict | list | BaseModel) else f"={shortened(repr(given))}"
        message = _PLAINLY.get(mistake["type"], mistake["msg"].removeprefix("Value error, "))
        context = mistake.get("ctx", {})
        if context.get("discriminator") == "part_tag()":
            named = re.findall(r"'([^<']*)'", context.get("expected_tags", ""))
            ours = f"name: one of {', '.join(named)}" if named else "a name"
            message = f"Input should be {ours}, or a class: _target_: my_package.MyPart"
        told.setdefault((".".join(keys), shown), []).append(message)
    (location, shown), messages = next(iter(told.items()))
    message = shortened(", or: ".join(dict.fromkeys(messages)), 240)
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    return f"{shortened(location) or error.title}{shown}: {message}{more}"


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


def in_one_line(error: BaseException) -> str:
    """Return what an error of Hydra, OmegaConf or PyYAML says, but not of their insides."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    dropped = ("Config search path", "provider=", "full_key:", "object_type=", "reference_type=")
    return "; ".join(line.rstrip(":;") for line in lines if not line.startswith(dropped))
