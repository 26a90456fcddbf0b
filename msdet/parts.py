# SPDX-License-Identifier: Apache-2.0
"""Parts of a user's own: a config names a class in place of one of msdet's, in Hydra's way.

``model.encoder={_target_: my_package.Narrow, width: 8}`` makes ``my_package.Narrow(width=8, ...)``
by Hydra's ``instantiate``, with what the part's place gives it besides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Tag, model_serializer

from msdet.errors import InputError, shortened

TARGET = "_target_"


class OwnPart(BaseModel):
    """A class (or function) and its arguments, as Hydra's ``instantiate`` takes them.

    Attributes:
        target: dotted path of the class, ``_target_`` in a config. All other keys are arguments;
            those that hold a ``_target_`` are made first.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    target: str = Field(alias=TARGET, pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")

    @model_serializer
    def _as_hydra_reads_it(self) -> dict[str, Any]:
        return {TARGET: self.target, **(self.__pydantic_extra__ or {})}


Own = Annotated[OwnPart, Tag("own")]
"""For unions with parts of msdet's own, told apart by :func:`part_tag`."""


def part_tag(value: Any) -> str | None:
    """Return the tag of a part in a config: ``own`` for a class, else its ``name``.

    A part that is given by its name alone, a string, has the tag ``name``.
    """
    if isinstance(value, str):
        return "name"
    if isinstance(value, OwnPart) or (isinstance(value, dict) and TARGET in value):
        return "own"
    found = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return None if found is None else str(found)


def build(part: OwnPart, key: str, *arguments: Any, **context: Any) -> Any:
    """Make a part.

    Args:
        key: of the config, for messages. arguments, context: what the part's place gives it.
    Raises:
        InputError: the class does not import, or does not take these arguments; names the key.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(part.model_dump(), *arguments, **context, _convert_="all")
    except InstantiationException as error:
        why = error.__cause__ or error
        if isinstance(why, InputError):
            raise InputError(f"{key}: {part.target}: {why}") from error
        # Hydra says which class, and wraps what it raised, or why it does not import.
        lines = [line.strip() for line in str(why).splitlines() if line.strip()]
        told = shortened(" ".join(lines) or type(why).__name__, 240)
        raise InputError(f"{key}: {part.target} cannot be made ({told})") from error


def own_targets(values: Any) -> Iterator[str]:
    """Yield the classes that settings name, at any depth."""
    if isinstance(values, dict):
        if isinstance(values.get(TARGET), str):
            yield values[TARGET]
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from own_targets(value)
