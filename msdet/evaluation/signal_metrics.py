# SPDX-License-Identifier: Apache-2.0
"""Separation metrics of one signal against its target, and which of them are installed.

The heavy libraries are imported inside the functions that need them, so that a worker process
starts fast.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError

Signal = NDArray[np.float64]

METRICS = ("si_sdr", "sdr", "estoi", "pesq")
"""The separation metrics, in the order of the tables. ``si_sdr`` is always computed: it matches."""

PESQ_MAX_SECONDS = 20.0
"""The ITU code keeps 50 utterances of at least .2 s with .2 s between them, unchecked: more crash
the process (segmentation fault, seen at 60 s). 20 s cannot hold more, and P.862 asks for 8-20 s."""

_PACKAGE_OF = {"estoi": "pystoi", "pesq": "pesq"}


# --- which metrics ------------------------------------------------------------------------


def choose_metrics(asked: Sequence[str] | None = None) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics to compute, and those that this installation lacks with the reason.

    Args:
        asked: names of ``METRICS``; None takes all that are installed.
    Raises:
        InputError: an unknown name, or one that was asked for and is not installed.
    """
    unknown = [name for name in asked or () if name not in METRICS]
    if unknown:
        raise InputError(f"metrics: {unknown[0]!r} is none of {', '.join(METRICS)}")
    wanted = METRICS if asked is None else tuple(m for m in METRICS if m in {"si_sdr", *asked})
    unavailable = {m: reason for m in wanted if (reason := _why_unavailable(m)) is not None}
    if unavailable and asked is not None:
        metric, reason = next(iter(unavailable.items()))
        raise InputError(
            f"metrics: {metric!r} needs the package {_PACKAGE_OF[metric]!r} ({reason}): "
            f"pip install {_PACKAGE_OF[metric]}, or leave the metric out"
        )
    return tuple(m for m in wanted if m not in unavailable), unavailable


def _why_unavailable(metric: str) -> str | None:
    package = _PACKAGE_OF.get(metric)
    if package is None:
        return None
    try:
        importlib.import_module(package)
    except Exception as error:  # a compiled package can also break on another numpy's ABI
        return one_line(error)
    return None


def pesq_mode(sample_rate: int) -> Literal["nb", "wb"]:
    """Wide-band at 16 kHz; narrow-band at 8 kHz, and at any other rate on audio resampled to it."""
    return "wb" if sample_rate == 16000 else "nb"


# --- single values ------------------------------------------------------------------------


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


def sdr(estimate: Signal, target: Signal) -> float:
    """BSS-eval SDR in dB (Vincent et al. 2006): forgives 512 taps of filtering. ``[sample]``."""
    import torch
    from torchmetrics.functional.audio.sdr import signal_distortion_ratio

    return float(signal_distortion_ratio(torch.from_numpy(estimate), torch.from_numpy(target)))


def estoi(estimate: Signal, target: Signal, sample_rate: int) -> float:
    """Extended short-time objective intelligibility (Jensen and Taal 2016), about 0 to 1.

    Raises:
        ValueError: less than about .4 s of speech in the target.
    """
    import pystoi

    with warnings.catch_warnings(), _fixed_global_noise():
        # pystoi warns and returns 1e-5, which would be averaged as if it were a score.
        warnings.filterwarnings("error", message="Not enough STFT frames")
        try:
            return float(pystoi.stoi(target, estimate, sample_rate, extended=True))
        except RuntimeWarning:
            raise ValueError("less than .4 s of speech in the target") from None


def pesq(estimate: Signal, target: Signal, sample_rate: int) -> float:
    """PESQ as MOS-LQO (ITU-T P.862.1 narrow-band, P.862.2 wide-band; see ``pesq_mode``).

    Raises:
        ValueError: longer than ``PESQ_MAX_SECONDS``. RuntimeError: no utterance, too short.
    """
    from pesq import pesq as itu_pesq

    if len(target) > PESQ_MAX_SECONDS * sample_rate:
        raise ValueError(f"longer than the {PESQ_MAX_SECONDS:g} s that the PESQ code can hold")
    mode = pesq_mode(sample_rate)
    rate = 16000 if mode == "wb" else 8000
    if rate != sample_rate:
        from scipy.signal import resample_poly

        common = math.gcd(rate, sample_rate)
        up, down = rate // common, sample_rate // common
        estimate, target = (resample_poly(x, up, down) for x in (estimate, target))
    return float(itu_pesq(rate, target, estimate, mode))


@contextmanager
def _fixed_global_noise() -> Iterator[None]:
    """pystoi dithers with numpy's global generator; where a signal has digital zeros that shows."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def rms(signal: Signal) -> float:
    """Root mean square of ``[sample]``."""
    return float(np.sqrt(np.mean(np.square(signal))))


def one_line(error: Exception) -> str:
    """What a metric says of its failure, in one line."""
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return kind + " ".join(text.split())
