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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from msdet.config import TrainConfig
from msdet.corpora import Corpus, open_corpus
from msdet.errors import InputError
from msdet.evaluation.statistics import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.files import write_atomically
from msdet.geometry import MicrophoneArray, angular_error
from msdet.simulation import (
    Room,
    Scene,
    SceneConfig,
    draw_room,
    draw_scene,
    fixed_scenes,
    read_scenes,
    rotated,
    write_scenes,
)
from msdet.simulation.config import observable_azimuths
from msdet.simulation.draw_rooms import random_generator, split_key
from msdet.simulation.rooms import symmetries
from msdet.study.config import SceneCounts

SetName = Literal["main", "seam", "opposite"]
SET_NAMES: tuple[SetName, ...] = ("main", "seam", "opposite")
REQUEST_NAME = "request.json"

_EPOCH = {"seam": 1, "opposite": 2}
"""Scenes of `main` are those of epoch 0; other epochs hold other speech."""
_ROOMS = 100
"""Keys the generators of rooms for `seam` and `opposite`, apart from all others."""
_ATTEMPTS = 300
"""Rooms drawn for each scene that is wanted; with two speakers about one in twelve is opposite."""


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
        rooms = islice(_opposite_rooms(training, array, counts.opposite), counts.opposite)
        return tuple(
            _scene(training, array, corpus, name, index, room).model_copy(
                update={"id": f"opposite-{index:04d}"}
            )
            for index, room in enumerate(rooms)
        )
    return tuple(_seam_pairs(training, array, corpus, counts.seam))


def _opposite_rooms(training: TrainConfig, array: MicrophoneArray, count: int) -> Iterator[Room]:
    for _, room in _rooms(training, array, "opposite", count):
        azimuths = [s.azimuth for s in room.speakers]
        if any(angular_error(a, b) > OPPOSITION_DEGREES for a, b in combinations(azimuths, 2)):
            yield room


def _seam_pairs(
    training: TrainConfig, array: MicrophoneArray, corpus: Corpus, count: int
) -> Iterator[Scene]:
    """Scene 2k on the seam, scene 2k + 1 the same one off it; which turns are taken is drawn."""
    found = 0
    for rng, room in _rooms(training, array, "seam", count):
        turned = [rotated(room, array, degrees) for degrees, _ in symmetries(array)]
        allowed = [r for r in turned if _in_range(training.scene, array, r)]
        on = [r for r in allowed if _to_seam(r) < SEAM_DEGREES]
        off = [r for r in allowed if _to_seam(r) >= SEAM_DEGREES]
        if not on or not off:
            continue
        base = _scene(training, array, corpus, "seam", found, room)
        for side, (name, choices) in enumerate((("on", on), ("off", off))):
            yield base.model_copy(
                update={
                    "room": choices[int(rng.integers(len(choices)))],
                    "id": f"seam-{found:04d}-{name}",
                    "index": 2 * found + side,
                }
            )
        found += 1
        if found == count:
            return


def _rooms(
    training: TrainConfig, array: MicrophoneArray, name: Literal["seam", "opposite"], count: int
) -> Iterator[tuple[np.random.Generator, Room]]:
    """Rooms of the task, each with the generator it came from, as long as more are asked for."""
    key = (split_key("test"), _ROOMS, _EPOCH[name])
    for attempt in range(_ATTEMPTS * count):
        rng = random_generator(training.data.eval_seed, *key, attempt)
        yield rng, draw_room(training.scene, array, rng)
    raise InputError(
        f"scenes.{name}={count}: not found among {_ATTEMPTS * count} rooms; widen "
        "scene.speaker.azimuth, or ask for fewer or none"
    )


def _scene(
    training: TrainConfig,
    array: MicrophoneArray,
    corpus: Corpus,
    name: Literal["seam", "opposite"],
    index: int,
    room: Room,
) -> Scene:
    return draw_scene(
        # Its room is not to be turned again.
        training.scene.model_copy(update={"use_symmetry": False}),
        array,
        corpus,
        seed=training.data.eval_seed,
        split="test",
        index=index,
        epoch=_EPOCH[name],
        sample_rate=training.sample_rate,
        num_samples=round(training.data.eval_seconds * training.sample_rate),
        room=room,
    )


def _to_seam(room: Room) -> float:
    """The smallest angle of any speaker to 0 degrees."""
    return min(float(angular_error(s.azimuth, 0.0)) for s in room.speakers)


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
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error}); choose another output=") from error
    for key, value in wanted.items():
        if found.get(key) != value:
            raise InputError(
                f"{path.parent}: holds other scenes ({key} was {found.get(key)!r}, is {value!r}); "
                "choose another output=, or delete this folder and evaluation/ beside it"
            )
