# SPDX-License-Identifier: Apache-2.0
"""Settings that checkpoints hold, whatever version of msdet wrote them: the few keys of a training
config that are read of models, and what a network is of which a key says nothing yet."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from msdet.geometry import ArrayConfig


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", allow_inf_nan=False, coerce_numbers_to_str=True
    )


class _Speaker(_Part):
    min_angle: float = 0.0


class _Conversation(_Part):
    most_heard: int | None = None


class _Scene(_Part):
    num_speakers: tuple[int, int] | None = None
    conversation: _Conversation | None = None
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

    They mean what they mean in `TrainConfig`. A key that is not there was not there yet when the
    model was trained, or is of a model that was not made by ``msdet train``.
    """

    name: str | None = None
    init_from: str | None = None
    scene: _Scene = _Scene()
    data: _Data = _Data()


_MODEL_BEFORE = {"sharing": "hard", "slots": None, "causal": False}
_HEADS_BEFORE = {
    "separation": "mask",
    "refinements": 1,
    "refinement_blocks": 0,
    "refinement_channels": 32,
    "equaliser_blocks": 7,
    "equaliser_channels": 32,
    "dereverberations": 0,
    "combiner_blocks": 0,
    "distance": "none",
    "span": None,
    "filter_span": None,
}
"""Settings of networks from before these were keys. Today's defaults may be others."""


def as_it_was(model: Any) -> Any:
    """Return a stored network's config with the keys that it was made without.

    ``heads.beamformer`` was true or false once, when there was but one.
    """
    if not isinstance(model, dict):
        return model
    heads = model.get("heads")
    if isinstance(heads, dict):
        heads = {**_HEADS_BEFORE, **heads}
        if isinstance(was := heads.get("beamformer"), bool):
            heads["beamformer"] = "mask" if was else "none"
        model = {**model, "heads": heads}
    return {**_MODEL_BEFORE, **model}


def first_unset(config: BaseModel, place: str = "") -> str:
    """Return the first key that a config has by default alone; empty where none has."""
    for key in type(config).model_fields:
        here = f"{place}.{key}" if place else key
        if key not in config.model_fields_set:
            return here
        value = getattr(config, key)
        if isinstance(value, BaseModel) and (found := first_unset(value, here)):
            return found
    return ""
