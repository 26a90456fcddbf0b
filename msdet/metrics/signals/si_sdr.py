# SPDX-License-Identifier: Apache-2.0
"""SI-SDR: scale-invariant signal-to-distortion ratio."""

from __future__ import annotations

from msdet.metrics.metric import Metric, SceneTruth, Signal, rms


def si_sdr(estimate: Signal, target: Signal) -> float:
    """Scale-invariant SDR in dB, no mean subtracted (Le Roux et al., arXiv 1811.02508).

    Both ``[sample]``. They are brought to unit RMS first, so that the epsilon of torchmetrics
    does not show on quiet recordings.
    """
    import torch
    from torchmetrics.functional.audio.sdr import scale_invariant_signal_distortion_ratio

    estimate_, target_ = (torch.from_numpy(x / rms(x)) for x in (estimate, target))
    value = scale_invariant_signal_distortion_ratio(estimate_, target_, zero_mean=False)
    return float(value)


class SiSdr(Metric):
    """The metric that outputs and speakers are matched by, so it is always computed."""

    name, title, unit, digits = "si_sdr", "SI-SDR", "dB", 1
    slow, shown, rank = False, "improvement", 0

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return si_sdr(signal, truth.targets[speaker])


class SiSdrEarly(SiSdr):
    """Tells what a system does not dereverberate from what it does not separate."""

    name, title = "si_sdr_early", "SI-SDR early"

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        """SI-SDR against the direct path with what comes up to 50 ms after it."""
        if truth.early is None:
            raise ValueError("the early targets are not known")
        return si_sdr(signal, truth.early[speaker])


METRICS = (SiSdr(), SiSdrEarly())
