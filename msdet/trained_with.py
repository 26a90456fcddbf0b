# SPDX-License-Identifier: Apache-2.0
"""The few keys of a checkpoint's training config that are read of models, whatever version of msdet
wrote it, each with the type that it must have."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from msdet.geometry import ArrayConfig


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, coerce_numbers_to_str=True
    )


class _Speaker(_Part):
    min_angle: float = 0.0


class _Scene(_Part):
    num_speakers: tuple[int, int] | None = None
    speaker: _Speaker = _Speaker()


class _Arrays(_Part):
    shapes: tuple[ArrayConfig, ...] = ()
    drawn: int = Field(default=0, ge=0)
    radius: tuple[float, float] = (0.0, 0.0)


class _Data(_Part):
    simulated: str | None = None
    labelled: str | None = None
    labelled_share: float | None = None
    arrays: _Arrays = _Arrays()


class TrainedWith(_Part):
    """The keys of a training config that are read of a model; the others are left alone.

    They mean what they mean in `msdet.config.TrainConfig`. A key that is not there was not there
    yet when the model was trained, or is of a model that was not made by ``msdet train``.
    """

    name: str | None = None
    init_from: str | None = None
    scene: _Scene = _Scene()
    data: _Data = _Data()
