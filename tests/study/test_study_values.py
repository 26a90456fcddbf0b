# SPDX-License-Identifier: Apache-2.0
"""What a study reads from the rows of networks for one task or both."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from msdet.datasets import Batch
from msdet.models.msdet import MSDET
from msdet.study.results import _values
from msdet.training.validation import score_batch

SPEAKERS = torch.tensor([[True, True], [True, False]])


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Two scenes, one of two speakers and one of one."""
    generator = torch.Generator().manual_seed(0)
    known = torch.ones(2, dtype=torch.bool)
    return Batch(
        mixture=torch.randn(2, 4, 4000, generator=generator),
        targets=torch.randn(2, 2, 4000, generator=generator) * SPEAKERS[..., None],
        azimuth=torch.tensor([[30.0, 200.0], [100.0, 0.0]]),
        elevation=torch.zeros(2, 2),
        distance=torch.ones(2, 2),
        present=SPEAKERS,
        has_targets=known,
        has_azimuth=known,
        has_distance=known,
        index=torch.arange(2),
    )


@pytest.mark.parametrize(
    ("weight", "there"),
    [
        # what the masks of a network for direction alone hold is no estimate: tasks_of tells
        (0.0, {"azimuth_error_best_matched": True}),
        (1.0, {"si_sdr_improvement": True, "azimuth_error_best_matched": False}),
        (0.97, {"si_sdr_improvement": True, "azimuth_error_best_matched": True}),
    ],
)
def test_each_task_is_read_for_every_speaker_there_is(
    make_model: Callable[..., MSDET], batch: Batch, weight: float, there: dict[str, bool]
) -> None:
    model = make_model(weight=weight, guidance="none", beamformer="none").eval()
    with torch.inference_mode():
        output = model(batch.mixture)
    rows = score_batch(model, output, batch, [[0, 1]] * 2)
    values = _values(rows)
    for quantity, known in there.items():
        expected = SPEAKERS.numpy() & known
        np.testing.assert_array_equal(np.isfinite(values[quantity]), expected, quantity)
