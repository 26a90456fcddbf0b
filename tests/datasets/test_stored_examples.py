# SPDX-License-Identifier: Apache-2.0
"""Training examples that are cut from stored mixtures: pure functions of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from msdet.datasets import Batch, ExampleSampler
from msdet.datasets.stored import StoredExamples, random_crop
from msdet.geometry import MicrophoneArray
from msdet.moments import moments_of
from msdet.simulation import Example
from msdet.simulation.mixture_files import Format
from msdet.simulation.stored import StoredMixtures

SAMPLES = 400


class MemoryMixtures(StoredMixtures):
    """Mixtures whose samples tell their number and time."""

    def __init__(self, count: int, num_samples: int = 1000) -> None:
        numbers = np.arange(count, dtype=np.int32)
        format: Format = "tar"
        super().__init__(Path("none"), format, numbers.astype("S"), numbers, None, "")
        object.__setattr__(self, "num_samples", num_samples)

    def read(self, number: int, pose: Any) -> Example:
        return example(number, self.num_samples)  # type: ignore[attr-defined]


def example(number: int = 0, num_samples: int = 1000) -> Example:
    rng = np.random.default_rng(number)
    mixture = rng.standard_normal((3, num_samples)).astype(np.float32)
    mixture /= np.sqrt(np.mean(mixture[1] ** 2))
    places = {"azimuth": (10.0, 80.0), "elevation": (0.0, 1.0), "distance": (1.0, 2.0)}
    array = MicrophoneArray("l3", ((0.0, 0.0, 0.0), (0.05, 0.0, 0.0), (0.0, 0.05, 0.0)))
    attributes = {"reference_mic": 1, "index": number, "microphone_array": lambda: array}
    attributes |= {"is_conversation": False, "sample_rate": 1000, "paths": ()}
    scene: Any = type("Scene", (), attributes)
    return Example(
        mixture=mixture,
        targets=rng.standard_normal((2, num_samples)).astype(np.float32) / 2,
        **{key: np.array(value, np.float32) for key, value in places.items()},
        drr_db=np.zeros(2, np.float32),
        t60=0.2,
        gain=3.0,
        scene=scene,
    )


def stored(count: int = 5, **changes: Any) -> StoredExamples:
    keys: dict[str, Any] = {"seed": 0, "num_samples": SAMPLES, "length": 4} | changes
    return StoredExamples(MemoryMixtures(count), **keys)


def same(a: Example, b: Example) -> bool:
    return np.array_equal(a.mixture, b.mixture) and np.array_equal(a.targets, b.targets)


def test_an_example_depends_on_its_numbers_alone() -> None:
    expected = [stored().example(0, i) for i in range(4)]
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    again = stored()
    for index in (2, 0, 3, 1):
        assert same(again.example(0, index), expected[index])
    assert not same(stored(seed=1).example(0, 0), expected[0])


@pytest.mark.parametrize(("count", "length"), [(5, 4), (4, 4), (3, 7)])
def test_every_mixture_comes_once_before_any_comes_again(count: int, length: int) -> None:
    """Across epochs, and in another order each time."""
    examples = stored(count, length=length)
    epochs = -(-6 * count // length)
    numbers = [examples.number(e, i) for e in range(epochs) for i in range(length)]
    laps = [numbers[n * count : (n + 1) * count] for n in range(6)]
    assert all(sorted(lap) == list(range(count)) for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 1


def test_a_mixture_that_comes_again_is_cut_elsewhere() -> None:
    examples = stored(1, length=1)
    crops = {examples.example(epoch, 0).mixture.tobytes() for epoch in range(6)}
    assert len(crops) > 3


def test_a_crop_is_a_stretch_of_everything_with_one_gain() -> None:
    whole = example()
    crop = random_crop(whole, SAMPLES, np.random.default_rng(0))
    assert crop.mixture.shape == (3, SAMPLES)
    assert crop.targets.shape == (2, SAMPLES)
    assert np.sqrt(np.mean(crop.mixture[1] ** 2)) == pytest.approx(1, rel=1e-5)
    gain = crop.gain / whole.gain
    ratio = np.lib.stride_tricks.sliding_window_view(whole.mixture[0], SAMPLES) * gain
    (start,) = np.flatnonzero(np.abs(ratio - crop.mixture[0]).max(axis=1) < 1e-5)
    window = slice(start, start + SAMPLES)
    assert np.allclose(crop.mixture, whole.mixture[:, window] * gain, rtol=1e-5)
    assert np.allclose(crop.targets, whole.targets[:, window] * gain, rtol=1e-5)
    assert np.array_equal(crop.azimuth, whole.azimuth)


def test_a_mixture_of_the_asked_length_is_taken_whole() -> None:
    whole = example(num_samples=SAMPLES)
    crop = random_crop(whole, SAMPLES, np.random.default_rng(0))
    assert np.allclose(crop.mixture, whole.mixture, rtol=1e-5)


def test_crops_reach_from_the_first_sample_to_the_last() -> None:
    whole = example(num_samples=SAMPLES + 2)
    starts = set()
    for seed in range(40):
        crop = random_crop(whole, SAMPLES, np.random.default_rng(seed))
        first = whole.mixture[0, :3] * crop.gain / whole.gain
        starts.add(int(np.abs(first - crop.mixture[0, 0]).argmin()))
    assert starts == {0, 1, 2}


def test_a_crop_in_which_a_target_is_silent_is_drawn_again() -> None:
    whole = example(num_samples=4 * SAMPLES)
    targets = whole.targets.copy()
    targets[1, : 2 * SAMPLES] = 0  # a third of the crops hear nothing of it
    for seed in range(30):
        crop = random_crop(replace(whole, targets=targets), SAMPLES, np.random.default_rng(seed))
        assert np.square(crop.targets[1]).mean() > 0


def test_where_a_target_never_speaks_a_crop_is_taken_all_the_same() -> None:
    whole = example()
    silent = replace(whole, targets=np.zeros_like(whole.targets))
    crop = random_crop(silent, SAMPLES, np.random.default_rng(0))
    assert crop.mixture.shape == (3, SAMPLES)
    assert np.isfinite(crop.mixture).all()
    nothing = replace(silent, mixture=np.zeros_like(whole.mixture))
    assert not random_crop(nothing, SAMPLES, np.random.default_rng(0)).mixture.any()


def test_a_crop_of_a_conversation_has_those_who_speak_in_it() -> None:
    """One speaks in the first quarter of the mixture, the other in the second."""
    whole = example(num_samples=4 * SAMPLES)
    talk: Any = type("Talk", (whole.scene,), {"is_conversation": True})
    quarter = SAMPLES / 1000
    activity = (((0.0, quarter),), ((quarter, 2 * quarter),))
    whole = replace(whole, scene=talk, activity=activity)
    found = set()
    for seed in range(60):
        crop = random_crop(whole, SAMPLES, np.random.default_rng(seed))
        assert np.sqrt(np.mean(crop.mixture[1] ** 2)) == pytest.approx(1, rel=1e-5)
        assert crop.targets.shape == (crop.num_speakers, SAMPLES)
        assert crop.activity is not None
        for azimuth, ((start, end),) in zip(crop.azimuth, crop.activity, strict=True):
            assert 0 <= start <= end - 0.1 <= quarter - 0.1 + 1e-9, "shorter ones are not heard"
            assert start == 0 or azimuth == 80.0
        if crop.num_speakers == 2:
            assert crop.activity[1][0][0] == pytest.approx(crop.activity[0][0][1])
        found.add(tuple(crop.azimuth.tolist()))
    assert found == {(10.0, 80.0), (10.0,), (80.0,), ()}
    batch = Batch.stack([random_crop(whole, SAMPLES, np.random.default_rng(s)) for s in range(60)])
    assert batch.present.sum(dim=1).unique().tolist() == [0, 1, 2]


def test_the_same_batches_with_and_without_workers(batches: Callable[..., list[Batch]]) -> None:
    """That mixtures can be sent to other processes is tested with them."""
    expected, found = (batches(stored(), workers, epochs=2) for workers in (0, 2))
    assert len(found) == len(expected) == 4
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.mixture, b.mixture)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.index, b.index)


def test_devices_see_together_what_one_sees_alone() -> None:
    examples = stored(8, length=6)
    samplers = [ExampleSampler(6, 1, rank, 3) for rank in range(3)]
    alone = {examples.number(*divmod(number, 6)) for number in ExampleSampler(6)}
    shares = [[examples.number(*divmod(number, 6)) for number in share] for share in samplers]
    assert {number for share in shares for number in share} == alone
    assert sum(map(len, shares)) == len(alone) == 6


def test_a_crop_of_people_who_walk_has_the_labels_of_its_start() -> None:
    whole = example(num_samples=3000)
    seconds = moments_of(3.0)[:, None]
    walks = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, 0.0]])[:, None]
    way = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.1]])[:, None]
    whole = replace(whole, places=walks + way * seconds)
    crop = random_crop(whole, 1000, np.random.default_rng(0))
    pattern = crop.mixture[0] * whole.gain / crop.gain
    match = [np.allclose(pattern, whole.mixture[0, i : i + 1000], atol=1e-5) for i in range(2001)]
    start = match.index(True) / 1000
    assert start > 0
    expected = walks + way * (start + moments_of(1.0)[:, None])
    assert crop.places is not None
    np.testing.assert_allclose(crop.places, expected)
    first = expected[:, 0]
    distance = np.linalg.norm(first, axis=-1)
    np.testing.assert_allclose(crop.azimuth, whole.array.azimuth_of(first), rtol=1e-5)
    np.testing.assert_allclose(crop.distance, distance, rtol=1e-5)
    elevation = np.degrees(np.arcsin(first[:, 2] / distance))
    np.testing.assert_allclose(crop.elevation, elevation, rtol=1e-5)
    assert crop.track is not None
    assert np.abs(np.diff(crop.track)).max() < 20  # the first walks through 0 degrees
    np.testing.assert_allclose(crop.track[:, 0] % 360, crop.azimuth, rtol=1e-5)
