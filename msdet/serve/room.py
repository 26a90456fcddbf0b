# SPDX-License-Identifier: Apache-2.0
"""A room as somebody sets it up on the page, and the scene that it makes.

The array and the speakers stand in one plane; the labels are read off their places.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.checkpoints import Description
from msdet.corpora import Corpus
from msdet.errors import InputError, first_mistake
from msdet.geometry import MicrophoneArray
from msdet.simulation.config import MOST_ABSORPTION, sabine_absorption
from msdet.simulation.rooms import Point, Room, place, random_generator
from msdet.simulation.scene import ArrayRecord, Noise, Scene
from msdet.simulation.speech import draw_crop

WALL_DISTANCE = 0.3
"""Metres from a side wall to speakers and to the array's centre, as in the scenes of training."""

NEAREST = 0.3
"""Metres between any two of them: a point source that is closer drowns the others."""

HEIGHT = 1.2
"""Metres from the floor to the array and the speakers' mouths; people sit."""

Side = Annotated[float, Field(ge=2.0, le=12.0)]
Position = tuple[float, float]
"""x and y, metres from the lower left corner."""


class RoomSetup(BaseModel):
    """A room that the page asks for.

    Attributes:
        size: length, width, height of the room, metres. t60: seconds; 0 for no walls.
        array: its centre.
        rotation: of the array's x axis from the room's, degrees.
        voices: who speaks, of the bundled test voices, in the order of ``speakers``.
        seconds: how long. snr_db: all speech over the microphones' own noise.
        take: another number, other stretches of the voices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: tuple[Side, Side, Annotated[float, Field(ge=2.0, le=6.0)]]
    t60: float = Field(ge=0.0, le=1.5)
    array: Position
    rotation: float = Field(ge=-360.0, le=360.0)
    speakers: tuple[Position, ...] = Field(min_length=2, max_length=3)
    voices: tuple[str, ...]
    seconds: float = Field(ge=1.0, le=30.0)
    snr_db: float = Field(ge=-10.0, le=60.0)
    take: int = Field(default=0, ge=0)


def read_setup(drawn: object, height: float, **others: object) -> RoomSetup:
    """Read what the page sent.

    Args:
        drawn: the drawing, with ``size`` (length and width), ``array``, ``rotation``, ``speakers``.
        height: metres. others: the other attributes of a `RoomSetup`.
    Raises:
        InputError: it is no set-up; names the first wrong key.
    """
    known = drawn if isinstance(drawn, dict) else {}
    places = {key: known.get(key) for key in ("size", "array", "rotation", "speakers")}
    if isinstance(places["size"], list):
        places["size"] = [*places["size"], height]
    try:
        return RoomSetup.model_validate(places | others)
    except ValidationError as error:
        raise InputError(f"room: {first_mistake(error)}") from error


def default_setup(count: int, voices: tuple[str, ...]) -> RoomSetup:
    """Return what is shown at first: ``count`` speakers, with the first of these voices."""
    return RoomSetup(
        size=(6.0, 4.5, 2.8),
        t60=0.25,
        array=(2.8, 2.0),
        rotation=0.0,
        speakers=((4.3, 3.1), (1.9, 3.3), (2.6, 0.8))[:count],
        voices=voices[:count],
        seconds=4.0,
        snr_db=30.0,
    )


def shortest_t60(size: Point) -> float:
    """Return the T60 that walls can bring a room down to (Sabine), rounded up to hundredths."""
    return math.ceil(100 * sabine_absorption(size, 1.0) / MOST_ABSORPTION) / 100


def scene_of(
    setup: RoomSetup, array: MicrophoneArray, corpus: Corpus, description: Description
) -> Scene:
    """Make the scene of a set-up, at the model's sample rate and with its target of training.

    Args:
        corpus: the test voices, at that rate.
    Raises:
        InputError: something stands in a wall or in something else, the walls cannot absorb as
            much, or a voice is unknown, chosen twice or missing.
    """
    _check(setup, corpus)
    rate = description.sample_rate
    num_samples = round(setup.seconds * rate)
    speech = [
        draw_crop(corpus, voice, num_samples, random_generator(setup.take, number))
        for number, voice in enumerate(setup.voices)
    ]
    centre = (*setup.array, HEIGHT)
    rotation = setup.rotation % 360.0
    return Scene(
        id="room",
        split="test",
        index=0,
        epoch=0,
        sample_rate=rate,
        num_samples=num_samples,
        array=ArrayRecord(name=array.name, positions=array.positions),
        reference_mic=description.reference_mic,
        target=description.target,
        room=Room(
            size=setup.size,
            t60=setup.t60,
            array_centre=centre,
            array_rotation=rotation,
            speakers=tuple(place(array, centre, rotation, (*p, HEIGHT)) for p in setup.speakers),
            # Exact responses of a large room with a T60 over half a second take minutes.
            rirs="hybrid" if setup.t60 else "anechoic",
        ),
        speech=tuple(speech),
        noise=Noise(snr_db=setup.snr_db, seed=setup.take),
        corpus=corpus.fingerprint,
    )


def _check(setup: RoomSetup, corpus: Corpus) -> None:
    """Refuse what `scene_of` does; a micrometre is left for what the page rounds."""
    length, width, _ = setup.size
    named = {"the array": setup.array}
    named |= {f"speaker {number}": at for number, at in enumerate(setup.speakers, 1)}
    for name, (x, y) in named.items():
        if min(x, y, length - x, width - y) < WALL_DISTANCE - 1e-6:
            raise InputError(
                f"room: {name} stands at {x:.2f}, {y:.2f} m, and must be at least "
                f"{WALL_DISTANCE:g} m from the walls of a room of {length:g} by {width:g} m"
            )
    for (one, a), (other, b) in combinations(named.items(), 2):
        if math.dist(a, b) < NEAREST - 1e-6:
            raise InputError(
                f"room: {one} and {other} are {math.dist(a, b):.2f} m apart; move them to at least "
                f"{NEAREST:g} m"
            )
    if setup.t60 and sabine_absorption(setup.size, setup.t60) > MOST_ABSORPTION:
        raise InputError(
            f"room: walls cannot absorb so much that this room has a T60 of {setup.t60:g} s; take "
            f"at least {shortest_t60(setup.size):g} s, or 0 for no walls at all"
        )
    if len(setup.voices) != len(setup.speakers):
        raise InputError(
            f"room: {len(setup.voices)} voices for {len(setup.speakers)} speakers; choose one each"
        )
    if len(set(setup.voices)) < len(setup.voices):
        raise InputError("room: a voice is chosen twice; choose different ones")
    for voice in setup.voices:
        corpus.of_speaker(voice)
