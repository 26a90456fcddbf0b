# SPDX-License-Identifier: Apache-2.0
"""DNSMOS: what a network thinks that listeners would say; needs no target."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from msdet.metrics.metric import Metric, SceneTruth, Signal, at_speech_level, resampled

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_RATE = 16000
_SECONDS = 9.01
_POLYNOMIAL = (-0.06766283, 1.11546468, 0.04602535)  # raw to overall MOS, of its authors


def dnsmos(signal: Signal, sample_rate: int) -> float:
    """Overall MOS of DNSMOS P.835 (Reddy et al., arXiv 2110.01763), about 1 to 5; no target needed.

    As in its authors' package speechmos: shorter signals are repeated, longer ones averaged over
    windows that start a second apart. Audio below 16 kHz is scored for the band that it lacks.
    The weights are that package's; its own code would need librosa, and take every core.
    """
    audio = at_speech_level(resampled(signal, sample_rate, _RATE))
    length = int(_SECONDS * _RATE)
    while len(audio) < length:
        audio = np.concatenate([audio, audio])
    starts = range(0, len(audio) - length + 1, _RATE)
    network = _network()
    raw = [network.run(None, {"input_1": audio[None, i : i + length]})[0][0, 2] for i in starts]
    return float(np.polyval(_POLYNOMIAL, np.asarray(raw, np.float64)).mean())


@cache
def _network() -> InferenceSession:
    from importlib.resources import as_file, files

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a process has one core
    with as_file(files("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx") as path:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Dnsmos(Metric):
    name, title, packages = "dnsmos", "DNSMOS", ("speechmos", "onnxruntime")
    column, rank = "report", 7

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return float(truth.once("dnsmos", signal, lambda: dnsmos(signal, truth.sample_rate)))

    def by_default(self, sample_rate: int) -> bool:
        """It takes long."""
        return False


METRICS = (Dnsmos(),)
