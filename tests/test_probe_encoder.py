# SPDX-License-Identifier: Apache-2.0
"""The probe finds what is in features, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.geometry import AzimuthGrid
from scripts.probe_encoder import errors_of, hills_of, probe

GRID = AzimuthGrid(5.0)


def azimuths(count: int, seed: int) -> list[NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    first, gaps = rng.uniform(0, 360, count), rng.uniform(20, 340, count)
    return [np.array([a, (a + gap) % 360]) for a, gap in zip(first, gaps, strict=True)]


def features(known: list[NDArray[np.float64]], noise: float, seed: int) -> NDArray[np.float64]:
    """Hills through a fixed mixing, with noise."""
    rng = np.random.default_rng(5)
    mixing = rng.standard_normal((GRID.num_classes, 100))
    hills = np.stack([hills_of(of_one, GRID) for of_one in known])
    return hills @ mixing + noise * np.random.default_rng(seed).standard_normal((len(hills), 100))


def test_directions_that_are_in_the_features_are_read() -> None:
    train, test = azimuths(500, 0), azimuths(100, 1)
    error = probe(features(train, 0.5, 2), train, features(test, 0.5, 3), test, GRID)
    assert error < 4


def test_without_directions_the_error_is_that_of_chance() -> None:
    train, test = azimuths(500, 0), azimuths(200, 1)
    noise = np.random.default_rng(2)
    nothing = noise.standard_normal((500, 100)), noise.standard_normal((200, 100))
    error = probe(nothing[0], train, nothing[1], test, GRID)
    right = features(train, 0.1, 2), features(test, 0.1, 3)
    wrong = probe(right[0], train[::-1], right[1], test, GRID)
    assert error > 40
    assert wrong > 40


def test_peaks_are_matched_with_the_speakers() -> None:
    true = [np.array([10.0, 200.0]), np.array([355.0])]
    hills = np.stack([hills_of(of_one, GRID) for of_one in true])
    assert errors_of(hills, true, GRID) == pytest.approx(0)
    assert errors_of(hills, [np.array([200.0, 15.0]), np.array([5.0])], GRID) == pytest.approx(5)
