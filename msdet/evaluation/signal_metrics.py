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
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from msdet.errors import InputError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """What is known of a metric before it is computed.

    Attributes:
        title: with its unit, for tables.
        decibels: its keys in ``summary.json`` end in ``_db``.
        higher_is_better: an improvement is positive where the estimate is the better one.
        packages: what must be installed beside msdet's own dependencies.
        default: computed where no metrics are named.
    """

    title: str
    decibels: bool = False
    higher_is_better: bool = True
    packages: tuple[str, ...] = ()
    default: bool = True

    @property
    def suffix(self) -> str:
        return "_db" if self.decibels else ""


METRIC = {
    "si_sdr": Metric("SI-SDR, dB", decibels=True),
    "sdr": Metric("SDR, dB", decibels=True),
    "sir": Metric("SIR, dB", decibels=True, packages=("fast_bss_eval",)),
    "sar": Metric("SAR, dB", decibels=True, packages=("fast_bss_eval",)),
    "estoi": Metric("ESTOI", packages=("pystoi",)),
    "pesq_nb": Metric("PESQ, narrow-band", packages=("pesq",)),
    "pesq_wb": Metric("PESQ, wide-band", packages=("pesq",)),
    "dnsmos": Metric("DNSMOS", packages=("speechmos", "onnxruntime"), default=False),
    "wer": Metric("word error rate", higher_is_better=False, default=False),
}

METRICS = tuple(METRIC)
"""The separation metrics, in the order of the tables. ``si_sdr`` is always computed: it matches."""

FAST_METRICS = ("si_sdr", "sdr")
"""Cheap enough for every system: 20 ms at most of a signal of four seconds, on one thread."""

WIDE_BAND_RATE = 16000
"""The rate of wide-band PESQ and of DNSMOS, Hz."""

PESQ_MAX_SECONDS = 20.0
"""The ITU code keeps 50 utterances of at least .2 s with .2 s between them, unchecked: more crash
the process (segmentation fault, seen at 60 s). 20 s cannot hold more, and P.862 asks for 8-20 s."""

SPEECH_LEVEL_DBFS = -25.0
"""Level at which networks hear a signal: the middle of what those of the DNS challenge were trained
on (-35 to -15). Estimates have no scale of their own, and their scores must not depend on it."""

DNSMOS_SECONDS = 9.01
_DNSMOS_POLYNOMIAL = (-0.06766283, 1.11546468, 0.04602535)  # raw to overall MOS, of its authors


# --- which metrics ------------------------------------------------------------------------


def choose_metrics(
    asked: Sequence[str] | None, sample_rate: int
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The metrics to compute, and those that this installation lacks with the reason.

    Args:
        asked: names of ``METRICS``; None takes all that are installed, but for those that take
            long (DNSMOS) or need more (the word error rate), with PESQ in the band of the audio:
            wide from 16 kHz on, narrow below.
        sample_rate: of the audio, Hz.
    Raises:
        InputError: an unknown name, one that was asked for and is not installed, or wide-band
            PESQ of audio below 16 kHz.
    """
    unknown = [name for name in asked or () if name not in METRIC]
    if unknown:
        raise InputError(f"metrics: {unknown[0]!r} is none of {', '.join(METRICS)}")
    wide = sample_rate >= WIDE_BAND_RATE
    if asked is None:
        other_band = "pesq_nb" if wide else "pesq_wb"
        wanted = [name for name in METRICS if METRIC[name].default and name != other_band]
    elif "pesq_wb" in asked and not wide:
        raise InputError(
            f"metrics: 'pesq_wb' needs audio at {WIDE_BAND_RATE} Hz or more, this is at "
            f"{sample_rate} Hz: take pesq_nb"
        )
    else:
        wanted = [name for name in METRICS if name in {"si_sdr", *asked}]
    unavailable = {name: why for name in wanted if (why := _why_unavailable(name)) is not None}
    if unavailable and asked is not None:
        metric, why = next(iter(unavailable.items()))
        packages = METRIC[metric].packages
        raise InputError(
            f"metrics: {metric!r} needs the package{'s' if len(packages) > 1 else ''} "
            f"{' and '.join(packages)} ({why}): pip install {' '.join(packages)}, "
            "or leave the metric out"
        )
    return tuple(name for name in wanted if name not in unavailable), unavailable


def _why_unavailable(metric: str) -> str | None:
    try:
        for package in METRIC[metric].packages:
            importlib.import_module(package)
    except Exception as error:  # a compiled package can also break on another numpy's ABI
        return one_line(error)
    return None


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


def sir_and_sar(estimate: Signal, targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """BSS-eval v3 ratios of an estimate (Vincent et al. 2006), if it were of each target in turn.

    SIR is the target over the other speakers, SAR all speakers over what is none of them (noise,
    reverberation outside 512 taps, artefacts).

    Args:
        estimate: ``[sample]``. targets: ``[speaker, sample]``, all that are not silent.
    Returns:
        dB ``[speaker, 2]``; the SIR of a single speaker is infinite.
    """
    import torch
    from fast_bss_eval import bss_eval_sources

    # Tensors: its numpy branch solves with a vector as numpy before 2.0 took it.
    sources = torch.from_numpy(targets)
    repeated = torch.from_numpy(estimate).expand_as(sources)
    _, sir, sar = bss_eval_sources(sources, repeated, filter_length=512, compute_permutation=False)
    return np.stack([sir.numpy(), sar.numpy()], axis=1)


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
    estimate, target = (_resampled(x, sample_rate, rate) for x in (estimate, target))
    return float(itu_pesq(rate, target, estimate, band))


def dnsmos(signal: Signal, sample_rate: int) -> float:
    """Overall MOS of DNSMOS P.835 (Reddy et al., arXiv 2110.01763), about 1 to 5; no target needed.

    As in its authors' package speechmos: shorter signals are repeated, longer ones averaged over
    windows that start a second apart. Audio below 16 kHz is scored for the band that it lacks.
    The weights are that package's; its own code would need librosa, and take every core.
    """
    audio = at_speech_level(_resampled(signal, sample_rate, WIDE_BAND_RATE))
    length = int(DNSMOS_SECONDS * WIDE_BAND_RATE)
    while len(audio) < length:
        audio = np.concatenate([audio, audio])
    starts = range(0, len(audio) - length + 1, WIDE_BAND_RATE)
    network = _dnsmos_network()
    raw = [network.run(None, {"input_1": audio[None, i : i + length]})[0][0, 2] for i in starts]
    return float(np.polyval(_DNSMOS_POLYNOMIAL, np.asarray(raw, np.float64)).mean())


@cache
def _dnsmos_network() -> InferenceSession:
    from importlib.resources import as_file, files

    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a process has one core
    with as_file(files("speechmos") / "dnsmos_models" / "sig_bak_ovr.onnx") as path:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def at_speech_level(signal: Signal) -> NDArray[np.float32]:
    """``[sample]`` at ``SPEECH_LEVEL_DBFS``, or quieter where its peaks would leave -1 to 1."""
    level = 10 ** (SPEECH_LEVEL_DBFS / 20) / rms(signal)
    peak = float(np.abs(signal).max())
    return (signal * min(level, 1.0 / peak)).astype(np.float32)


def _resampled(signal: Signal, rate: int, to: int) -> Signal:
    if rate == to:
        return signal
    from scipy.signal import resample_poly

    common = math.gcd(rate, to)
    return np.asarray(resample_poly(signal, to // common, rate // common))


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
