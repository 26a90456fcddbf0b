# SPDX-License-Identifier: Apache-2.0
"""Pictures are written, hold more than a blank page, and leave no trace in matplotlib."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread
from msdet.evaluation.pictures.style import COLOURS
from numpy.typing import NDArray

from msdet.evaluation.pictures.directions import azimuth_scatter, error_histogram, polar_plot
from msdet.evaluation.pictures.sound import spectrograms
from msdet.evaluation.pictures.training import training_curves

SAMPLE_RATE = 8000


def assert_drawn(path: Path) -> None:
    image = imread(path)
    assert path.stat().st_size > 5_000
    assert image.shape[0] > 300
    assert image.shape[1] > 500
    inked = np.asarray((image[..., :3] < 0.98).any(axis=-1))
    assert inked.mean() > 0.01
    # Nothing is cut off at the edge of the page.
    edges = [inked[0], inked[-1], inked[:, 0], inked[:, -1]]
    assert not any(edge.any() for edge in edges)


TRAINING: list[dict[str, float | None]] = [
    {"seconds": 10.0 * i, "train_loss": 5.0 / (i + 1), "learning_rate": 1e-3} for i in range(8)
]
VALIDATION: list[dict[str, float | None]] = [
    {"seconds": 40.0, "epoch": 4, "valid_loss": 2.0, "valid_si_sdr_improvement_db": 1.0},
    {"seconds": 80.0, "epoch": 8, "valid_loss": None, "valid_si_sdr_improvement_db": float("nan")},
]

PICTURES: dict[str, Callable[[Path, NDArray[np.float64]], None]] = {
    "training": lambda path, _: training_curves(TRAINING + VALIDATION, path),
    "spectrograms": lambda path, speech: spectrograms(
        speech.sum(axis=0), speech[:2] + 0.2 * speech[1:], speech[:2], SAMPLE_RATE, path
    ),
    "polar": lambda path, _: polar_plot(
        [359.0, 52.0], [1.2, 2.3], [3.0, np.nan], path, posteriors=np.eye(72)[[1, 10]]
    ),
    "polar of a line": lambda path, _: polar_plot(
        [10.0, 120.0], [1.2, 2.3], [13.0, 100.0], path, linear_array=True
    ),
    "scatter": lambda path, _: azimuth_scatter([[359.0, 52.0]], [[3.0, 50.0]], path),
    "histogram": lambda path, _: error_histogram(
        [1.0, 2.0, 90.0], path, best_matched=[1.0, 2.0, np.nan]
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn(name: str, tmp_path: Path, speech: NDArray[np.float64]) -> None:
    before = dict(matplotlib.rcParams)
    path = tmp_path / "folder" / "picture.png"
    PICTURES[name](path, speech)
    assert_drawn(path)
    assert dict(matplotlib.rcParams) == before


def test_a_full_disk_leaves_no_half_picture_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError, match="picture") as caught:
            polar_plot([40.0], [2.0], [40.0], path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_history_without_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        training_curves([{"epoch": 0, "train_loss": float("nan")}], tmp_path / "x.png")


def test_angles_grow_counter_clockwise_from_the_right(tmp_path: Path) -> None:
    """A speaker at 90 degrees is drawn above the array, one at 0 degrees to its right."""

    def ink(azimuth: float) -> tuple[float, float]:
        path = tmp_path / "p.png"
        polar_plot([azimuth], [2.0], [azimuth], path)
        image = imread(path)[..., :3]
        blue = np.array([int(COLOURS[0][i : i + 2], 16) for i in (1, 3, 5)]) / 255
        circle = np.abs(image[:, : image.shape[1] // 2] - blue).max(axis=-1) < 0.1
        y, x = np.nonzero(circle)
        return float(x.mean()), float(y.mean())

    (right_x, right_y), (up_x, up_y) = ink(0.0), ink(90.0)
    assert right_x > up_x + 50
    assert up_y < right_y - 50
