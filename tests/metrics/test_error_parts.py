# SPDX-License-Identifier: Apache-2.0
"""The parts of an error: of errors that were put together, and what they sum to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.errors import InputError
from msdet.metrics import SceneRow, SceneTruth, score, score_table, summarise
from msdet.metrics.choose import choose_metrics
from msdet.metrics.signals.error_parts import PARTS, error_parts
from msdet.metrics.signals.si_sdr import si_sdr

RATE = 8000
SECONDS = 8
NAMES = [f"error_{part}" for part in PARTS]

Signals = NDArray[np.float64]


@pytest.fixture(scope="module")
def sounds() -> dict[str, Signals]:
    """Two voices in syllables, their rooms' reverberation, and noise, each ``[sample]``."""
    rng = np.random.default_rng(2)
    length = SECONDS * RATE
    time = np.arange(length) / RATE

    def voice(rate: float) -> Signals:
        loud: Signals = np.clip(np.sin(2 * np.pi * rate * time + rate), 0.0, None)
        return loud * rng.standard_normal(length)

    def room(dry: Signals) -> Signals:
        tail = rng.standard_normal(2000) * np.exp(-np.arange(2000) / 500) / 20
        return np.convolve(np.r_[np.zeros(1200), tail], dry)[:length]

    first, second = voice(2.3), voice(3.1)
    return {
        "first": first,
        "tail": room(first),
        "second": second + room(second),
        "noise": 0.3 * rng.standard_normal(length),
        "else": rng.standard_normal(length),
    }


@pytest.fixture(scope="module")
def truth(sounds: dict[str, Signals]) -> SceneTruth:
    images = np.stack([sounds["first"] + sounds["tail"], sounds["second"]])
    targets = np.stack([sounds["first"], sounds["second"]])
    mixture = images.sum(axis=0) + sounds["noise"]
    return SceneTruth(targets, mixture, RATE, images=images, early=images)


def energy(signal: Signals) -> float:
    return float(signal @ signal)


def shares(estimate: Signals, truth: SceneTruth, **options: Any) -> dict[str, float]:
    found = error_parts(estimate, truth, 0, **options)
    return {name: part / sum(found.values()) for name, part in found.items()}


@pytest.mark.parametrize(
    ("sound", "part"),
    [
        ("tail", "reverberation"),
        ("second", "others"),
        ("noise", "noise"),
        ("else", "varying"),
    ],
)
def test_an_error_of_one_sound_is_that_part(
    sounds: dict[str, Signals], truth: SceneTruth, sound: str, part: str
) -> None:
    error = sounds[sound] * 0.2 * np.sqrt(energy(sounds["first"]) / energy(sounds[sound]))
    assert shares(sounds["first"] + error, truth)[part] > 0.94


def test_a_filter_of_the_target_is_colour(sounds: dict[str, Signals], truth: SceneTruth) -> None:
    coloured = np.convolve(sounds["first"], [1.0, 0.0, 0.4, -0.3])[: SECONDS * RATE]
    assert shares(coloured, truth)["colour"] > 0.99


def test_an_error_put_together_comes_apart(sounds: dict[str, Signals], truth: SceneTruth) -> None:
    wanted = {"tail": 0.1, "second": 0.2, "noise": 0.1, "else": 0.3}
    target = sounds["first"]
    coloured = np.convolve(target, [0.0, 1.0])[: len(target)]
    coloured -= target * (coloured @ target) / energy(target)
    error = coloured * np.sqrt(0.3 / energy(coloured))
    for name, share in wanted.items():
        error = error + sounds[name] * np.sqrt(share / energy(sounds[name]))
    found = shares(target + 0.3 * np.sqrt(energy(target)) * error, truth)
    expected = dict(zip(PARTS, (0.3, 0.1, 0.2, 0.1, 0.3), strict=True))
    assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("window_ms", [64.0, 128.0])
def test_the_parts_sum_to_the_error_of_si_sdr(
    sounds: dict[str, Signals], truth: SceneTruth, window_ms: float
) -> None:
    rng = np.random.default_rng(5)
    for _ in range(3):
        estimate = sum(rng.normal() * sound for sound in sounds.values()) + sounds["first"]
        whole = sum(error_parts(estimate, truth, 0, window_ms).values())
        assert -10 * np.log10(whole) == pytest.approx(si_sdr(estimate, truth.targets[0]), abs=1e-5)


def test_nothing_varies_in_the_mixture(truth: SceneTruth) -> None:
    found = shares(truth.mixture, truth)
    assert found["varying"] < 1e-9  # single precision
    assert min(share for part, share in found.items() if part != "varying") > 1e-3


def test_a_longer_window_explains_a_longer_filter(
    sounds: dict[str, Signals], truth: SceneTruth
) -> None:
    echoed = sounds["first"] + 0.5 * np.roll(sounds["first"], round(0.1 * RATE))
    by_window = [shares(echoed, truth, window_ms=ms)["varying"] for ms in (32.0, 128.0, 512.0)]
    assert by_window[0] > by_window[1] > by_window[2]


def test_each_speaker_has_a_filter_of_its_own(sounds: dict[str, Signals]) -> None:
    """The sum of the others through one filter would not explain what lets one of them through."""
    voices = np.stack([sounds["first"], sounds["second"], np.roll(sounds["second"], 9000)])
    truth = SceneTruth(voices, voices.sum(axis=0), RATE, images=voices)
    found = shares(voices[0] + 0.3 * voices[1], truth)
    assert found["others"] > 0.99
    assert found["noise"] == found["reverberation"] == 0.0


def scored(estimates: Any, truth: SceneTruth, **options: Any) -> Any:
    keys = {"images": truth.images, "early": truth.early} | options
    return score(
        estimates, truth.targets, truth.mixture, RATE, metrics=[*NAMES, "si_sdr_early"], **keys
    )


def test_scores_of_parts_and_their_shares(sounds: dict[str, Signals], truth: SceneTruth) -> None:
    other = truth.targets[1]
    estimates = np.stack([sounds["first"] + 0.2 * other, other + 0.1 * sounds["else"]])
    found = scored(estimates, truth)
    assert not found.failures
    first, second = (of.scores for of in found.speakers)
    assert first["error_others"] == pytest.approx(first["si_sdr"], abs=0.3)
    assert first["error_others_improvement"] > 5
    assert second["error_varying"] == pytest.approx(second["si_sdr"], abs=0.3)
    assert second["error_varying_improvement"] is None  # nothing varies in the mixture
    summary = summarise([SceneRow.of(found, 0)])
    told = [summary[f"{name}_share"] for name in NAMES]
    assert sum(told) == pytest.approx(1.0, abs=1e-5)
    assert summary["error_others_share"] > 0.4
    table = score_table([SceneRow.of(found, 0)])
    of_speakers = table[table["quantity"].isin([f"{name}_share" for name in NAMES])]
    assert of_speakers.groupby("speaker")["value"].sum().tolist() == pytest.approx([1, 1])


def test_no_error_has_no_parts(truth: SceneTruth) -> None:
    found = scored(truth.targets, truth)
    assert not found.failures
    assert {of.scores[name] for of in found.speakers for name in NAMES} == {None}
    assert summarise([SceneRow.of(found, 0)])["error_colour_share"] is None


def test_silence_has_the_parts_of_the_mixture(truth: SceneTruth) -> None:
    found = scored(np.zeros_like(truth.targets), truth)
    for of in found.speakers:
        for name in NAMES:
            assert of.scores[name] == of.scores[f"{name}_unprocessed"]


def test_a_speaker_alone_is_disturbed_by_no_other(sounds: dict[str, Signals]) -> None:
    image = sounds["first"] + sounds["tail"]
    truth = SceneTruth(sounds["first"][None], image, RATE, images=image[None], early=image[None])
    found = scored((image + 0.1 * sounds["else"])[None], truth)
    assert not found.failures
    scores = found.speakers[0].scores
    assert scores["error_others"] is scores["error_noise"] is None
    assert scores["error_reverberation"] < scores["error_varying"]


def test_without_images_they_are_counted_as_not_scored(truth: SceneTruth) -> None:
    found = scored(truth.targets, truth, images=None, early=None)
    reasons = {failure.metric: failure.reason for failure in found.failures}
    assert reasons.pop("si_sdr_early") == "the early targets are not known"
    assert reasons == dict.fromkeys(NAMES, "the speakers' images are not known")
    assert summarise([SceneRow.of(found, 0)])["error_noise_share"] is None


def test_images_of_another_shape_are_refused(truth: SceneTruth) -> None:
    with pytest.raises(ValueError, match=r"^images must be finite and of the targets' shape"):
        scored(truth.targets, truth, images=truth.mixture)


def test_a_signal_too_short_for_the_window_says_so(truth: SceneTruth) -> None:
    assert truth.images is not None
    half = slice(0, RATE // 2)
    short = SceneTruth(
        truth.targets[:, half], truth.mixture[half], RATE, images=truth.images[:, half]
    )
    with pytest.raises(ValueError, match=r"too short for windows of 500 ms: \d+ frames"):
        error_parts(short.mixture, short, 0, 500.0)


def test_the_window_is_a_key(sounds: dict[str, Signals], truth: SceneTruth) -> None:
    by_window = []
    for window in (32.0, 256.0):
        chosen, _ = choose_metrics(["error_varying"], RATE, error_window_ms=window)
        estimate = np.roll(sounds["first"], 300)
        by_window.append(chosen[-1](estimate, truth, 0))
    assert by_window[0] != by_window[1]


def test_a_window_out_of_range_is_refused_in_one_line() -> None:
    from msdet.evaluation.config import EvaluationConfig
    from msdet.parsing import parse

    for window in (0, 1000, "long"):
        with pytest.raises(InputError, match=r"error_window_ms") as caught:
            parse(EvaluationConfig, {"checkpoint": "a.ckpt", "error_window_ms": window})
        assert "\n" not in str(caught.value)
