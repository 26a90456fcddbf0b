# SPDX-License-Identifier: Apache-2.0
"""A corpus in memory and the arrays that the tests of the simulation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from msdet.geometry import Circle, Line, LShape, MicrophoneArray
from msdet.simulation import Scene, SceneConfig, draw_scene, pool_room

RATE = 8000


@dataclass(frozen=True)
class Utterance:
    id: str
    speaker: str
    duration: float


@dataclass(frozen=True)
class MemoryCorpus:
    """What the simulation needs of a corpus."""

    audio: dict[str, NDArray[np.float32]]
    sample_rate: int = RATE
    name: str = "memory"
    fingerprint: str = "0123abcd"

    @property
    def utterances(self) -> tuple[Utterance, ...]:
        return tuple(
            Utterance(id, id.split("-")[0], len(audio) / self.sample_rate)
            for id, audio in self.audio.items()
        )

    @property
    def speakers(self) -> tuple[str, ...]:
        return tuple(sorted({u.speaker for u in self.utterances}))

    def of_speaker(self, speaker: str) -> tuple[Utterance, ...]:
        return tuple(u for u in self.utterances if u.speaker == speaker)

    def by_id(self, id: str) -> Utterance:
        return next(u for u in self.utterances if u.id == id)

    def num_samples(self, utterance: Utterance) -> int:
        return len(self.audio[utterance.id])

    def read(
        self, utterance: Utterance, start: int = 0, stop: int | None = None
    ) -> NDArray[np.float32]:
        return self.audio[utterance.id][start:stop]


def speech_like(rng: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """Noise in the band of speech, with syllables and pauses."""
    n = int(seconds * RATE)
    band = butter(4, [200, 3000], "bandpass", fs=RATE, output="sos")
    syllables = np.repeat(rng.gamma(0.7, 1.0, n // 1600 + 1), 1600)[:n]
    pauses = np.repeat(rng.random(n // 4000 + 1) > 0.2, 4000)[:n]
    signal = sosfilt(band, rng.standard_normal(n)) * syllables * pauses
    audio = (0.05 * signal / np.sqrt(np.mean(signal**2))).astype(np.float32)
    audio.flags.writeable = False
    return audio


@pytest.fixture(scope="session")
def make_corpus() -> Callable[[dict[str, NDArray[np.float32]]], MemoryCorpus]:
    return MemoryCorpus


@pytest.fixture(scope="session")
def corpus() -> MemoryCorpus:
    rng = np.random.default_rng(0)
    return MemoryCorpus({f"s{s}-{u}": speech_like(rng, 6) for s in range(5) for u in range(2)})


@pytest.fixture(scope="session")
def circle() -> MicrophoneArray:
    return Circle(shape="circle", num_mics=4, radius=0.05).build()


@pytest.fixture(scope="session")
def l_shape() -> MicrophoneArray:
    return LShape(shape="l", num_mics=5, arm=0.1).build()


@pytest.fixture(scope="session")
def line() -> MicrophoneArray:
    return Line(shape="line", num_mics=4, spacing=0.04).build()


@pytest.fixture
def draw(corpus: MemoryCorpus, circle: MicrophoneArray) -> Callable[..., Scene]:
    """`draw_scene` with the quickstart's ranges, except for what is given."""

    def drawn(config: SceneConfig | None = None, **changes: object) -> Scene:
        given: dict[str, object] = {
            "seed": 0,
            "split": "train",
            "index": 0,
            "epoch": 0,
            "sample_rate": RATE,
            "num_samples": 2 * RATE,
        }
        chosen = changes.pop("corpus", corpus), changes.pop("array", circle)
        room_index = changes.pop("room_index", None)
        given.update(changes)
        if isinstance(room_index, int):
            given["room"] = pool_room(
                config or SceneConfig(), chosen[1], seed=0, split="train", room_index=room_index
            )
        return draw_scene(config or SceneConfig(), chosen[1], chosen[0], **given)  # type: ignore[arg-type]

    return drawn
