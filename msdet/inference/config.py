# SPDX-License-Identifier: Apache-2.0
"""The settings of `msdet separate`."""

from __future__ import annotations

from math import isfinite
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from msdet.geometry import ArrayConfig
from msdet.parsing import MOST_WORKERS


class SeparateConfig(BaseModel):
    """Recordings to separate.

    Attributes:
        recording: an audio file with all microphones, a folder of such, or several of either.
        together: the files are the microphones of one recording, in this order; so are those that
            lie in one folder.
        checkpoint: a file, or the name of a model that ships; null takes the default one.
        output: folder for the speakers of one recording, or for one folder for each of several;
            null takes ``outputs/separated/``, and there the recording's name.
        array: the microphones; null takes the array of training.
        channels: which channel of the file is each microphone, counted from 0; null takes the
            array's own.
        azimuth: the speakers in these directions and no others; null puts out all.
        window_seconds: windows in which longer recordings go through the network.
        overlap: share of a window that the next one has too.
        stitching: which output of a window is whose.
        num_speakers: people in a recording, where that is known; null for as many as are found.
        max_speakers: people in a recording at most; null for as many as are found.
        exact: 32-bit floats at the recording's own level, however loud.
        picture: draw one.
        num_workers: recordings that are separated at a time, a process each; null takes one for
            each core. Each needs about a gigabyte of memory.
        device: where the network computes, as torch names it: cpu, cuda, cuda:1.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )

    recording: str | tuple[str, ...]
    together: bool
    checkpoint: str | None
    output: str | None
    array: ArrayConfig | None
    channels: tuple[int, ...] | None
    azimuth: float | tuple[float, ...] | None
    window_seconds: float = Field(gt=0, le=3600)  # minutes take gigabytes
    overlap: float = Field(gt=0, le=0.5)
    stitching: Literal["direction_and_voice", "permutation"]
    num_speakers: int | None = Field(ge=1)
    max_speakers: int | None = Field(ge=1)
    exact: bool
    picture: bool
    num_workers: int | None = Field(ge=1, le=MOST_WORKERS)
    device: str

    @field_validator("azimuth", mode="before")
    @classmethod
    def _degrees(cls, value: object) -> object:
        numbers = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(_is_finite(number) for number in numbers):
            raise ValueError("give degrees, one number or a list of them")
        return value


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
