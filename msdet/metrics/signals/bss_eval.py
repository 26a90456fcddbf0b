# SPDX-License-Identifier: Apache-2.0
"""SIR and SAR of BSS-eval: what is left of the other speakers, and what is of none of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.metric import Metric, SceneTruth, Signal


def sir_and_sar(estimate: Signal, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """BSS-eval v3 ratios of an estimate (Vincent et al. 2006), if it were of each target in turn.

    SIR is the target over the other speakers, SAR all speakers over what is none of them (noise,
    reverberation outside 512 taps, artefacts).

    Args:
        estimate: ``[sample]``. targets: ``[speaker, sample]``, all that are not silent.
    Returns:
        dB ``[speaker, 2]``; the SIR of a single speaker is infinite.
    """
    import torch
    from fast_bss_eval import bss_eval_sources

    # Tensors: its numpy branch solves with a vector as numpy before 2.0 took it.
    sources = torch.from_numpy(targets)
    repeated = torch.from_numpy(estimate).expand_as(sources)
    _, sir, sar = bss_eval_sources(sources, repeated, filter_length=512, compute_permutation=False)
    return np.stack([sir.numpy(), sar.numpy()], axis=1)


class _Ratio(Metric):
    unit, digits, packages, column = "dB", 1, ("fast_bss_eval",), "report"
    place: int

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float | None:
        sources = truth.targets[list(truth.active)]
        ratios = truth.once("bss_eval", signal, lambda: sir_and_sar(signal, sources))
        return float(ratios[truth.active.index(speaker), self.place])


class Sir(_Ratio):
    name, title, shown, rank, place = "sir", "SIR", "improvement", 2, 0

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float | None:
        """None of a single speaker, whom nobody interferes with."""
        return super().__call__(signal, truth, speaker) if len(truth.active) > 1 else None


class Sar(_Ratio):
    name, title, rank, place = "sar", "SAR", 3, 1


METRICS = (Sir(), Sar())
