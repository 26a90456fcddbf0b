# SPDX-License-Identifier: Apache-2.0
"""The word error rate of the user's speech recogniser."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics.metric import Metric, SceneTruth, Signal, at_speech_level, one_line

Recogniser = Callable[[NDArray[np.float32], int], str]
"""Audio ``[sample]`` within -1 to 1 and its sample rate in Hz to what was said."""


@cache
def load_recogniser(name: str) -> Recogniser:
    """Import ``package.module:function``; once in a process, so that its network is too.

    Raises:
        InputError: the name is none of this form, its module cannot be imported, or it holds no
            such function.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise InputError(f"recogniser={name}: expected package.module:function")
    try:
        found = importlib.import_module(module_name)
    except Exception as error:  # a user's module may do anything when it is imported
        raise InputError(
            f"recogniser={name}: cannot import {module_name!r} ({one_line(error)})"
        ) from error
    function: object = getattr(found, attribute, None)
    if not callable(function):
        what = "is not a function" if hasattr(found, attribute) else "is not there"
        raise InputError(f"recogniser={name}: {attribute!r} of {module_name!r} {what}")
    return function


def transcribe(name: str, signal: Signal, sample_rate: int) -> str:
    """Return what the recogniser of this name hears in ``[sample]``, at ``SPEECH_LEVEL_DBFS``.

    Raises:
        InputError: it returned something else than a text. Whatever else it raises goes through.
    """
    text = load_recogniser(name)(at_speech_level(signal), sample_rate)
    if not isinstance(text, str):
        raise InputError(f"recogniser={name}: must return a str, not {type(text).__name__}")
    return text


def word_error_rate(recognised: str, text: str) -> float:
    """Words wrong, missing or too many, over those of the text: 0 to 1, or more.

    Case and punctuation do not count.

    Raises:
        ValueError: the text has no words.
    """
    from torchmetrics.functional.text import word_error_rate as of_texts

    heard, said = (" ".join(re.findall(r"[\w']+", each.lower())) for each in (recognised, text))
    if not said:
        raise ValueError("the text of the target has no words")
    return float(of_texts([heard], [said]))


class WordErrorRate(Metric):
    """The transcript of the clean target is taken for the truth, so that the rate counts
    what the separation spoils and not what the recogniser gets wrong in clean speech."""

    name, title, unit, digits = "wer", "word error rate", "%", 1
    higher_is_better, column, rank = False, "report", 8

    def __init__(self, recogniser: str | None = None) -> None:
        """Take ``package.module:function``."""
        self.recogniser = recogniser

    def __call__(self, signal: Signal, truth: SceneTruth, speaker: int) -> float:
        name, target = self.recogniser, truth.targets[speaker]
        if name is None:
            raise InputError("metrics: 'wer' needs recogniser=package.module:function")
        rate = truth.sample_rate
        heard = truth.once("heard", signal, lambda: transcribe(name, signal, rate))
        said = truth.once(
            f"said by {speaker}", truth.mixture, lambda: transcribe(name, target, rate)
        )
        return word_error_rate(heard, said)

    def by_default(self, sample_rate: int) -> bool:
        """It needs a recogniser."""
        return False

    def why_not(self, sample_rate: int) -> str | None:
        if self.recogniser is None:
            return "needs a recogniser: give recogniser=package.module:function"
        load_recogniser(self.recogniser)
        return None


METRICS = (WordErrorRate(),)
