# SPDX-License-Identifier: Apache-2.0
"""The scenes that all runs of a study are scored on, from test voices and rooms, drawn once.

``main`` is the task. ``seam`` holds pairs: one scene with its array turned by its own symmetries,
so that room, speech and the microphones' places are the same and only labels (and which
microphone is the reference) change; in one of the two a speaker stands near 0 degrees, where
sorting by azimuth breaks, in the other none does. ``opposite`` is the task where speakers stand
opposite each other, where `cyclic` breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from msdet.corpora import Corpus, open_corpus
from msdet.errors import InputError
from msdet.files import read_json, write_json
from msdet.geometry import MicrophoneArray
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.parsing import first_difference
from msdet.simulation import Room, Scene, fixed_scenes, read_scenes, rotated, write_scenes
from msdet.simulation.chosen_scenes import chosen_rooms, scene_in, to_seam, widest_angle
from msdet.simulation.config import observable_azimuths
from msdet.simulation.rooms import split_key
from msdet.sweeps.study import SceneCounts
from msdet.training.config import TrainConfig

SetName = Literal["main", "seam", "opposite"]
REQUEST_NAME = "request.json"

_SHAPES_SCENES: dict[str, Any] = {
    "sample_rate": True,
    "scene": True,
    "data": {"eval_seed", "eval_seconds"},
}
_EPOCH = {"seam": 1, "opposite": 2}
"""Scenes of `main` are those of epoch 0; other epochs hold other speech."""
_ROOMS = 100
"""Keys the generators of rooms for `seam` and `opposite`, apart from all others."""


@dataclass(frozen=True)
class SceneSets:
    """Scenes by the name of their set.

    Attributes:
        sets: without those that the array or the counts rule out. Of ``seam``, scene 2k is the
            one on the seam and 2k + 1 its partner off it.
        left_out: why a set is not there.
    """

    sets: dict[SetName, tuple[Scene, ...]]
    left_out: dict[SetName, str]


def study_scenes(folder: Path, counts: SceneCounts, training: TrainConfig) -> SceneSets:
    """Read the scenes in ``folder``; draw them and write them there if they are not.

    Raises:
        InputError: it holds scenes of another study.
    """
    array = training.array.build()
    corpus = open_corpus(training.corpus, training.sample_rate).split("test")
    task, left_out = _Task(training, array, corpus), reasons(counts, training, array)
    draws: dict[SetName, Callable[[], Iterable[Scene]]] = {
        "main": lambda: task.main(counts.main),
        "seam": lambda: task.seam(counts.seam),
        "opposite": lambda: task.opposite(counts.opposite),
    }
    names = [name for name in draws if name not in left_out]
    path, request = folder / REQUEST_NAME, task.request(counts)
    if path.exists():
        found = read_json(path, "choose another output=")
        if difference := first_difference(found, request):
            raise InputError(
                f"{folder}: holds other scenes ({difference}); choose another output=, or delete "
                "this folder and evaluation/ beside it"
            )
        sets = {name: read_scenes(folder / f"{name}.jsonl") for name in names}
        return SceneSets(sets, left_out)
    sets = {name: tuple(draws[name]()) for name in names}
    for name, scenes in sets.items():
        write_scenes(folder / f"{name}.jsonl", scenes)
    write_json(path, request)  # last: says that all are there
    return SceneSets(sets, left_out)


def reasons(
    counts: SceneCounts, training: TrainConfig, array: MicrophoneArray
) -> dict[SetName, str]:
    """Return why a set is left out, for those that are."""
    found: dict[SetName, str] = {}
    imperfections = training.scene.imperfections
    if counts.seam == 0:
        found["seam"] = "none were asked for"
    elif array.is_linear:
        found["seam"] = "a linear array has no seam"
    elif len(array.rotations()) == 1:
        found["seam"] = "no rotation maps the array onto itself"
    elif imperfections.moves_microphones or imperfections.gain_db or imperfections.phase:
        found["seam"] = "with scene.imperfections the array is not quite symmetric"
    if counts.opposite == 0:
        found["opposite"] = "none were asked for"
    elif array.is_linear:
        found["opposite"] = "a linear array has no opposite directions"
    elif training.scene.num_speakers[1] < 2:
        found["opposite"] = "there is one speaker"
    return found


@dataclass(frozen=True)
class _Task:
    """The task of a training. What it draws is a function of it and the counts alone."""

    training: TrainConfig
    array: MicrophoneArray
    corpus: Corpus

    def main(self, count: int) -> tuple[Scene, ...]:
        return fixed_scenes(
            self.training.scene, self.array, self.corpus, count=count, **self._common()
        )

    def opposite(self, count: int) -> Iterator[Scene]:
        rooms = self._rooms("opposite", count, lambda r: widest_angle(r) > OPPOSITION_DEGREES)
        for index, (_, room) in enumerate(rooms):
            scene = self._scene("opposite", index, room)
            yield scene.model_copy(update={"id": f"opposite-{index:04d}"})

    def seam(self, count: int) -> Iterator[Scene]:
        """Scene 2k on the seam, scene 2k + 1 the same off it; which turns are taken is drawn."""
        for found, (rng, room) in enumerate(
            self._rooms("seam", count, lambda room: all(self._sides(room)))
        ):
            base = self._scene("seam", found, room)
            for side, (name, choices) in enumerate(
                zip(("on", "off"), self._sides(room), strict=True)
            ):
                yield base.model_copy(
                    update={
                        "room": choices[int(rng.integers(len(choices)))],
                        "id": f"seam-{found:04d}-{name}",
                        "index": 2 * found + side,
                    }
                )

    def _sides(self, room: Room) -> tuple[list[Room], list[Room]]:
        """The room on the seam and off it, by all turns that the task's directions allow."""
        low, high = observable_azimuths(self.training.scene, self.array)
        turned = [rotated(room, self.array, degrees) for degrees, _ in self.array.rotations()]
        allowed = [
            turn
            for turn in turned
            if high - low >= 360
            or all((s.azimuth - low) % 360 <= high - low for s in turn.speakers)
        ]
        on = [turn for turn in allowed if min(to_seam(turn)) < SEAM_DEGREES]
        return on, [turn for turn in allowed if turn not in on]

    def _rooms(
        self, name: Literal["seam", "opposite"], count: int, holds: Callable[[Room], bool]
    ) -> Iterator[tuple[np.random.Generator, Room]]:
        """Rooms of the task that serve a set, each with the generator it came from."""
        return chosen_rooms(
            self.training.scene,
            self.array,
            holds,
            seed=self.training.data.eval_seed,
            key=(split_key("test"), _ROOMS, _EPOCH[name]),
            count=count,
            asked=f"scenes.{name}={count}",
        )

    def _scene(self, name: Literal["seam", "opposite"], index: int, room: Room) -> Scene:
        return scene_in(
            room,
            self.training.scene,
            self.array,
            self.corpus,
            index=index,
            epoch=_EPOCH[name],
            **self._common(),
        )

    def _common(self) -> Any:
        return {
            "seed": self.training.data.eval_seed,
            "split": "test",
            "sample_rate": self.training.sample_rate,
            "seconds": self.training.data.eval_seconds,
        }

    def request(self, counts: SceneCounts) -> dict[str, Any]:
        """Return what shapes the scenes, as it is read back from JSON."""
        return {
            "scenes": counts.model_dump(),
            **self.training.model_dump(mode="json", include=_SHAPES_SCENES),
            "array": [list(place) for place in self.array.positions],
            "corpus": {"name": self.corpus.name, "fingerprint": self.corpus.fingerprint},
        }
