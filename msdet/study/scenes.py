# SPDX-License-Identifier: Apache-2.0
"""The scenes that all runs of a study are scored on, from test voices and rooms, drawn once.

``main`` is the task. ``seam`` holds pairs: one scene with its array turned by its own symmetries,
so that room, speech and the microphones' places are the same and only labels (and which
microphone is the reference) change; in one of the two a speaker stands near 0 degrees, where
sorting by azimuth breaks, in the other none does. ``opposite`` is the task where speakers stand
opposite each other, where `cyclic` breaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from msdet.corpora import Corpus, open_corpus
from msdet.errors import InputError
from msdet.files import read_json, write_atomically
from msdet.geometry import MicrophoneArray
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.simulation import (
    Room,
    Scene,
    SceneConfig,
    fixed_scenes,
    read_scenes,
    rotated,
    write_scenes,
)
from msdet.simulation.chosen_scenes import chosen_rooms, scene_in, to_seam, widest_angle
from msdet.simulation.config import observable_azimuths
from msdet.simulation.draw_rooms import split_key
from msdet.simulation.rooms import symmetries
from msdet.study.config import SceneCounts
from msdet.training.config import TrainConfig

SetName = Literal["main", "seam", "opposite"]
SET_NAMES: tuple[SetName, ...] = ("main", "seam", "opposite")
REQUEST_NAME = "request.json"

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
    """The scenes in ``folder``, drawn and written there if they are not.

    Raises:
        InputError: it holds scenes of another study.
    """
    array = training.array.build()
    corpus = open_corpus(training.corpus, training.sample_rate).split("test")
    request, left_out = _request(counts, training, array, corpus), reasons(counts, training, array)
    names = [name for name in SET_NAMES if name not in left_out]
    path = folder / REQUEST_NAME
    if path.exists():
        _check_request(path, request)
        sets = {name: read_scenes(folder / f"{name}.jsonl") for name in names}
        return SceneSets(sets, left_out)
    sets = {name: draw_set(name, counts, training, array, corpus) for name in names}
    for name, scenes in sets.items():
        write_scenes(folder / f"{name}.jsonl", scenes)
    write_atomically(path, json.dumps(request, indent=2) + "\n")  # last: says that all are there
    return SceneSets(sets, left_out)


def reasons(
    counts: SceneCounts, training: TrainConfig, array: MicrophoneArray
) -> dict[SetName, str]:
    """Why a set is left out, for those that are."""
    found: dict[SetName, str] = {}
    imperfections = training.scene.imperfections
    if counts.seam == 0:
        found["seam"] = "none were asked for"
    elif array.is_linear:
        found["seam"] = "a linear array has no seam"
    elif len(symmetries(array)) == 1:
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


def draw_set(
    name: SetName,
    counts: SceneCounts,
    training: TrainConfig,
    array: MicrophoneArray,
    corpus: Corpus,
) -> tuple[Scene, ...]:
    """The scenes of a set; a function of its arguments alone. ``corpus``: the test part."""
    if name == "main":
        return fixed_scenes(
            training.scene,
            array,
            corpus,
            seed=training.data.eval_seed,
            split="test",
            count=counts.main,
            sample_rate=training.sample_rate,
            seconds=training.data.eval_seconds,
        )
    if name == "opposite":
        return tuple(_opposite_scenes(training, array, corpus, counts.opposite))
    return tuple(_seam_pairs(training, array, corpus, counts.seam))


def _opposite_scenes(
    training: TrainConfig, array: MicrophoneArray, corpus: Corpus, count: int
) -> Iterator[Scene]:
    rooms = _rooms(
        training, array, "opposite", count, lambda room: widest_angle(room) > OPPOSITION_DEGREES
    )
    for index, (_, room) in enumerate(rooms):
        scene = _scene(training, array, corpus, "opposite", index, room)
        yield scene.model_copy(update={"id": f"opposite-{index:04d}"})


def _seam_pairs(
    training: TrainConfig, array: MicrophoneArray, corpus: Corpus, count: int
) -> Iterator[Scene]:
    """Scene 2k on the seam, scene 2k + 1 the same one off it; which turns are taken is drawn."""

    def sides(room: Room) -> tuple[list[Room], list[Room]]:
        """The room on the seam and off it, by all turns that are allowed."""
        turned = [rotated(room, array, degrees) for degrees, _ in symmetries(array)]
        allowed = [r for r in turned if _in_range(training.scene, array, r)]
        on = [r for r in allowed if min(to_seam(r)) < SEAM_DEGREES]
        return on, [r for r in allowed if r not in on]

    rooms = _rooms(training, array, "seam", count, lambda room: all(sides(room)))
    for found, (rng, room) in enumerate(rooms):
        base = _scene(training, array, corpus, "seam", found, room)
        for side, (name, choices) in enumerate(zip(("on", "off"), sides(room), strict=True)):
            yield base.model_copy(
                update={
                    "room": choices[int(rng.integers(len(choices)))],
                    "id": f"seam-{found:04d}-{name}",
                    "index": 2 * found + side,
                }
            )


def _rooms(
    training: TrainConfig,
    array: MicrophoneArray,
    name: Literal["seam", "opposite"],
    count: int,
    holds: Callable[[Room], bool],
) -> Iterator[tuple[np.random.Generator, Room]]:
    """Rooms of the task that serve a set, each with the generator it came from."""
    return chosen_rooms(
        training.scene,
        array,
        holds,
        seed=training.data.eval_seed,
        key=(split_key("test"), _ROOMS, _EPOCH[name]),
        count=count,
        asked=f"scenes.{name}={count}",
    )


def _scene(
    training: TrainConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    name: Literal["seam", "opposite"],
    index: int,
    room: Room,
) -> Scene:
    return scene_in(
        room,
        training.scene,
        array,
        corpus,
        seed=training.data.eval_seed,
        split="test",
        index=index,
        epoch=_EPOCH[name],
        sample_rate=training.sample_rate,
        seconds=training.data.eval_seconds,
    )


def _in_range(config: SceneConfig, array: MicrophoneArray, room: Room) -> bool:
    low, high = observable_azimuths(config, array)
    if high - low >= 360:
        return True
    return all((s.azimuth - low) % 360 <= high - low for s in room.speakers)


def _request(
    counts: SceneCounts, training: TrainConfig, array: MicrophoneArray, corpus: Corpus
) -> dict[str, Any]:
    """What shapes the scenes, as it is read back from JSON."""
    shaped_by = {
        "scenes": counts.model_dump(),
        "sample_rate": training.sample_rate,
        "data.eval_seed": training.data.eval_seed,
        "data.eval_seconds": training.data.eval_seconds,
        "scene": training.scene.model_dump(mode="json"),
        "array": array.positions,
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint},
    }
    found: dict[str, Any] = json.loads(json.dumps(shaped_by))
    return found


def _check_request(path: Path, wanted: dict[str, Any]) -> None:
    found = read_json(path, "choose another output=")
    for key, value in wanted.items():
        if found.get(key) != value:
            raise InputError(
                f"{path.parent}: holds other scenes ({key} was {found.get(key)!r}, is {value!r}); "
                "choose another output=, or delete this folder and evaluation/ beside it"
            )
