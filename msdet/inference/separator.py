# SPDX-License-Identifier: Apache-2.0
"""A recording in, speakers and directions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from msdet.audio import resample, rms
from msdet.checkpoints import Checkpoint, Description, load_checkpoint
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray

_SILENT_RMS = 1e-6


@dataclass(frozen=True)
class Separation:
    """What a model makes of a recording.

    Attributes:
        audio: float32 ``[speaker, sample]`` at the reference microphone, at ``sample_rate`` and
            at the recording's own level.
            A model trained on varying numbers of speakers gives as many as it finds, be it none.
        azimuth: float64 ``[speaker]`` degrees in the array's frame; NaN from a model that was
            trained for separation alone.
        distance: float64 ``[speaker]`` metres; None from a model without a distance head.
        posterior: float32 ``[speaker, class]``, the azimuth classes' probabilities; None of a
            model for separation alone.
    """

    audio: NDArray[np.float32]
    azimuth: NDArray[np.float64]
    distance: NDArray[np.float64] | None
    posterior: NDArray[np.float32] | None
    sample_rate: int


class Separator:
    """A trained model, ready for recordings.

    Example:
        >>> separator = msdet.load("outputs/quickstart/model.ckpt")         # doctest: +SKIP
        >>> result = separator.separate(audio, sample_rate=8000)            # doctest: +SKIP
        >>> result.audio.shape, result.azimuth                              # doctest: +SKIP
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @property
    def description(self) -> Description:
        """What the checkpoint says of itself: array, sample rate, training, metrics."""
        return self._checkpoint.description

    @torch.inference_mode()
    def separate(
        self,
        audio: ArrayLike,
        sample_rate: int,
        array: MicrophoneArray | Sequence[Sequence[float]] | None = None,
    ) -> Separation:
        """Separate and localise the speakers of one recording.

        Args:
            audio: ``[mic, sample]``, one channel per microphone, or all channels of a recording
                made by a product whose array says which of them are microphones.
            sample_rate: of ``audio``, hertz; any.
            array: the microphones: an array, or positions ``[mic][3]`` in metres; None for the
                array that the model was trained with.
        Raises:
            InputError: the recording is mono, silent, too short, holds NaN, or does not fit the
                array; or the model serves its own array only.
        """
        model, description = self._checkpoint.model, self.description
        microphones = self.microphones(array)
        channels = _check_audio(audio, sample_rate, microphones)
        native = resample(channels, sample_rate, description.sample_rate)
        if description.model.heads.guidance == "oracle":
            raise InputError(
                "this model's masks are guided by true azimuths (heads.guidance=oracle): it can be "
                "evaluated on scenes, but not separate recordings"
            )
        if native.shape[-1] < model.stft.window:
            raise InputError(
                f"audio: {channels.shape[-1]} samples at {sample_rate} Hz are too short; the model "
                f"needs at least {model.stft.window / description.sample_rate:.3f} s"
            )
        level = rms(native[description.reference_mic])
        if level < _SILENT_RMS:
            raise InputError(
                f"audio: microphone {description.reference_mic} (the reference) is silent"
            )
        output = model((native / level)[None], microphones)
        separated = resample(output.audio[0] * level, description.sample_rate, sample_rate)
        found = np.arange(model.num_slots)
        posterior, azimuth, distance = None, np.full(model.num_slots, np.nan), None
        locations = model.locate(output)
        if locations is not None:
            found = np.flatnonzero(~locations.empty[0].numpy())
            azimuth = locations.azimuth[0].double().numpy()[found]
            posterior = locations.posterior[0].numpy()[found]
        if model.distance_head is not None and output.distance is not None:
            distance = model.distance_head.decode(output.distance)[0].double().numpy()[found]
        length = channels.shape[-1]
        padded = torch.nn.functional.pad(separated, (0, max(0, length - separated.shape[-1])))
        speech = padded[found, :length].numpy()
        return Separation(speech, azimuth, distance, posterior, sample_rate)

    def microphones(
        self, array: MicrophoneArray | Sequence[Sequence[float]] | None
    ) -> MicrophoneArray:
        """The microphones that ``array`` means, as of :meth:`separate`.

        Raises:
            InputError: the model does not serve them.
        """
        trained = self.description.array
        if array is None:
            return trained
        if not isinstance(array, MicrophoneArray):
            positions = tuple(tuple(float(x) for x in point) for point in array)
            array = MicrophoneArray("custom", positions)  # type: ignore[arg-type]
        if self.description.model.frontend.name == "ri" and array.positions != trained.positions:
            raise InputError(
                f"array {array.name!r}: this model's frontend 'ri' serves only the array that it "
                f"was trained with ({trained.name!r}); the frontend 'directional' serves any"
            )
        reference = self.description.reference_mic
        if reference >= array.num_mics:
            raise InputError(
                f"array {array.name!r}: has {array.num_mics} microphones, but this model's "
                f"reference is microphone {reference}"
            )
        if array.is_linear != trained.is_linear:
            kinds = ("linear" if trained.is_linear else "not linear", array.name)
            raise InputError(
                f"array {kinds[1]!r}: this model was trained on an array that is {kinds[0]}"
            )
        return array


def _check_audio(audio: ArrayLike, sample_rate: int, array: MicrophoneArray) -> torch.Tensor:
    """The microphones' channels ``[mic, sample]`` as float32."""
    samples = np.asarray(audio)
    if samples.ndim != 2:
        raise InputError(
            f"audio: must be [mic, sample], one row a microphone, got shape {samples.shape}; "
            "a mono recording holds no directions"
        )
    if sample_rate <= 0:
        raise InputError(f"sample_rate={sample_rate}: must be positive")
    count = len(samples)
    microphones = array.microphones_of(count)
    if microphones is None:
        swapped = "; is it [sample, mic]?" if samples.shape[1] == array.num_mics else ""
        raise InputError(
            f"audio: {count} channels, but the array {array.name!r} has {array.num_mics} "
            f"microphones{swapped}"
        )
    samples = samples[list(microphones)]
    if not samples.shape[1]:
        raise InputError("audio: holds no samples")
    if not np.isfinite(samples).all():
        raise InputError("audio: holds NaN or infinite samples")
    if np.issubdtype(samples.dtype, np.unsignedinteger):
        raise InputError(f"audio: is of type {samples.dtype}; give floats or signed integers")
    if np.issubdtype(samples.dtype, np.signedinteger):  # full scale is 1, as soundfile reads it
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return torch.as_tensor(np.ascontiguousarray(samples), dtype=torch.float32)


def load(path: str | Path) -> Separator:
    """A model from a checkpoint file, ``model.ckpt`` or ``last.ckpt``.

    Raises:
        InputError: no such file, damaged, or not a checkpoint of this project.
    """
    return Separator(load_checkpoint(path))
