# SPDX-License-Identifier: Apache-2.0
"""Labels of directions over time: where each speaker is at each moment at which one is heard."""

from __future__ import annotations

import torch
from torch import Tensor

from msdet.datasets import Batch
from msdet.models.msdet import MSDET
from msdet.moments import TRACK_SECONDS

_HEARD = 1e-3
"""A speaker is heard in a span with this share of the energy of that speaker's loudest: -30 dB."""


@torch.no_grad()
def track_of(model: MSDET, batch: Batch) -> Tensor:
    """Return degrees ``[batch, speaker, moment]``, NaN where a speaker is not heard.

    A moment stands for the span around it that the network reads. Of examples without targets it is
    not known who is heard: there, all are.
    """
    energy = model.stft(batch.targets).abs().square().sum(dim=2)
    energy = model.timeline(energy.shape[-1], model.config.heads.span).mean(energy)
    heard = energy > _HEARD * energy.amax(-1, keepdim=True)
    if batch.has_targets is not None:
        heard |= ~batch.has_targets[:, None, None]
    heard &= batch.present[..., None]
    azimuth = batch.azimuth[..., None].expand(heard.shape)
    if batch.track is not None:
        seconds = torch.arange(heard.shape[-1]) * model.track_seconds
        azimuth = _at(batch.track, seconds.to(batch.track) / TRACK_SECONDS)
    return azimuth.masked_fill(~heard, torch.nan)


def _at(track: Tensor, moments: Tensor) -> Tensor:
    """Return a track in degrees ``[..., known]`` at other moments, linearly between the known ones,
    degrees from 0 to 360 ``[..., moment]``.

    Args:
        moments: in units of the time between two known ones ``[moment]``.
    """
    before = moments.long().clamp_max(track.shape[-1] - 2)
    share = moments - before
    return (track[..., before] * (1 - share) + track[..., before + 1] * share).remainder(360.0)
