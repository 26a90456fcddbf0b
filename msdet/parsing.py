# SPDX-License-Identifier: Apache-2.0
"""Values of a config, checked by the pydantic model that says what they may be; and types of keys
that several configs have."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from msdet.errors import InputError, first_mistake

ConfigType = TypeVar("ConfigType", bound=BaseModel)

SampleRate = Annotated[int, Field(ge=4000, le=48000)]
"""Hertz."""

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""torch takes no larger ones."""


def parse(model: type[ConfigType], values: dict[str, Any]) -> ConfigType:
    """A checked config.

    Raises:
        InputError: one line that names the first wrong key, what it holds and what it may hold.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(first_mistake(error)) from error
