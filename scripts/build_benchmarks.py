#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the benchmarks (data/benchmarks): scenes of the bundled test voices, and their manifest.

A benchmark is a function of its name and its seed. Same voices, same scenes: to see that the
files are what this script makes, let it write elsewhere (``--output``) and compare.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msdet.benchmarks import MANIFEST_NAME, Benchmark, Manifest
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.geometry import ArrayConfig, Circle, Line, LShape, Positions, wrap_degrees
from msdet.metrics.conditions import OPPOSITION_DEGREES, SEAM_DEGREES
from msdet.simulation import Room, Scene, SceneConfig, check_scene_config, draw_room, write_scenes
from msdet.simulation.chosen_scenes import chosen_rooms, scene_in, to_seam, widest_angle
from msdet.simulation.config import (
    BackgroundRanges,
    ConversationRanges,
    MovementRanges,
    SpeakerRanges,
)
from msdet.simulation.rooms import random_generator, split_key

BENCHMARKS = Path(__file__).resolve().parent.parent / "data" / "benchmarks"

SEED = 0
SAMPLE_RATE = 16000
_ROOMS = 100
"""Keys the generators of rooms."""

CIRCLE = Circle(shape="circle", num_mics=4, radius=0.05)
L = LShape(shape="l", num_mics=5, arm=0.08)
LINE = Line(shape="line", num_mics=4, spacing=0.04)
TRIANGLE = Positions(
    shape="positions",
    name="triangle3",
    positions=((0.034641, 0.0, 0.0), (-0.0173205, 0.03, 0.0), (-0.0173205, -0.03, 0.0)),
)

EASY = SceneConfig()  # the quickstart's task
HARD = SceneConfig(
    t60=(0.3, 0.7),
    speaker=SpeakerRanges(distance=(0.7, 3.0), min_angle=5.0),
    background=BackgroundRanges(kinds=("diffuse",), snr_db=(5.0, 15.0)),
)


@dataclass(frozen=True)
class Recipe:
    """The makings of a benchmark.

    Attributes:
        arrays: scene k has array k modulo their number.
        holds: whether a room serves, as ``condition`` says in words.
        seconds: how long a scene is. count: of the scenes.
    """

    name: str
    description: str
    scene: SceneConfig = EASY
    arrays: tuple[ArrayConfig, ...] = (CIRCLE,)
    holds: Callable[[Room], bool] | None = None
    condition: str | None = None
    seconds: float = 4.0
    count: int = 200


RECIPES = (
    Recipe("bundled-easy", "the quickstart's task at 16 kHz"),
    Recipe(
        "bundled-hard",
        "T60 .3 to .7 s, speakers from 5 degrees apart at .7 to 3 m, diffuse noise at 5 to 15 dB",
        scene=HARD,
    ),
    Recipe(
        "bundled-seam",
        f"easy, with one speaker within {SEAM_DEGREES:g} degrees of azimuth 0",
        holds=lambda room: sum(angle < SEAM_DEGREES for angle in to_seam(room)) == 1,
        condition=f"exactly one speaker is less than {SEAM_DEGREES:g} degrees from azimuth 0",
    ),
    Recipe(
        "bundled-opposite",
        f"easy, with speakers {OPPOSITION_DEGREES:g} to 180 degrees apart",
        holds=lambda room: widest_angle(room) > OPPOSITION_DEGREES,
        condition=f"the speakers are more than {OPPOSITION_DEGREES:g} degrees apart",
    ),
    Recipe(
        "bundled-three",
        "easy, with three speakers",
        scene=EASY.model_copy(update={"num_speakers": (3, 3)}),
    ),
    Recipe(
        "bundled-unseen-array",
        "easy, by turns on an L of five microphones with arms of 8 cm and on a triangle of three "
        "with sides of 6 cm",
        arrays=(L, TRIANGLE),
    ),
    Recipe(
        "bundled-one",
        "easy, with one speaker and diffuse noise at 5 to 20 dB",
        scene=EASY.model_copy(
            update={"num_speakers": (1, 1), "background": BackgroundRanges(kinds=("diffuse",))}
        ),
    ),
    Recipe(
        "bundled-line",
        "easy, on a line of four microphones 4 cm apart, with azimuths from 0 to 180 degrees",
        arrays=(LINE,),
    ),
    Recipe(
        "bundled-conversation",
        "two to four people who take turns for a minute in easy's rooms, diffuse noise at 10 to "
        "20 dB",
        scene=EASY.model_copy(
            update={
                "num_speakers": (2, 4),
                "conversation": ConversationRanges(),
                "background": BackgroundRanges(kinds=("diffuse",), snr_db=(10.0, 20.0)),
            }
        ),
        seconds=60.0,
        count=20,
    ),
    Recipe(
        "bundled-moving",
        "easy, with speakers who walk",
        scene=EASY.model_copy(update={"rirs": "hybrid", "movement": MovementRanges()}),
        seconds=8.0,
        count=100,
    ),
)


def draw(recipe: Recipe, corpus: Corpus, count: int) -> tuple[Scene, ...]:
    """Draw the first scenes of a benchmark; ``corpus`` is the test part, at 16 kHz."""
    seed = _seed(recipe.name)
    key = (split_key("test"), _ROOMS)
    scene = recipe.scene
    arrays = [recipe.arrays[k % len(recipe.arrays)].build() for k in range(count)]
    if recipe.holds is None:
        rooms = [draw_room(scene, a, random_generator(seed, *key, k)) for k, a in enumerate(arrays)]
    else:
        drawn = {"seed": seed, "key": key, "count": count, "asked": recipe.name}
        rooms = [room for _, room in chosen_rooms(scene, arrays[0], recipe.holds, **drawn)]
    common = {"seed": seed, "split": "test", "epoch": 0}
    common |= {"sample_rate": SAMPLE_RATE, "seconds": recipe.seconds}
    return tuple(
        scene_in(_rounded(room), scene, array, corpus, index=k, **common).model_copy(
            update={"id": f"{recipe.name}-{k:03d}"}
        )
        for k, (room, array) in enumerate(zip(rooms, arrays, strict=True))
    )


def _seed(name: str) -> int:
    """Each benchmark has rooms, speech and noise of its own."""
    return int.from_bytes(hashlib.sha256(f"{name} {SEED}".encode()).digest()[:6])


def _rounded(room: Room) -> Room:
    """Labels to a millionth: their last digits differ between processors."""
    speakers = []
    for s in room.speakers:
        labels = {key: round(getattr(s, key), 6) for key in ("azimuth", "elevation", "distance")}
        labels["azimuth"] = float(wrap_degrees(labels["azimuth"]))
        speakers.append(s.model_copy(update=labels))
    return room.model_copy(update={"speakers": tuple(speakers)})


def build(output: Path) -> None:
    """Write all benchmarks and their manifest to a folder."""
    corpus = open_corpus(BundledConfig(), SAMPLE_RATE).split("test")
    made = []
    for recipe in RECIPES:
        for array in recipe.arrays:
            check_scene_config(recipe.scene, array.build())
        path = output / f"{recipe.name}.jsonl.xz"
        write_scenes(path, draw(recipe, corpus, recipe.count))
        content = path.read_bytes()
        made.append(
            Benchmark(
                name=recipe.name,
                description=recipe.description,
                file=path.name,
                sha256=hashlib.sha256(content).hexdigest(),
                num_scenes=recipe.count,
                seconds=recipe.seconds,
                sample_rate=SAMPLE_RATE,
                corpus=corpus.fingerprint,
                settings={
                    "seed": SEED,
                    "condition": recipe.condition,
                    "arrays": [array.model_dump(mode="json") for array in recipe.arrays],
                    "scene": recipe.scene.model_dump(mode="json"),
                },
            )
        )
        print(f"{path}: {recipe.count} scenes, {len(content):,} bytes")
    manifest = Manifest(benchmarks=tuple(made))
    write_atomically(output / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=BENCHMARKS, help="folder to write to")
    try:
        build(parser.parse_args(arguments).output)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
