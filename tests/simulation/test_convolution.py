# SPDX-License-Identifier: Apache-2.0
"""Convolution in blocks is convolution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import convolve

from msdet.simulation.convolution import Convolution, block_size


@pytest.mark.parametrize("taps", [1, 90, 700, 5000])
@pytest.mark.parametrize("num_samples", [50, 4097, 20000])
def test_it_equals_the_sum(taps: int, num_samples: int) -> None:
    rng = np.random.default_rng(taps)
    dry = rng.standard_normal((2, taps - 1 + num_samples)).astype(np.float32)
    responses = rng.standard_normal((2, 3, taps)).astype(np.float32)
    gains = np.array([1.0, -0.3], np.float32)
    convolution = Convolution(dry, taps, 5)
    spectra = convolution.transform(responses)
    expected = np.array(
        [
            [convolve(d, h, "valid") for h in of_one]
            for d, of_one in zip(dry, responses, strict=True)
        ]
    )
    assert expected.shape == (2, 3, num_samples)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(convolution.each(spectra[:, 1]), expected[:, 1], atol=2e-6 * largest)
    mixed = [convolution.mixed(spectra[:, mic], gains) for mic in range(3)]
    np.testing.assert_allclose(mixed, np.einsum("s,smt->mt", gains, expected), atol=2e-6 * largest)


def test_shorter_responses_may_be_mixed_in() -> None:
    """A direct path has fewer taps than the whole response."""
    rng = np.random.default_rng(0)
    dry = rng.standard_normal((1, 3000)).astype(np.float32)
    short = rng.standard_normal((1, 60)).astype(np.float32)
    convolution = Convolution(dry, 500, 2)
    found = convolution.each(convolution.transform(short))
    expected = convolve(dry[0], short[0], "valid")[-len(found[0]) :]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_blocks_hold_their_responses() -> None:
    for taps in (1, 100, 4096, 30000):
        size = block_size(64000, taps, 12)
        assert size >= 1.25 * taps
        assert size & (size - 1) == 0
