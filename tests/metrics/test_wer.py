# SPDX-License-Identifier: Apache-2.0
"""The user's recogniser: named, imported, listened to, and what it may do wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics import Claims, SceneScore, SceneTruth, score_scene
from msdet.metrics.choose import choose_metrics
from msdet.metrics.signals.wer import (
    WordErrorRate,
    load_recogniser,
    transcribe,
    word_error_rate,
)

RATE = 8000
MODULE = """
import numpy as np
number = 3
calls = []

def hears(audio, sample_rate):
    '''A word for every 50 ms: whether it is loud.'''
    assert audio.dtype == np.float32 and audio.ndim == 1 and abs(audio).max() <= 1
    calls.append(sample_rate)
    frames = audio[: len(audio) // 400 * 400].reshape(-1, 400)
    loud = (frames**2).mean(axis=1) > (audio**2).mean() / 4
    return ' '.join('Loud,' if each else 'soft' for each in loud)

def nothing(audio, sample_rate):
    return None

def breaks(audio, sample_rate):
    raise RuntimeError('out of words')
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words_for_tests.py").write_text(MODULE)
    (tmp_path / "broken_for_tests.py").write_text("import nosuchmodule\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("the cat sat", "The cat, sat.", 0.0),
        ("the cat sat", "the cat", 1 / 3),
        ("the cat sat", "a cat that sat", 2 / 3),
        ("the cat sat", "", 1.0),
        ("don't", "dont", 1.0),
    ],
)
def test_words_are_counted_without_case_and_punctuation(said: str, heard: str, rate: float) -> None:
    assert word_error_rate(heard, said) == pytest.approx(rate)


def test_no_words_no_rate() -> None:
    with pytest.raises(ValueError, match="no words"):
        word_error_rate("hello", " ... ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("words_for_tests", "expected package.module:function"),
        (":hears", "expected package.module:function"),
        ("nosuchmodule:f", "cannot import 'nosuchmodule'"),
        ("broken_for_tests:f", "No module named 'nosuchmodule'"),
        ("words_for_tests:hear", "'hear' of 'words_for_tests' is not there"),
        ("words_for_tests:number", "'number' of 'words_for_tests' is not a function"),
    ],
)
def test_a_name_that_cannot_be_used_is_named(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_recogniser(name)
    assert f"recogniser={name}" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=message):
        choose_metrics(["wer"], RATE, name)


def test_a_word_error_rate_needs_a_recogniser() -> None:
    choose_metrics(["wer"], RATE, "words_for_tests:hears")
    with pytest.raises(InputError, match=r"recogniser=package\.module:function"):
        choose_metrics(["wer"], RATE)


def test_a_recogniser_needs_a_word_error_rate() -> None:
    with pytest.raises(InputError, match=r"recogniser=words_for_tests:hears.*wer.*metrics="):
        choose_metrics(["sdr"], RATE, "words_for_tests:hears")


def test_what_is_no_text_is_the_users_to_mend(speech: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="must return a str, not NoneType"):
        transcribe("words_for_tests:nothing", speech[0], RATE)
    with pytest.raises(InputError, match="must return a str"):
        scored(speech[:2], speech[:2], "words_for_tests:nothing")


def scored(
    estimates: NDArray[np.float64], targets: NDArray[np.float64], recogniser: str
) -> SceneScore:
    truth = SceneTruth(targets, targets.sum(axis=0), RATE)
    return score_scene(estimates, truth, Claims(), metrics=[WordErrorRate(recogniser)])


def test_without_a_recogniser_nothing_is_scored(speech: NDArray[np.float64]) -> None:
    truth = SceneTruth(speech, speech.sum(axis=0), RATE)
    with pytest.raises(InputError, match="'wer' needs recogniser"):
        score_scene(speech, truth, Claims(), metrics=[WordErrorRate()])


def test_the_text_is_what_is_heard_in_the_clean_target(speech: NDArray[np.float64]) -> None:
    """The recogniser is asked once for a signal, the mixture and the targets included."""
    name, targets = "words_for_tests:hears", speech[:2]
    truth = SceneTruth(targets, targets.sum(axis=0), RATE)
    load_recogniser(name).__globals__["calls"].clear()
    for _ in range(2):
        estimates = 2.0 * targets + 1e-6 * speech[2]
        found = score_scene(estimates, truth, Claims(), metrics=[WordErrorRate(name)])
        for speaker in found.speakers:
            assert speaker.scores["wer"] == 0.0
            improvement, old = speaker.scores["wer_improvement"], speaker.scores["wer_unprocessed"]
            assert improvement == old
            assert old is not None
            assert old > 0
    asked = load_recogniser(name).__globals__["calls"]
    assert asked == [RATE] * (1 + 2 + 2 * 2)  # mixture, targets, estimates


def test_a_recogniser_that_breaks_is_a_failure_of_its_scene(speech: NDArray[np.float64]) -> None:
    found = scored(speech + 0.1 * speech[::-1], speech, "words_for_tests:breaks")
    assert {(f.metric, f.reason) for f in found.failures} == {("wer", "RuntimeError: out of words")}
    assert all(speaker.scores["wer"] is None for speaker in found.speakers)
