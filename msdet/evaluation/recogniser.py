# SPDX-License-Identifier: Apache-2.0
"""The user's speech recogniser, and the words that it gets wrong."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.evaluation.signal_metrics import Signal, at_speech_level, one_line

Recogniser = Callable[[NDArray[np.float32], int], str]
"""Audio ``[sample]`` within -1 to 1 and its sample rate in Hz to what was said."""


def check_recogniser(name: str | None, metrics: Sequence[str]) -> None:
    """Refuse, before any work, a word error rate without a recogniser that can be used.

    Raises:
        InputError: as ``load_recogniser``; or one of ``wer`` and a name is given without the other.
    """
    if name is not None:
        if "wer" not in metrics:
            raise InputError(
                f"recogniser={name}: is for the metric wer, which is not computed: name it in "
                "metrics=, or leave the recogniser out"
            )
        load_recogniser(name)
    elif "wer" in metrics:
        raise InputError(
            "metrics: 'wer' needs a recogniser: give recogniser=package.module:function"
        )


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
    """What the recogniser of this name hears in ``[sample]``, at ``SPEECH_LEVEL_DBFS``.

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
