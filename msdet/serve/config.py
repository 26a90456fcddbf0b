# SPDX-License-Identifier: Apache-2.0
"""The settings of `msdet serve`."""

from __future__ import annotations

import ipaddress

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class ServeConfig(BaseModel):
    """The local page.

    Attributes:
        checkpoint: `model.ckpt`, or the name of a model that ships; null takes the default one.
        host: address of this machine that the page is at; the default is out of reach of others.
        port: of this address.
        allow_remote: `host` may be an address that others reach; the page asks nobody for a
            password.
        max_megabytes: largest file.
        max_minutes: longest recording.
        max_stored_megabytes: all uploads and results together; the oldest are deleted first.
        max_job_seconds: a separation that takes longer, with the rendering of its scene, is given
            up.
        trust: import and run classes outside msdet that the checkpoint names; only for checkpoints
            of people whom you trust.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )

    checkpoint: str | None = None
    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=7860, ge=1, le=65535)
    allow_remote: bool = False
    max_megabytes: float = Field(default=200, gt=0)
    max_minutes: float = Field(default=10, gt=0)
    max_stored_megabytes: float = Field(default=2000, gt=0)
    max_job_seconds: float = Field(default=300, gt=0)
    trust: bool = False

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
