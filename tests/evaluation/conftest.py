# SPDX-License-Identifier: Apache-2.0
"""Scenes and rows to evaluate: speech-like noise, and rows with chosen numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.evaluation.metrics import Failure, SceneScore, SpeakerScore
from msdet.evaluation.rows import Row, SceneLabels

SAMPLE_RATE = 8000


@pytest.fixture(scope="session")
def speech() -> NDArray[np.float64]:
    """Three voices ``[speaker, sample]`` of 2 s: noise, low-passed, in syllables and pauses."""
    rng = np.random.default_rng(7)
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    voices = []
    for rate in (2.3, 3.1, 3.9):
        noise = np.convolve(rng.standard_normal(len(time)), np.ones(4) / 4, mode="same")
        voices.append(noise * np.clip(np.sin(2 * np.pi * rate * time + rate), 0.0, None))
    return np.array(voices)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row of a scene with two or more speakers, each in the slot of its own number."""

    def make(
        index: int,
        *,
        improvement: Sequence[float | None] = (5.0, 5.0),
        error: Sequence[float | None] = (3.0, 3.0),
        azimuth: Sequence[float] = (10.0, 100.0),
        silent: Sequence[int] = (),
        wrong: bool = False,
        ambiguous: bool = False,
        order_correct: bool | None = True,
        distance: Sequence[float] = (1.0, 2.0),
        t60: float | None = 0.25,
        failures: Sequence[Failure] = (),
    ) -> Row:
        speakers = []
        for i, (gain, off, at) in enumerate(zip(improvement, error, azimuth, strict=True)):
            if i in silent:
                speakers.append(SpeakerScore(i, None, True, {}, at, None, None, None))
                continue
            scores = {
                "si_sdr": gain,
                "si_sdr_unprocessed": 0.0,
                "si_sdr_improvement": gain,
            }
            estimate = None if off is None else (at + off) % 360
            speakers.append(SpeakerScore(i, i, False, scores, at, estimate, off, off))
        slots = tuple(None if i in silent else i for i in range(len(speakers)))
        has_doa = any(off is not None for off in error)
        score = SceneScore(
            speakers=tuple(speakers),
            speaker_of_slot=slots,
            speaker_of_slot_by_azimuth=slots if has_doa else None,
            wrong_slot=tuple(None if s is None or not has_doa else wrong for s in slots),
            si_sdr_margin_db=10.0,
            azimuth_margin_deg=40.0 if has_doa else None,
            ambiguous=ambiguous,
            order_correct=order_correct,
            attenuation_db=(30.0,) * len(silent),
            pesq_mode=None,
            failures=tuple(failures),
        )
        labels = SceneLabels(t60=t60, snr_db=25.0, distance=tuple(distance))
        return Row(index=index, id=f"test-{index}", labels=labels, score=score)

    return make
