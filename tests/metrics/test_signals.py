# SPDX-License-Identifier: Apache-2.0
"""Metrics of a signal: values against formulas and other packages, and what can be chosen."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics import SceneTruth
from msdet.metrics.choose import choose_metrics as choose
from msdet.metrics.measures import METRICS
from msdet.metrics.metric import SPEECH_LEVEL_DBFS, at_speech_level, rms, say
from msdet.metrics.signals import dnsmos as dnsmos_module
from msdet.metrics.signals.bss_eval import sir_and_sar
from msdet.metrics.signals.dnsmos import dnsmos
from msdet.metrics.signals.error_parts import PARTS
from msdet.metrics.signals.estoi import estoi as estoi_of
from msdet.metrics.signals.pesq import pesq as pesq_of
from msdet.metrics.signals.sdr import sdr as sdr_of
from msdet.metrics.signals.si_sdr import si_sdr

RATE = 8000
WIDE = 16000

Signals = NDArray[np.float64]


def choose_metrics(asked: list[str] | None, rate: int) -> tuple[tuple[str, ...], dict[str, str]]:
    found, unavailable = choose(asked, rate)
    return tuple(metric.name for metric in found), unavailable


def plain_si_sdr(estimate: Signals, target: Signals) -> float:
    scaled = (estimate @ target) / (target @ target) * target
    error = estimate - scaled
    return float(10 * np.log10((scaled @ scaled) / (error @ error)))


@pytest.fixture(scope="module")
def estimates(real_speech: Signals) -> Signals:
    """Of the three voices: through a short room, with some of another voice, and noise."""
    rng = np.random.default_rng(1)
    room = np.r_[1.0, np.zeros(90), 0.4, np.zeros(700), 0.2]
    wet = np.array([np.convolve(voice, room)[: len(voice)] for voice in real_speech])
    return wet + 0.2 * np.roll(real_speech, 1, axis=0) + 0.02 * rng.standard_normal(wet.shape)


# --- values -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [1.0, 1e-5])
def test_si_sdr_is_the_plain_formula_at_any_level(speech: Signals, level: float) -> None:
    target, other = speech[:2] * level
    estimate = 0.7 * target + 0.2 * other + 0.01 * level
    expected = plain_si_sdr(estimate, target)
    assert si_sdr(estimate, target) == pytest.approx(expected, abs=1e-6)


def test_sdr_forgives_a_short_filter_and_si_sdr_does_not(speech: Signals) -> None:
    target = speech[0]
    filtered = np.convolve(target, [1.0, 0.6, -0.3, 0.2])[: len(target)]
    estimate = filtered + 0.01 * speech[1]
    assert sdr_of(estimate, target) > si_sdr(estimate, target) + 10


@pytest.mark.parametrize("count", [2, 3])
def test_bss_eval_of_voices_is_that_of_mir_eval(
    real_speech: Signals, estimates: Signals, count: int
) -> None:
    pytest.importorskip("fast_bss_eval")
    separation = pytest.importorskip("mir_eval.separation")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its deprecation
        wanted = separation.bss_eval_sources(
            real_speech[:count], estimates[:count], compute_permutation=False
        )
    sdr = [sdr_of(e, t) for e, t in zip(estimates, real_speech[:count], strict=False)]
    ratios = [sir_and_sar(e, real_speech[:count]) for e in estimates[:count]]
    assert sdr == pytest.approx(wanted[0], abs=0.01)
    assert [found[i, 0] for i, found in enumerate(ratios)] == pytest.approx(wanted[1], abs=0.01)
    assert [found[i, 1] for i, found in enumerate(ratios)] == pytest.approx(wanted[2], abs=0.01)


def test_bss_eval_follows_the_order_of_the_speakers(
    real_speech: Signals, estimates: Signals
) -> None:
    pytest.importorskip("fast_bss_eval")
    turned = [2, 0, 1]
    straight = sir_and_sar(estimates[0], real_speech)
    permuted = sir_and_sar(estimates[0], real_speech[turned])
    np.testing.assert_allclose(permuted, straight[turned], atol=1e-6)


@given(st.floats(0.05, 0.5), st.floats(0.05, 0.5))
@settings(deadline=None, max_examples=5)
def test_interference_lowers_sir_alone_and_noise_sar_alone(leak: float, noise: float) -> None:
    pytest.importorskip("fast_bss_eval")
    target, other, hiss = np.random.default_rng(3).standard_normal((3, 6000))
    sources = np.stack([target, other])
    plain = sir_and_sar(target + 0.01 * other + 0.01 * hiss, sources)[0]
    leaky = sir_and_sar(target + leak * other + 0.01 * hiss, sources)[0]
    noisy = sir_and_sar(target + 0.01 * other + noise * hiss, sources)[0]
    assert leaky[0] == pytest.approx(-20 * np.log10(leak), abs=1.0)
    assert leaky[1] == pytest.approx(plain[1], abs=1.5)
    assert noisy[1] == pytest.approx(-20 * np.log10(noise), abs=1.5)
    assert noisy[1] < plain[1]


def test_estoi_and_pesq_are_those_of_their_packages(
    real_speech: Signals, estimates: Signals
) -> None:
    pystoi, pesq = pytest.importorskip("pystoi"), pytest.importorskip("pesq")
    from scipy.signal import decimate, resample_poly

    estimate, target = estimates[0], real_speech[0]
    estoi = pystoi.stoi(target, estimate, WIDE, extended=True)
    assert estoi_of(estimate, target, WIDE) == pytest.approx(estoi, abs=1e-4)
    wide = pesq.pesq(WIDE, target, estimate, "wb")
    assert pesq_of(estimate, target, WIDE, "wb") == pytest.approx(wide)
    # Narrow-band takes its own rate, by whatever filter it gets there.
    narrow = pesq.pesq(RATE, decimate(target, 2), decimate(estimate, 2), "nb")
    assert pesq_of(estimate, target, WIDE, "nb") == pytest.approx(narrow, abs=0.1)
    fine = [resample_poly(x, 3, 1) for x in (estimate, target)]
    assert pesq_of(fine[0], fine[1], 3 * WIDE, "wb") == pytest.approx(wide, abs=0.1)


@pytest.mark.parametrize(
    ("metric", "package"), [("estoi", "pystoi"), ("pesq_nb", "pesq"), ("pesq_wb", "pesq")]
)
def test_perceptual_metrics_fall_with_noise(
    real_speech: Signals, metric: str, package: str
) -> None:
    pytest.importorskip(package)
    noise = np.random.default_rng(0).standard_normal(real_speech.shape[1])
    truth = SceneTruth(real_speech, real_speech.sum(axis=0), WIDE)
    signals = (real_speech[0] + level * noise for level in (0.01, 0.1, 1.0))
    values = [METRICS[metric](signal, truth, 0) for signal in signals]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.2


def test_estoi_of_digital_zeros_is_the_same_each_time(speech: Signals) -> None:
    pytest.importorskip("pystoi")
    estimate = np.where(np.arange(speech.shape[1]) < 8000, 0.0, speech[0])
    values = {estoi_of(estimate, speech[0], RATE) for _ in range(3)}
    assert len(values) == 1


def test_pesq_refuses_what_would_crash_its_process() -> None:
    pytest.importorskip("pesq")
    long = np.random.default_rng(0).standard_normal(21 * RATE)
    with pytest.raises(ValueError, match="20 s"):
        pesq_of(long, long, RATE, "nb")


def test_estoi_of_too_little_speech_fails_instead_of_scoring_zero(speech: Signals) -> None:
    pytest.importorskip("pystoi")
    with pytest.raises(ValueError, match="speech"):
        estoi_of(speech[0, :2000], speech[0, :2000], RATE)


# --- DNSMOS -------------------------------------------------------------------------------


def test_dnsmos_hears_noise_and_no_level(real_speech: Signals) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("speechmos")
    voice, noise = real_speech[0], np.random.default_rng(0).standard_normal(real_speech.shape[1])
    clean = dnsmos(voice, WIDE)
    assert dnsmos(1e3 * voice, WIDE) == pytest.approx(clean, abs=1e-3)
    assert dnsmos(voice + noise, WIDE) < clean - 0.5


def test_networks_hear_within_full_scale(real_speech: Signals) -> None:
    spiky = real_speech[0].copy()
    spiky[100] = 1e4
    for signal in (real_speech[0], spiky, 1e-6 * real_speech[0]):
        heard = at_speech_level(signal)
        assert heard.dtype == np.float32
        assert np.abs(heard).max() <= 1.0
    heard = at_speech_level(7 * real_speech[0])
    level = 20 * np.log10(rms(heard.astype(np.float64)))
    assert level == pytest.approx(SPEECH_LEVEL_DBFS, abs=1e-3)


# --- all of them by name ------------------------------------------------------------------


def test_what_a_signal_says_by_itself_is_computed_once(
    real_speech: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(signal: Signals, sample_rate: int) -> float:
        calls.append(sample_rate)
        return 3.0

    monkeypatch.setattr(dnsmos_module, "dnsmos", counted)
    mixture, metric = real_speech.sum(axis=0), METRICS["dnsmos"]
    truth = SceneTruth(real_speech, mixture, WIDE)
    assert [metric(mixture, truth, speaker) for speaker in range(3)] == [3.0] * 3
    assert calls == [WIDE]
    assert metric(real_speech[0], truth, 0) == 3.0
    assert len(calls) == 2


# --- which ones ---------------------------------------------------------------------------


def test_metrics_are_chosen_by_name_in_the_order_of_the_tables() -> None:
    assert choose_metrics(["sdr"], RATE)[0] == ("si_sdr", "sdr")
    assert choose_metrics([], RATE)[0] == ("si_sdr",)
    fast = {name for name, metric in METRICS.items() if not say(metric, "slow")}
    assert fast == {"si_sdr", "si_sdr_early", "sdr", *(f"error_{part}" for part in PARTS)}
    with pytest.raises(InputError, match="'sisdr' is none of si_sdr, si_sdr_early, sdr, sir"):
        choose_metrics(["sisdr"], RATE)


@pytest.mark.parametrize(("rate", "band"), [(8000, "nb"), (16000, "wb"), (44100, "wb")])
def test_by_default_the_band_of_pesq_is_that_of_the_audio(rate: int, band: str) -> None:
    pytest.importorskip("pesq")
    found, _ = choose_metrics(None, rate)
    assert [name for name in found if name.startswith("pesq")] == [f"pesq_{band}"]
    assert not {"dnsmos", "wer"} & set(found)


def test_wide_band_pesq_needs_wide_band_audio() -> None:
    pytest.importorskip("pesq")
    assert choose_metrics(["pesq_wb", "pesq_nb"], WIDE)[0] == ("si_sdr", "pesq_nb", "pesq_wb")
    with pytest.raises(InputError, match="take pesq_nb"):
        choose_metrics(["pesq_wb"], RATE)


@pytest.mark.parametrize(
    ("metric", "package"),
    [("pesq_nb", "pesq"), ("estoi", "pystoi"), ("sir", "fast_bss_eval"), ("sar", "fast_bss_eval")],
)
def test_a_missing_package_matters_only_if_asked_for(
    monkeypatch: pytest.MonkeyPatch, metric: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    available, unavailable = choose_metrics(None, RATE)
    assert metric not in available
    assert metric in unavailable
    with pytest.raises(InputError, match=f"pip install {package}"):
        choose_metrics([metric], RATE)


def test_dnsmos_names_both_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "speechmos", None)
    assert "dnsmos" not in choose_metrics(None, RATE)[1]
    with pytest.raises(InputError, match="pip install speechmos onnxruntime"):
        choose_metrics(["dnsmos"], WIDE)
