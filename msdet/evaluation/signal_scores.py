# SPDX-License-Identifier: Apache-2.0
"""The signals of one scene against its targets: every metric by its name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.evaluation.recogniser import transcribe, word_error_rate
from msdet.evaluation.signal_metrics import (
    Signal,
    dnsmos,
    estoi,
    pesq,
    sdr,
    si_sdr,
    sir_and_sar,
)

NOT_FINITE = "the signal holds NaN or infinite samples"


class SignalScorer:
    """Scores signals against the speakers of one scene.

    What does not depend on the speaker (DNSMOS, what was heard) is computed once for a signal.

    Args:
        targets: ``[speaker, sample]``.
        active: the speakers that are not silent: the sources of BSS-eval.
        recogniser: ``package.module:function``; needed for ``wer``.
        texts: ``[speaker]`` what was said; for None the recogniser's own transcript of the clean
            target is taken, so that its word error rate counts what the separation spoils and not
            what the recogniser gets wrong in clean speech.
    """

    def __init__(
        self,
        targets: NDArray[np.float64],
        active: Sequence[int],
        sample_rate: int,
        recogniser: str | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> None:
        if texts is not None and len(texts) != len(targets):
            raise ValueError(f"got {len(texts)} texts of {len(targets)} speakers")
        self._targets, self._active = targets, tuple(active)
        self._sample_rate, self._recogniser = sample_rate, recogniser
        self._texts: list[str | None] = list(texts or [None] * len(targets))
        self._known: dict[tuple[str, int], tuple[Signal, Any]] = {}

    @property
    def texts(self) -> tuple[str | None, ...]:
        """``[speaker]`` what was said, as far as it was needed."""
        return tuple(self._texts)

    def applies(self, metric: str) -> bool:
        """Whether a metric means anything here: nobody interferes with a single speaker."""
        return metric != "sir" or len(self._active) > 1

    def __call__(self, metric: str, signal: Signal, speaker: int) -> float:
        """A metric of a signal ``[sample]`` as an estimate of an active speaker.

        Raises:
            ValueError, and what else the metrics raise: it has no finite value.
            InputError: the recogniser cannot be used.
        """
        if (reason := why_unusable(signal)) is not None:
            raise ValueError(reason)
        target, rate = self._targets[speaker], self._sample_rate
        values: Mapping[str, Callable[[], float]] = {
            "si_sdr": lambda: si_sdr(signal, target),
            "sdr": lambda: sdr(signal, target),
            "sir": lambda: self._bss_eval(signal, speaker)[0],
            "sar": lambda: self._bss_eval(signal, speaker)[1],
            "estoi": lambda: estoi(signal, target, rate),
            "pesq_nb": lambda: pesq(signal, target, rate, "nb"),
            "pesq_wb": lambda: pesq(signal, target, rate, "wb"),
            "dnsmos": lambda: float(self._once("dnsmos", signal, lambda: dnsmos(signal, rate))),
            "wer": lambda: word_error_rate(self._heard(signal), self._text(speaker)),
        }
        value = values[metric]()
        if not math.isfinite(value):
            raise ValueError(f"the value is {value}")
        return value

    def _bss_eval(self, signal: Signal, speaker: int) -> NDArray[np.float64]:
        sources = self._targets[list(self._active)]
        ratios = self._once("bss_eval", signal, lambda: sir_and_sar(signal, sources))
        return np.asarray(ratios[self._active.index(speaker)])

    def _heard(self, signal: Signal) -> str:
        name = self._recogniser
        if name is None:
            raise InputError("metrics: 'wer' needs recogniser=package.module:function")
        return str(self._once("heard", signal, lambda: transcribe(name, signal, self._sample_rate)))

    def _text(self, speaker: int) -> str:
        text = self._texts[speaker]
        if text is None:
            text = self._texts[speaker] = self._heard(self._targets[speaker])
        return text

    def _once(self, what: str, signal: Signal, compute: Callable[[], Any]) -> Any:
        key = (what, id(signal))
        if key not in self._known:
            self._known[key] = (signal, compute())  # kept, or another could get its id
        return self._known[key][1]


def why_unusable(signal: Signal) -> str | None:
    """Why no metric can be computed of ``[sample]``; None where they can."""
    if not np.isfinite(signal).all():
        return NOT_FINITE
    return None if signal.any() else "the signal is all zeros"
