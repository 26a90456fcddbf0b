# SPDX-License-Identifier: Apache-2.0
"""Recorders that are not as they should be: what each fault does to the sound, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import welch

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    Scene,
    SceneConfig,
    check_scene_config,
    compute_rirs,
    render,
    render_parts,
)

RATE = 8000
Draw = Callable[..., Scene]
KEYS = {
    "noise_slope": (-6.0, -6.0),
    "rumble_snr_db": (10.0, 10.0),
    "clicks": (5.0, 5.0),
    "dc_offset": (0.5, 0.5),
    "clipping_db": (12.0, 12.0),
}


def config(**imperfections: tuple[float, float]) -> SceneConfig:
    ranges = {"rirs": "anechoic", "snr_db": (20, 20), "imperfections": imperfections}
    return SceneConfig.model_validate(ranges)


def heard(scene: Scene, corpus: Any, **changes: Any) -> Example:
    scene = scene.model_copy(update=changes)
    return render(scene, corpus, compute_rirs(scene.room, scene.microphone_array(), RATE))


def added(scene: Scene, corpus: Any) -> NDArray[np.float64]:
    """What faults add to the mixture ``[mic, sample]``, which has an RMS of 1 without them."""
    without, with_them = heard(scene, corpus, recorder=None), heard(scene, corpus)
    return with_them.mixture * (without.gain / with_them.gain) - without.mixture.astype(np.float64)


def test_none_by_default(draw: Draw) -> None:
    scene = draw()
    assert scene.recorder is None
    assert "recorder" not in scene.model_dump()


@pytest.mark.parametrize("key", KEYS)
def test_each_changes_the_mixture_and_nothing_else_that_is_drawn(
    key: str, draw: Draw, corpus: Any
) -> None:
    plain, scene = draw(config()), draw(config(**{key: KEYS[key]}))
    assert scene.model_copy(update={"recorder": None}) == plain
    assert Scene.model_validate_json(scene.model_dump_json()) == scene
    found, before = heard(scene, corpus), heard(plain, corpus)
    np.testing.assert_array_equal(found.mixture, heard(scene, corpus).mixture)
    assert np.sqrt(np.mean(found.mixture[0] ** 2)) == pytest.approx(1, rel=1e-4)
    assert np.abs(found.mixture - before.mixture).max() > 0.01
    np.testing.assert_allclose(
        found.targets / found.gain, before.targets / before.gain, rtol=1e-5, atol=1e-7
    )


def test_the_parts_are_still_the_mixture(draw: Draw, corpus: Any) -> None:
    scene = draw(config(**KEYS))
    rirs = compute_rirs(scene.room, scene.microphone_array(), RATE)
    example, parts = render(scene, corpus, rirs), render_parts(scene, corpus, rirs)
    found = parts.images.sum(axis=0) + parts.noise
    np.testing.assert_allclose(found, example.mixture, atol=1e-4)


@pytest.mark.parametrize("slope", [-6.0, 3.0])
def test_noise_has_its_slope_and_its_level(slope: float, draw: Draw, corpus: Any) -> None:
    scene = draw(config(noise_slope=(slope, slope)), num_samples=10 * RATE)
    parts = render_parts(scene, corpus, compute_rirs(scene.room, scene.microphone_array(), RATE))
    speech = np.square(parts.images.sum(axis=0)[0]).mean()
    assert 10 * np.log10(speech / np.square(parts.noise[0]).mean()) == pytest.approx(20, abs=0.1)
    frequency, density = welch(parts.noise, RATE, nperseg=1024)
    inside = (frequency > 60) & (frequency < 3900)
    octaves, level = np.log2(frequency[inside]), 10 * np.log10(density[:, inside].mean(axis=0))
    assert np.polyfit(octaves, level, 1)[0] == pytest.approx(slope, abs=0.3)


def test_rumble_is_low_and_the_same_for_all_microphones(draw: Draw, corpus: Any) -> None:
    scene = draw(config(rumble_snr_db=(10, 10)), num_samples=10 * RATE)
    assert scene.recorder is not None
    assert scene.recorder.rumble_hz is not None
    assert 30 <= scene.recorder.rumble_hz <= 120
    rumble = added(scene, corpus)
    np.testing.assert_allclose(rumble, np.broadcast_to(rumble[0], rumble.shape), atol=1e-4)
    # of the mixture, a hundredth is the microphones' own noise
    assert -10 * np.log10(np.square(rumble[0]).mean()) == pytest.approx(10, abs=0.2)
    frequency, density = welch(rumble[0], RATE, nperseg=4096)
    low = frequency <= 1.5 * scene.recorder.rumble_hz
    assert density[low].sum() > 0.95 * density.sum()


def test_clicks_come_as_often_as_asked_each_on_one_microphone(draw: Draw, corpus: Any) -> None:
    scene = draw(config(clicks=(3, 3)), num_samples=20 * RATE)
    clicks = np.abs(added(scene, corpus))
    starts = [np.flatnonzero(np.diff((one > 1.5).astype(int)) > 0) for one in clicks]
    assert sum(map(len, starts)) == pytest.approx(60, abs=20)
    assert all(len(one) > 3 for one in starts)
    assert 2 < clicks.max() < 10 ** (26 / 20) + 0.1
    assert (clicks > 1e-3).mean() < 0.02
    assert ((clicks > 1).sum(axis=0) > 1).sum() < 5


def test_offsets_are_the_mean_of_each_microphone(draw: Draw, corpus: Any) -> None:
    offset = added(draw(config(dc_offset=(0.2, 0.6))), corpus)
    np.testing.assert_allclose(offset.std(axis=1), 0, atol=1e-4)
    found = np.abs(offset.mean(axis=1))
    assert ((found >= 0.2 - 1e-4) & (found <= 0.6 + 1e-4)).all()
    assert len(set(found.round(4))) == 4


def test_peaks_are_clipped_below_the_highest(draw: Draw, corpus: Any) -> None:
    scene = draw(config(clipping_db=(12, 12)))
    before, after = heard(scene, corpus, recorder=None), heard(scene, corpus)
    plain = before.mixture / np.float32(before.gain)
    clipped = after.mixture / np.float32(after.gain)
    limit = np.abs(plain).max() * 10 ** (-12 / 20)
    np.testing.assert_allclose(clipped, np.clip(plain, -limit, limit), atol=1e-4 * limit)
    assert 0.001 < (np.abs(clipped) > 0.999 * limit).mean() < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clicks": (-1, 1)}, r"scene\.imperfections\.clicks=.* expected 0 to 1000 per second"),
        ({"noise_slope": (3, -3)}, r"imperfections\.noise_slope=.* did you mean \[-3\.0, 3\.0\]"),
        ({"clipping_db": (0, 200)}, r"imperfections\.clipping_db=.* expected 0 to 100 dB"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], message: str, circle: MicrophoneArray
) -> None:
    with pytest.raises(InputError, match=message):
        check_scene_config(config(**changes), circle)
