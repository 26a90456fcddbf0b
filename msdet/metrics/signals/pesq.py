# SPDX-License-Identifier: Apache-2.0
"""PESQ: predicted quality of speech, narrow-band and wide-band."""

from __future__ import annotations

from typing import Literal

from msdet.metrics.metric import Metric, SceneTruth, Signal, resampled

PESQ_MAX_SECONDS = 20.0
"""The ITU code keeps 50 utterances of at least .2 s with .2 s between them, unchecked: more crash
the process (segmentation fault, seen at 60 s). 20 s cannot hold more, and P.862 asks for 8-20 s."""

WIDE_BAND_RATE = 16000


def pesq(estimate: Signal, target: Signal, sample_rate: int, band: Literal["nb", "wb"]) -> float:
    """PESQ as MOS-LQO: ITU-T P.862.1 narrow-band at 8 kHz, P.862.2 wide-band at 16 kHz.

    Audio at another rate is resampled to the band's.

    Raises:
        ValueError: longer than ``PESQ_MAX_SECONDS``. RuntimeError: no utterance, too short.
    """
    from pesq import pesq as itu_pesq

    if len(target) > PESQ_MAX_SECONDS * sample_rate:
        raise ValueError(f"longer than the {PESQ_MAX_SECONDS:g} s that the PESQ code can hold")
    rate = WIDE_BAND_RATE if band == "wb" else 8000
    estimate, target = (resampled(x, sample_rate, rate) for x in (estimate, target))
    return float(itu_pesq(rate, target, estimate, band))


class NarrowBandPesq(Metric):
    name, title, packages, rank = "pesq_nb", "PESQ, narrow-band", ("pesq",), 5

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return pesq(signal, truth.targets[speaker], truth.sample_rate, "nb")

    def by_default(self, sample_rate: int) -> bool:
        """Return whether the audio holds no wider band."""
        return sample_rate < WIDE_BAND_RATE


class WideBandPesq(Metric):
    name, title, packages, rank = "pesq_wb", "PESQ, wide-band", ("pesq",), 6

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        return pesq(signal, truth.targets[speaker], truth.sample_rate, "wb")

    def by_default(self, sample_rate: int) -> bool:
        """Return whether the audio holds the band."""
        return sample_rate >= WIDE_BAND_RATE

    def why_not(self, sample_rate: int) -> str | None:
        if sample_rate >= WIDE_BAND_RATE:
            return None
        return (
            f"needs audio at {WIDE_BAND_RATE} Hz or more, this is at {sample_rate} Hz: take pesq_nb"
        )


METRICS = (NarrowBandPesq(), WideBandPesq())
