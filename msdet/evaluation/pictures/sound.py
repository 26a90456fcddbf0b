# SPDX-License-Identifier: Apache-2.0
"""What was separated, as spectrograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msdet.figures import grid_of_axes, save, styled

if TYPE_CHECKING:
    from matplotlib.image import AxesImage

DYNAMIC_RANGE_DB = 60.0
"""What a spectrogram shows below its loud bins."""


@styled
def spectrograms(
    mixture: ArrayLike,
    estimates: ArrayLike,
    targets: ArrayLike,
    sample_rate: int,
    path: Path,
    *,
    titles: Sequence[str] | None = None,
) -> None:
    """For each speaker a row: the mixture, what the model made of it, the target; one dB scale.

    Args:
        mixture: ``[sample]`` at the reference microphone.
        estimates, targets: ``[speaker, sample]``, each estimate beside its own target.
        titles: one per speaker, for the left of its row, such as its SI-SDR.
        path: the PNG file.
    """
    mix, est, tgt = (np.asarray(x, np.float64) for x in (mixture, estimates, targets))
    window = 1 << round(math.log2(0.032 * sample_rate))  # about 32 ms, usual for speech
    columns = [("mixture", [mix] * len(tgt)), ("estimate", list(est)), ("target", list(tgt))]
    levels = [[_level_db(signal, window) for signal in signals] for _, signals in columns]
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max(float(np.percentile(level, 99.9)) for column in levels for level in column)

    figure, axes = grid_of_axes(len(tgt), 3, (11.0, 0.6 + 2.3 * len(tgt)), share=True)
    extent = (0.0, len(mix) / sample_rate, 0.0, sample_rate / 2000)
    for column, (name, _) in enumerate(columns):
        axes[0, column].set_title(name)
        axes[-1, column].set_xlabel("time (s)")
        for row in range(len(tgt)):
            image: AxesImage = axes[row, column].imshow(
                levels[column][row] - loud,
                origin="lower",
                aspect="auto",
                extent=extent,
                cmap="magma",
                vmin=-DYNAMIC_RANGE_DB,
                vmax=0.0,
                interpolation="nearest",
            )
            axes[row, column].grid(False)
            axes[row, column].set_yticks(range(int(extent[3]) + 1)[:: 1 if extent[3] <= 4 else 2])
    for row in range(len(tgt)):
        title = titles[row] if titles else f"speaker {row + 1}"
        axes[row, 0].set_ylabel(f"{title}\nfrequency (kHz)")
    figure.colorbar(image, ax=axes, label="level (dB)", pad=0.015, aspect=30)
    save(figure, path)


def _level_db(signal: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Power in dB, ``[freq, frame]``; windows hop by a quarter."""
    hop = window // 4
    padded = np.pad(signal, (window // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[: len(signal) : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=-1).T) ** 2
    return np.asarray(10 * np.log10(power + 1e-12))
