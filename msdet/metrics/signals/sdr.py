# SPDX-License-Identifier: Apache-2.0
"""SDR of BSS-eval, which forgives a short filter."""

from __future__ import annotations

from msdet.metrics.metric import Metric, SceneTruth, Signal


def sdr(estimate: Signal, target: Signal) -> float:
    """BSS-eval SDR in dB (Vincent et al. 2006): forgives 512 taps of filtering. ``[sample]``."""
    import torch
    from torchmetrics.functional.audio.sdr import signal_distortion_ratio

    return float(signal_distortion_ratio(torch.from_numpy(estimate), torch.from_numpy(target)))


class Sdr(Metric):
    name, title, unit, digits = "sdr", "SDR", "dB", 1
    slow, rank = False, 1

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return sdr(signal, truth.targets[speaker])


METRICS = (Sdr(),)
