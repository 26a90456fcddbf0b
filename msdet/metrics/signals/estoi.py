# SPDX-License-Identifier: Apache-2.0
"""ESTOI: predicted intelligibility."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from msdet.metrics.metric import Metric, SceneTruth, Signal


def estoi(estimate: Signal, target: Signal, sample_rate: int) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016), about 0 to 1.

    Raises:
        ValueError: less than about .4 s of speech in the target.
    """
    import pystoi

    with warnings.catch_warnings(), _fixed_global_noise():
        # pystoi warns and returns 1e-5, which would be averaged as if it were a score.
        warnings.filterwarnings("error", message="Not enough STFT frames")
        try:
            return float(pystoi.stoi(target, estimate, sample_rate, extended=True))
        except RuntimeWarning:
            raise ValueError("less than .4 s of speech in the target") from None


@contextmanager
def _fixed_global_noise() -> Iterator[None]:
    """pystoi dithers with numpy's global generator; where a signal has digital zeros that shows."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


class Estoi(Metric):
    name, title, packages, rank = "estoi", "ESTOI", ("pystoi",), 4

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return estoi(signal, truth.targets[speaker], truth.sample_rate)


METRICS = (Estoi(),)
