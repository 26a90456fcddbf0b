# SPDX-License-Identifier: Apache-2.0
"""Sound and spectrograms as ``data:`` URIs, so that a page needs no file beside it."""

from __future__ import annotations

import base64
import math
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

PEAK = 0.9
"""Level of the loudest sample of a scene. Not 1: MP3 overshoots what it was given."""

DYNAMIC_RANGE_DB = 60.0
"""Range of levels that a spectrogram shows, below its loud bins."""

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_MP3_COMPRESSION = 0.3  # about 40 kbit/s for speech at 16 kHz, where LAME hides what it drops
_WIDTH, _HEIGHT = 240, 96
_LEVELS = 48  # colours of a spectrogram: a file half the size of 256, and no step to be seen


def audio_uri(samples: NDArray[Any], sample_rate: int) -> str:
    """``[sample]`` in -1 to 1: MP3 where this libsndfile and the rate allow, else 16-bit WAV."""
    import soundfile

    buffer = BytesIO()
    clipped = np.clip(np.asarray(samples, np.float32), -1.0, 1.0)
    if "MP3" in soundfile.available_formats() and sample_rate in _MP3_RATES:
        soundfile.write(
            buffer,
            clipped,
            sample_rate,
            format="MP3",
            compression_level=_MP3_COMPRESSION,
            bitrate_mode="VARIABLE",
        )
        return _uri("audio/mpeg", buffer.getvalue())
    soundfile.write(buffer, clipped, sample_rate, format="WAV", subtype="PCM_16")
    return _uri("audio/wav", buffer.getvalue())


def common_gain(*signals: NDArray[Any]) -> float:
    """Return the gain that brings the loudest sample of all to ``PEAK``."""
    loudest = max(
        (float(np.abs(np.nan_to_num(s)).max()) for s in signals if np.size(s)), default=0.0
    )
    return PEAK / loudest if loudest > 0 else 1.0


def levels_db(samples: NDArray[Any], sample_rate: int) -> NDArray[np.float64]:
    """Level of each bin ``[freq, frame]``, at most ``_HEIGHT`` x ``_WIDTH`` of them."""
    window = 1 << max(4, round(math.log2(0.032 * sample_rate)))  # about 32 ms, usual for speech
    padded = np.pad(np.nan_to_num(np.asarray(samples, np.float64)), window // 2)
    starts = np.linspace(0, max(len(padded) - window, 0), _WIDTH).round().astype(int)
    frames = np.stack([np.resize(padded[start : start + window], window) for start in starts])
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)[:, 1:]) ** 2
    rows = np.array_split(power, min(_HEIGHT, power.shape[1]), axis=1)
    return 10.0 * np.log10(np.stack([r.mean(axis=1) for r in rows]) + 1e-12)


def spectrogram_uri(levels: NDArray[np.float64], loud: float) -> str:
    """A PNG of ``[freq, frame]`` in dB, low frequencies at the bottom; ``loud`` is the lightest."""
    from PIL import Image

    share = np.clip((levels - loud) / DYNAMIC_RANGE_DB + 1.0, 0.0, 1.0)
    image = Image.fromarray(np.round(share[::-1] * (_LEVELS - 1)).astype(np.uint8), mode="P")
    image.putpalette(_palette())
    buffer = BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


@cache
def _palette() -> bytes:
    from matplotlib import colormaps

    colours = colormaps["magma"](np.linspace(0.0, 1.0, _LEVELS))[:, :3]
    return np.round(colours * 255).astype(np.uint8).tobytes()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
