# SPDX-License-Identifier: Apache-2.0
"""Parts of a user's own: a config names a class in place of one of msdet's, in Hydra's way.

``model.encoder={_target_: my_package.Narrow, width: 8}`` makes ``my_package.Narrow(width=8, ...)``
by Hydra's ``instantiate``, with what the part's place gives it besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_serializer,
)

from msdet.errors import InputError, shortened

Name = TypeVar("Name")

TARGET = "_target_"


class OwnPart(BaseModel):
    """A class (or function) and its arguments, as Hydra's ``instantiate`` takes them.

    Attributes:
        target: dotted path of the class, ``_target_`` in a config. All other keys are arguments;
            those that hold a ``_target_`` are made first.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    target: str = Field(alias=TARGET)

    @field_validator("target")
    @classmethod
    def _has_a_module(cls, target: str) -> str:
        names = target.split(".")
        if len(names) < 2 or not all(map(str.isidentifier, names)):
            raise ValueError("should be a class and its module, such as my_package.MyPart")
        return target

    @property
    def arguments(self) -> dict[str, Any]:
        """All keys but the class."""
        return dict(self.__pydantic_extra__ or {})

    def __str__(self) -> str:
        return self.target

    @property
    def part(self) -> OwnPart:
        """The class with its arguments, without keys that are its place's."""
        return OwnPart.model_validate({TARGET: self.target, **self.arguments})

    @model_serializer
    def _as_hydra_reads_it(self) -> dict[str, Any]:
        return {TARGET: self.target, **self.arguments}


Own = Annotated[OwnPart, Tag("<class>")]
"""For unions with parts of msdet's own, told apart by :func:`part_tag`."""


def part_tag(value: Any) -> str | None:
    """Return the tag of a part in a config: ``<class>``, ``<name>`` of a text, else its ``name``.

    Tags in angle brackets are left out of messages (`msdet.errors.first_mistake`).
    """
    if isinstance(value, str):
        return "<name>"
    if isinstance(value, OwnPart) or (isinstance(value, dict) and TARGET in value):
        return "<class>"
    found = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return None if found is None else str(found)


NameOrOwn = Annotated[Annotated[Name, Tag("<name>")] | Own, Discriminator(part_tag)]
"""A part of ours by its name, as ``NameOrOwn[Literal["l1"]]``, or a class."""


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


def build_module(part: OwnPart, key: str, attributes: Sequence[str] = (), **context: Any) -> Any:
    """Make a part of a network, a ``torch.nn.Module``.

    Args:
        attributes: whole numbers above 0 that it must say of itself.
    Raises:
        InputError: as of :func:`build`; or it is no ``torch.nn.Module``, or does not say them.
    """
    from torch import nn

    made = build(part, key, **context)
    if not isinstance(made, nn.Module):
        raise InputError(f"{key}: {part.target} is no torch.nn.Module ({type(made).__name__})")
    for name in attributes:
        value = getattr(made, name, None)
        if not isinstance(value, int) or value < 1:
            raise InputError(
                f"{key}: {part.target} must have {name}, a whole number above 0 (it has {value!r})"
            )
    return made


def own_targets(values: Any) -> Iterator[str]:
    """Yield the classes that settings name, at any depth."""
    if isinstance(values, dict):
        if isinstance(values.get(TARGET), str):
            yield values[TARGET]
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from own_targets(value)
