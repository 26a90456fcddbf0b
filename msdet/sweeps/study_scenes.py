# SPDX-License-Identifier: Apache-2.0
"""The scenes that all runs of a study are scored on, from test voices and rooms, drawn once.

``main`` is the task. ``seam`` holds pairs: one scene with its array turned by its own symmetries,
so that room, speech and the microphones' places are the same and only labels (and which
microphone is the reference) change; in one of the two a speaker stands near 0 degrees, where
sorting by azimuth breaks, in the other none does. ``opposite`` is the task where speakers stand
opposite each other, where `cyclic` breaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
SET_NAMES: tuple[SetName, ...] = ("main", "seam", "opposite")
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
    left_out = reasons(counts, training, array)
    files = {name: folder / f"{name}.jsonl" for name in SET_NAMES if name not in left_out}
    path = folder / REQUEST_NAME
    request = {  # what shapes the scenes, as it is read back from JSON
        "scenes": counts.model_dump(),
        **training.model_dump(mode="json", include=_SHAPES_SCENES),
        "array": [list(place) for place in array.positions],
        "corpus": {"name": corpus.name, "fingerprint": corpus.fingerprint},
    }
    if path.exists():
        found = read_json(path, "choose another output=")
        if difference := first_difference(found, request):
            raise InputError(
                f"{folder}: holds other scenes ({difference}); choose another output=, or delete "
                "this folder and evaluation/ beside it"
            )
        return SceneSets({name: read_scenes(file) for name, file in files.items()}, left_out)
    sets = {
        name: tuple(_drawn(name, getattr(counts, name), training, array, corpus)) for name in files
    }
    for name, scenes in sets.items():
        write_scenes(files[name], scenes)
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


def _drawn(
    name: SetName, count: int, training: TrainConfig, array: MicrophoneArray, corpus: Corpus
) -> Iterator[Scene]:
    """Draw the scenes of a set, a function of the arguments alone."""
    seed, task = training.data.eval_seed, (training.scene, array, corpus)
    common: Any = {
        "seed": seed,
        "split": "test",
        "sample_rate": training.sample_rate,
        "seconds": training.data.eval_seconds,
    }
    if name == "main":
        yield from fixed_scenes(*task, count=count, **common)
        return

    def holds(room: Room) -> bool:
        if name == "opposite":
            return widest_angle(room) > OPPOSITION_DEGREES
        return all(_sides(room, training, array))

    rooms = chosen_rooms(
        training.scene,
        array,
        holds,
        seed=seed,
        key=(split_key("test"), _ROOMS, _EPOCH[name]),
        count=count,
        asked=f"scenes.{name}={count}",
    )
    for index, (rng, room) in enumerate(rooms):
        scene = scene_in(room, *task, index=index, epoch=_EPOCH[name], **common)
        scene = scene.model_copy(update={"id": f"{name}-{index:04d}"})
        if name == "opposite":
            yield scene
            continue
        for side, choices in enumerate(_sides(room, training, array)):  # which turn is drawn
            turned = {
                "room": choices[int(rng.integers(len(choices)))],
                "id": f"{scene.id}-{('on', 'off')[side]}",
                "index": 2 * index + side,
            }
            yield scene.model_copy(update=turned)


def _sides(
    room: Room, training: TrainConfig, array: MicrophoneArray
) -> tuple[list[Room], list[Room]]:
    """The room on the seam and off it, by all turns that the task's directions allow."""
    low, high = observable_azimuths(training.scene, array)
    turned = [rotated(room, array, degrees) for degrees, _ in array.rotations()]
    allowed = [
        turn
        for turn in turned
        if high - low >= 360 or all((s.azimuth - low) % 360 <= high - low for s in turn.speakers)
    ]
    on = [turn for turn in allowed if min(to_seam(turn)) < SEAM_DEGREES]
    return on, [turn for turn in allowed if turn not in on]
