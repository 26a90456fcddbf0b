# SPDX-License-Identifier: Apache-2.0
"""Batches: examples of one length, stacked, with the labels that they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msdet.geometry import MicrophoneArray
from msdet.tasks import Label

ALL_LABELS: frozenset[Label] = frozenset(get_args(Label))
_PLACES = ("azimuth", "elevation", "distance")


class LabelledMixture(Protocol):
    """An example of a batch: a simulated mixture, or a recording with the labels it has.

    ``mixture`` is ``[mic, sample]``; ``targets`` ``[speaker, sample]``; azimuth, elevation
    (degrees) and distance (metres) are ``[speaker]``; each is None where it is not known.
    ``track`` is ``[speaker, moment]``, the azimuth every ``msdet.moments.TRACK_SECONDS``,
    not wrapped at 360 degrees; None where all stand.
    ``array`` is what it is recorded with, None for that of the training. ``index`` tells it from
    the others of its set.
    """

    @property
    def mixture(self) -> NDArray[np.float32]: ...
    @property
    def targets(self) -> NDArray[np.float32] | None: ...
    @property
    def azimuth(self) -> NDArray[np.float32] | None: ...
    @property
    def elevation(self) -> NDArray[np.float32] | None: ...
    @property
    def distance(self) -> NDArray[np.float32] | None: ...
    @property
    def track(self) -> NDArray[np.float32] | None: ...
    @property
    def array(self) -> MicrophoneArray | None: ...
    @property
    def num_speakers(self) -> int: ...
    @property
    def index(self) -> int: ...


@dataclass(frozen=True)
class Batch:
    """Examples of one length, stacked; scenes with fewer speakers are filled up with absent ones.

    What is absent or not labelled is zero.

    Attributes:
        mixture: ``[batch, mic, sample]``. targets: ``[batch, speaker, sample]``.
        azimuth, elevation: degrees ``[batch, speaker]``. distance: metres, same shape.
        track: degrees ``[batch, speaker, moment]``, not wrapped at 360, the azimuth every
            ``msdet.moments.TRACK_SECONDS``; None where nobody walks. ``azimuth`` is that
            of the start.
        present: bool ``[batch, speaker]``, a scene's speakers first.
        has_targets, has_azimuth, has_distance: bool ``[batch]``, the examples that have such
            labels; None where all have them.
        index: the scene's index in its split, int64 ``[batch]``.
        array: what all of them are recorded with; None for the array of the training.
    """

    mixture: Tensor
    targets: Tensor
    azimuth: Tensor
    elevation: Tensor
    distance: Tensor
    present: Tensor
    index: Tensor
    has_targets: Tensor | None = None
    has_azimuth: Tensor | None = None
    has_distance: Tensor | None = None
    track: Tensor | None = None
    array: MicrophoneArray | None = None

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        return self._each(Tensor.pin_memory)

    def _each(self, act: Callable[[Tensor], Tensor]) -> Batch:
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        tensors: dict[str, Any] = {n: act(v) for n, v in values.items() if isinstance(v, Tensor)}
        return replace(self, **tensors)

    @staticmethod
    def stack(examples: Sequence[LabelledMixture], num_speakers: int | None = None) -> Batch:
        """Stack examples.

        Args:
            num_speakers: of the batch; None takes the most that an example has, or 1.
        Raises:
            ValueError: they are recorded with different arrays.
        """
        arrays = {e.array.positions: e.array for e in examples if e.array is not None}
        if len(arrays) > 1:
            raise ValueError("examples of one batch must be recorded with one array")
        width = num_speakers or max(1, *(e.num_speakers for e in examples))
        samples = examples[0].mixture.shape[-1]
        size = len(examples)
        targets = np.zeros((size, width, samples), np.float32)
        places = {name: np.zeros((size, width), np.float32) for name in _PLACES}
        present = np.zeros((size, width), np.bool_)
        for i, example in enumerate(examples):
            present[i, : example.num_speakers] = True
            if example.targets is not None:
                targets[i, : example.num_speakers] = example.targets
            for name, values in places.items():
                if (found := getattr(example, name)) is not None:
                    values[i, : example.num_speakers] = found
        labelled = {
            f"has_{name}": torch.tensor([getattr(e, name) is not None for e in examples])
            for name in ("targets", "azimuth", "distance")
            if any(getattr(e, name) is None for e in examples)
        }
        return Batch(
            mixture=torch.from_numpy(np.stack([e.mixture for e in examples])),
            targets=torch.from_numpy(targets),
            **{name: torch.from_numpy(values) for name, values in places.items()},
            present=torch.from_numpy(present),
            **labelled,
            index=torch.tensor([e.index for e in examples]),
            track=_tracks(examples, width),
            array=next(iter(arrays.values()), None),
        )


def _tracks(examples: Sequence[LabelledMixture], width: int) -> Tensor | None:
    """Azimuths ``[batch, speaker, moment]``; None where nobody walks."""
    moments = max((e.track.shape[1] for e in examples if e.track is not None), default=None)
    if moments is None:
        return None
    tracks = np.zeros((len(examples), width, moments), np.float32)
    for example, track in zip(examples, tracks, strict=True):
        if example.track is not None:
            track[: example.num_speakers] = example.track
        elif example.azimuth is not None:
            track[: example.num_speakers] = example.azimuth[:, None]
    return torch.from_numpy(tracks)
