# SPDX-License-Identifier: Apache-2.0
"""The interface of encoders, whoever wrote them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor


class Encoding(NamedTuple):
    """Features of the trunk, for the heads."""

    full: Tensor
    """``[batch, full_channels, freq, frame]``: what masks are made from"""
    bottom: Tensor
    """``[batch, bottom_channels, reduced freq, frame]``: what directions are first read from; any
    number of frequencies, also all of them"""


class Encoder(Protocol):
    """A trunk that both tasks share: a ``torch.nn.Module``.

    It is made with ``in_channels``, the channels of the features, and ``num_freqs``, their
    frequencies, beside the arguments of its config. The two tensors that it returns may be one.

    Attributes:
        full_channels, bottom_channels: of the encoding.
    """

    full_channels: int
    bottom_channels: int

    def __call__(self, features: Tensor) -> Encoding:
        """Return the encoding of features ``[batch, in_channels, freq, frame]``."""
        ...
