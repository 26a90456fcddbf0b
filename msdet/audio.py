# SPDX-License-Identifier: Apache-2.0
"""Audio at the edges and between domains: files, resampling, levels, the short-time transform."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msdet.errors import InputError


class Stft(nn.Module):
    """Short-time Fourier transform with a root-Hann window of unit energy, and its inverse.

    Args:
        window, hop: samples; the window is even and at least twice the hop.

    With a window of unit energy a bin's mean power equals the signal's mean power, so that a
    loss on bins does not depend on the window's length.
    """

    taper: Tensor

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        with torch.device("cpu"):  # on the meta device this would import torch's compiler: a second
            taper = torch.hann_window(window, dtype=torch.float64).sqrt()
        self.register_buffer("taper", (taper / taper.norm()).float(), persistent=False)

    @property
    def num_freqs(self) -> int:
        return self.window // 2 + 1

    def frequencies(self, sample_rate: int) -> NDArray[np.float64]:
        """Return the centre of each bin in hertz ``[freq]``."""
        return np.arange(self.num_freqs) * sample_rate / self.window

    def forward(self, audio: Tensor) -> Tensor:
        """Transform ``[..., sample]`` to complex ``[..., freq, frame]``."""
        flat = audio.reshape(-1, audio.shape[-1])
        spectra = torch.stft(
            flat, self.window, self.hop, window=self.taper, center=True, return_complex=True
        )
        # as it comes, frames lie far apart, and products of matrices would copy them one by one
        return spectra.reshape(*audio.shape[:-1], *spectra.shape[-2:]).contiguous()

    def inverse(self, spectra: Tensor, num_samples: int) -> Tensor:
        """Transform complex ``[..., freq, frame]`` back to ``[..., sample]``."""
        flat = spectra.reshape(-1, *spectra.shape[-2:])
        audio = torch.istft(flat, self.window, self.hop, window=self.taper, length=num_samples)
        return audio.reshape(*spectra.shape[:-2], num_samples)


def read_audio(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Read an audio file as ``([channel, sample] float32, sample rate)``.

    Raises:
        InputError: the file is missing, cannot be decoded, is empty, or holds NaN or infinity.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        audio, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as audio ({error})") from error
    if not len(audio):
        raise InputError(f"{path}: holds no samples")
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: holds NaN or infinite samples")
    return np.ascontiguousarray(audio.T), int(sample_rate)


def write_audio(path: str | Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write ``[sample]`` or ``[channel, sample]`` as a 32-bit float WAV (no clipping).

    Raises:
        InputError: the file cannot be written, on a full disk, say.
    """
    import soundfile

    buffer = BytesIO()  # libsndfile does not say why a disk refuses
    soundfile.write(buffer, np.asarray(audio).T, sample_rate, subtype="FLOAT", format="WAV")
    try:
        Path(path).write_bytes(buffer.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def resample(audio: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """Resample ``[..., sample]`` between sample rates in hertz."""
    if from_rate == to_rate:
        return audio
    from torchaudio.functional import resample as torchaudio_resample

    resampled: Tensor = torchaudio_resample(audio, from_rate, to_rate)
    return resampled


def rms(audio: Tensor) -> Tensor:
    """Return the root mean square over the last axis, ``[..., sample]`` to ``[...]``."""
    return audio.square().mean(-1).sqrt()
