# SPDX-License-Identifier: Apache-2.0
"""The user's recogniser: named, imported, listened to, and what it may do wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.evaluation.metrics import score_scene, score_unprocessed
from msdet.evaluation.recogniser import (
    check_recogniser,
    load_recogniser,
    transcribe,
    word_error_rate,
)
from msdet.evaluation.scores import Claims

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
        check_recogniser(name, ("wer",))


def test_a_word_error_rate_needs_a_recogniser() -> None:
    check_recogniser(None, ("sdr",))
    check_recogniser("words_for_tests:hears", ("wer",))
    with pytest.raises(InputError, match=r"recogniser=package\.module:function"):
        check_recogniser(None, ("wer",))


def test_a_recogniser_needs_a_word_error_rate() -> None:
    with pytest.raises(InputError, match=r"recogniser=words_for_tests:hears.*wer.*metrics="):
        check_recogniser("words_for_tests:hears", ("sdr",))


def test_what_is_no_text_is_the_users_to_mend(speech: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="must return a str, not NoneType"):
        transcribe("words_for_tests:nothing", speech[0], RATE)
    with pytest.raises(InputError, match="must return a str"):
        score_unprocessed(
            speech[:2],
            speech[:2].sum(axis=0),
            sample_rate=RATE,
            metrics=("wer",),
            recogniser="words_for_tests:nothing",
        )


def test_without_a_recogniser_nothing_is_scored(speech: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match="'wer' needs recogniser"):
        score_unprocessed(speech, speech.sum(axis=0), sample_rate=RATE, metrics=("wer",))


def test_the_text_is_what_is_heard_in_the_clean_target(speech: NDArray[np.float64]) -> None:
    """The recogniser is asked once for a signal, the mixture and the targets included."""
    name, targets = "words_for_tests:hears", speech[:2]
    mixture = targets.sum(axis=0)
    options = {"sample_rate": RATE, "metrics": ("wer",), "recogniser": name}
    load_recogniser(name).__globals__["calls"].clear()
    before = score_unprocessed(targets, mixture, **options)  # type: ignore[arg-type]
    assert before.texts == tuple(transcribe(name, target, RATE) for target in targets)
    for _ in range(2):
        found = score_scene(
            2.0 * targets + 1e-6 * speech[2],
            targets,
            mixture,
            Claims(),
            [10.0, 100.0],
            unprocessed=before,
            **options,  # type: ignore[arg-type]
        )
        for speaker in found.speakers:
            assert speaker.scores["wer"] == 0.0
            improvement, old = speaker.scores["wer_improvement"], speaker.scores["wer_unprocessed"]
            assert improvement == old
            assert old is not None
            assert old > 0
    asked = load_recogniser(name).__globals__["calls"]
    assert asked == [RATE] * (1 + 2 + 2 + 2 * 2)  # mixture, targets, again by this test, estimates


def test_texts_that_are_known_are_taken(speech: NDArray[np.float64]) -> None:
    targets = speech[:2]
    found = score_scene(
        targets + 0.1 * speech[2],
        targets,
        targets.sum(axis=0),
        Claims(),
        [10.0, 100.0],
        sample_rate=RATE,
        metrics=("wer",),
        recogniser="words_for_tests:hears",
        texts=["something else", "  "],
    )
    first, second = found.speakers
    assert first.scores["wer"] is not None
    assert first.scores["wer"] >= 1.0
    assert second.scores["wer"] is None
    assert "no words" in next(f.reason for f in found.failures if f.speaker == 1)


def test_a_recogniser_that_breaks_is_a_failure_of_its_scene(speech: NDArray[np.float64]) -> None:
    found = score_unprocessed(
        speech,
        speech.sum(axis=0),
        sample_rate=RATE,
        metrics=("wer",),
        recogniser="words_for_tests:breaks",
    )
    assert {(f.metric, f.reason) for f in found.failures} == {("wer", "RuntimeError: out of words")}
    assert all(scores["wer"] is None for scores in found.scores)
