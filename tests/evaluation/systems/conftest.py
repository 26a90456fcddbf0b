# SPDX-License-Identifier: Apache-2.0
"""Scenes as systems hear them: far voices in a free field, and rendered rooms."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.geometry import MicrophoneArray

if TYPE_CHECKING:
    from msdet.evaluation.systems.estimate import Heard

RATE = 8000
Hear = Callable[..., "Heard"]


def plain_si_sdr(estimate: NDArray[Any], target: NDArray[Any]) -> float:
    estimate, target = np.asarray(estimate, np.float64), np.asarray(target, np.float64)
    scaled = (estimate @ target) / (target @ target) * target
    error = estimate - scaled
    return float(10 * np.log10((scaled @ scaled) / (error @ error)))


@pytest.fixture(scope="session")
def si_sdr() -> Callable[[NDArray[Any], NDArray[Any]], float]:
    return plain_si_sdr


@pytest.fixture(scope="session")
def hear(
    voices: NDArray[np.float64], free_field: Callable[..., NDArray[np.float64]]
) -> Callable[..., Heard]:
    """The voices in these directions without a room, with a little noise of the microphones."""
    from msdet.evaluation.systems.estimate import Heard
    from msdet.simulation import Example, Parts

    def heard(
        array: MicrophoneArray,
        azimuths: list[float],
        *,
        reference_mic: int = 0,
        noise: float = 0.03,
    ) -> Heard:
        images = free_field(array, voices[: len(azimuths)], azimuths)
        hiss = noise * np.random.default_rng(4).standard_normal(images.shape[1:])
        scale = 1 / np.sqrt(np.mean((images.sum(axis=0) + hiss)[reference_mic] ** 2))
        voices_there = np.asarray(scale * images, np.float32)
        hiss_there = np.asarray(scale * hiss, np.float32)
        scene = SimpleNamespace(id="free", reference_mic=reference_mic, sample_rate=RATE)
        number = len(azimuths)
        example = Example(
            mixture=voices_there.sum(axis=0) + hiss_there,
            targets=voices_there[:, reference_mic],
            azimuth=np.array(azimuths, np.float32),
            elevation=np.zeros(number, np.float32),
            distance=np.ones(number, np.float32),
            drr_db=np.zeros(number, np.float32),
            t60=0.0,
            gain=1.0,
            scene=cast(Any, scene),
        )
        early = voices_there[:, reference_mic]
        return Heard(example, array, Parts(voices_there, hiss_there, early))

    return heard


@pytest.fixture(scope="session")
def rooms(arrays: dict[str, MicrophoneArray]) -> list[Heard]:
    """Two bundled voices in each of three reverberant rooms, their direct paths wanted."""
    from msdet.corpora import BundledConfig, open_corpus
    from msdet.evaluation.systems.estimate import Heard
    from msdet.simulation import SceneConfig, compute_rirs, draw_scene, render, render_parts

    corpus = open_corpus(BundledConfig(name="bundled"), RATE).split("train")
    array = arrays["circle4"]
    scenes = [
        draw_scene(
            SceneConfig(),
            array,
            corpus,
            seed=1,
            split="train",
            index=index,
            epoch=0,
            sample_rate=RATE,
            num_samples=2 * RATE,
        )
        for index in range(3)
    ]
    heard = []
    for scene in scenes:
        rirs = compute_rirs(scene.room, array, RATE)
        parts = render_parts(scene, corpus, rirs)
        heard.append(Heard(render(scene, corpus, rirs), array, parts))
    return heard
