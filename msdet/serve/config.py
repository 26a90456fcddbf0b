# SPDX-License-Identifier: Apache-2.0
"""The settings of `msdet serve`."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class ServeConfig(BaseModel):
    """The local page.

    Attributes:
        checkpoint: a file, or the name of a model that ships; null takes the default one.
        host: address of this machine that the page is at. allow_remote: whether that may be one
            that other machines reach.
        max_megabytes, max_minutes: longest recording, as a file and as sound.
        max_stored_megabytes: of all uploads and results together; the oldest are deleted first.
        max_job_seconds: time for one separation, with the rendering of its scene.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )

    checkpoint: str | None
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    allow_remote: bool
    max_megabytes: float = Field(gt=0)
    max_minutes: float = Field(gt=0)
    max_stored_megabytes: float = Field(gt=0)
    max_job_seconds: float = Field(gt=0)

    @field_validator("max_stored_megabytes")
    @classmethod
    def _holds_a_file(cls, stored: float, others: ValidationInfo) -> float:
        one = others.data.get("max_megabytes", 0.0)
        if stored < one:
            raise ValueError(f"holds no file of max_megabytes={one:g}; give at least that")
        return stored


def is_loopback(host: str) -> bool:
    """Return whether an address or name is of this machine and reaches no other."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
