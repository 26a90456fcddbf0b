# SPDX-License-Identifier: Apache-2.0
"""Turning rendered examples by the symmetries of their array, which only reads channels anew.

Turned by a symmetry, an array hears with microphone m what microphone ``permutation[m]`` heard
before. So the reference is another microphone, whose targets must have been rendered too.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Literal

import numpy as np

from msdet.geometry import MicrophoneArray, angular_error
from msdet.simulation.render import AtMicrophone, Example
from msdet.simulation.rooms import Room, symmetries
from msdet.simulation.scene import Scene

TargetsAt = Literal["reference", "symmetric"]
"""Where targets are kept: at the reference, or at all microphones that may become it."""


def other_references(array: MicrophoneArray, reference_mic: int) -> tuple[int, ...]:
    """The microphones that a symmetry of an array makes the reference, ascending, without it."""
    found = {order[reference_mic] for _, order in symmetries(array)}
    return tuple(sorted(found - {reference_mic}))


def is_symmetric(scene: Scene) -> bool:
    """Whether the microphones of a scene are alike and stand where they were planned."""
    return scene.mismatch is None and not scene.room.mic_errors


def may_be_turned(scene: Scene, others: Collection[int]) -> bool:
    """Whether targets at the reference and these others suffice for all symmetries of a scene."""
    wanted = other_references(scene.microphone_array(), scene.reference_mic)
    return is_symmetric(scene) and set(wanted) <= set(others)


def channel_order(scene: Scene, room: Room) -> tuple[int, ...]:
    """Which microphone each one of the array hears as, if it is turned as in this room.

    Args:
        room: that of the scene, with its array turned by one of its symmetries.
    """
    turn = room.array_rotation - scene.room.array_rotation
    rotations = symmetries(scene.microphone_array())
    nearest = int(angular_error([degrees for degrees, _ in rotations], turn).argmin())
    return rotations[nearest][1]


def turned(example: Example, room: Room, heard: AtMicrophone) -> Example:
    """An example as its array hears it in another pose, its gain set anew.

    Args:
        room: that of its scene, with the array turned by one of its symmetries.
        heard: what is known of the microphone that becomes the reference.
    Returns:
        What `render` makes of its scene, but for the noise that microphones or a diffuse field
        have: that is turned here, and drawn again there.
    """
    scene, reference = example.scene, example.scene.reference_mic
    mixture = example.mixture[list(channel_order(scene, room))]
    power = float(np.mean(np.square(mixture[reference], dtype=np.float64)))
    gain = 1 / math.sqrt(power) if power > 0 else 1.0
    return replace(
        example,
        mixture=mixture * np.float32(gain),
        targets=heard.targets * np.float32(gain),
        azimuth=np.array([s.azimuth for s in room.speakers], np.float32),
        drr_db=heard.drr_db,
        gain=example.gain * gain,
        scene=_scene_as_heard(scene, room, heard),
        others={},
    )


def _scene_as_heard(scene: Scene, room: Room, heard: AtMicrophone) -> Scene:
    """Levels of a scene are those at its reference, and a little different at any other."""
    speech = (
        crop.model_copy(update={"level_db": level})
        for crop, level in zip(scene.speech, heard.level_db, strict=True)
    )
    background = scene.background
    if background is not None:
        background = background.model_copy(update={"snr_db": heard.background_snr_db})
    return scene.model_copy(
        update={
            "room": room,
            "speech": tuple(speech),
            "noise": scene.noise.model_copy(update={"snr_db": heard.snr_db}),
            "background": background,
        }
    )
