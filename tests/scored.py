# SPDX-License-Identifier: Apache-2.0
"""Scenes and rows to evaluate: speech-like noise, real voices, and rows with chosen numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.metrics.scores import Failure, SceneLabels, SceneRow, SceneScore, SpeakerScore

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


@pytest.fixture(scope="session")
def real_speech() -> NDArray[np.float64]:
    """Three bundled voices ``[speaker, sample]`` of 3 s at 16 kHz, RMS 1."""
    import soundfile

    from msdet.resources import voices_dir

    names = ("asterisk-carlo", "asterisk-ivrvoice", "asterisk-july")
    voices = []
    for name in names:
        path = voices_dir() / "test" / f"{name}.opus"
        voice, rate = soundfile.read(path, start=32000, frames=48000)
        assert rate == 16000
        voices.append(voice / np.sqrt(np.mean(voice**2)))
    return np.array(voices)


@pytest.fixture
def make_row() -> Callable[..., SceneRow]:
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
        scores: Mapping[str, float | None] | None = None,
        scene_labels: Mapping[str, float | str | None] | None = None,
        speaker_labels: Mapping[str, tuple[float | None, ...]] | None = None,
        claimed: int | None = None,
        separates: bool = True,
        system: str = "model",
    ) -> SceneRow:
        """``scores`` are further ones of every speaker. Where not ``separates``, the system finds
        directions alone."""
        speakers = []
        for i, (gain, off, at) in enumerate(zip(improvement, error, azimuth, strict=True)):
            if i in silent:
                speakers.append(SpeakerScore(i, None, True, {}, at, None, None, None))
                continue
            found = {
                "si_sdr": gain,
                "si_sdr_unprocessed": 0.0,
                "si_sdr_improvement": gain,
                **(scores or {}),
            }
            estimate = None if off is None else (at + off) % 360
            if separates:
                speakers.append(
                    SpeakerScore(i, i, False, found, at, estimate, off, off, None, None, estimate)
                )
            else:
                speakers.append(
                    SpeakerScore(i, None, False, {}, at, None, None, off, None, None, estimate)
                )
        slots = tuple(None if i in silent else i for i in range(len(speakers)))
        has_doa = any(off is not None for off in error)
        nothing: tuple[None, ...] = (None,) * len(speakers)
        score = SceneScore(
            speakers=tuple(speakers),
            speaker_of_slot=slots if separates else nothing,
            speaker_of_slot_by_azimuth=slots if has_doa else None,
            wrong_slot=tuple(
                None if s is None or not has_doa or not separates else wrong for s in slots
            ),
            si_sdr_margin_db=10.0 if separates else None,
            azimuth_margin_deg=40.0 if has_doa else None,
            ambiguous=ambiguous,
            order_correct=order_correct if separates else None,
            attenuation_db=(30.0,) * len(silent) if separates else (),
            failures=tuple(failures),
            speakers_claimed=claimed,
        )
        labels = SceneLabels(
            scene={"t60": t60, "snr_db": 25.0, **(scene_labels or {})},
            speaker={"distance": tuple(distance), **(speaker_labels or {})},
        )
        return SceneRow(index=index, id=f"test-{index}", labels=labels, systems={system: score})

    return make
