# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes of no to three people for counting them: ordinary ones, and difficult ones.

Rooms have a T60 of .15 to .7 s, people stand .7 to 3 m away and 15 degrees apart or more, speak for
65 % of the time or more, at levels within 5 dB; three small arrays take turns. What is difficult
about the others: microphones that differ in gain, phase and place, noise from places in the room,
more reverberation and distance, elevation, babble, or several of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from msdet.corpora import Corpus
from msdet.geometry import MicrophoneArray
from msdet.named_arrays import named_array
from msdet.simulation import SceneConfig, compute_rirs, draw_scene, render, render_parts
from msdet.simulation.config import ImperfectionRanges

ARRAYS = ("circle4", "respeaker4", "circle6")

Kind = Literal["quiet", "diffuse", "imperfect", "point", "reverberant", "elevated", "babble", "all"]
ORDINARY: tuple[Kind, ...] = ("quiet", "diffuse")
DIFFICULT: tuple[Kind, ...] = ("imperfect", "point", "reverberant", "elevated", "babble", "all")

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class People:
    """A rendered scene.

    Attributes:
        mixture: ``[mic, sample]``, reference microphone 0 at an RMS of 1.
        targets: ``[speaker, sample]``, direct paths at the reference.
        azimuth: ``[speaker]``, degrees.
    """

    mixture: Audio
    targets: Audio
    azimuth: NDArray[np.float32]
    array: MicrophoneArray
    kind: Kind


def scene_config(speakers: int, kind: Kind, min_angle: float = 15.0) -> SceneConfig:
    """The ranges of a kind of scene; without speakers, those of the noise of one with a speaker."""
    far, high = kind in ("reverberant", "all"), kind in ("elevated", "all")
    wrong = ImperfectionRanges(gain_db=1.5, phase=8.0, position=0.003, tilt=3.0)
    background = {
        "diffuse": {"kinds": ["diffuse"], "snr_db": [5.0, 20.0]},
        "all": {"kinds": ["diffuse"], "snr_db": [5.0, 20.0]},
        "point": {"kinds": ["point"], "snr_db": [0.0, 15.0], "sources": [1, 2]},
        "babble": {"kinds": ["babble"], "snr_db": [0.0, 15.0]},
    }
    return SceneConfig.model_validate(
        {
            "num_speakers": [max(1, speakers)] * 2,
            "t60": [0.6, 1.1] if far else [0.15, 0.7],
            "rirs": "hybrid",
            "room": {"length": [5.0, 9.0]} if far else {},
            "speaker": {
                "distance": [1.5, 4.0] if far else [0.7, 3.0],
                "min_angle": min_angle,
                "height_offset": [0.3, 0.8] if high else [-0.2, 0.2],
            },
            "overlap": [0.3, 1.0],
            "background": background.get(kind, {}),
            "imperfections": wrong if kind in ("imperfect", "all") else {},
        }
    )


def few_people(
    corpus: Corpus,
    speakers: int,
    kind: Kind,
    index: int,
    *,
    seconds: float = 4.0,
    seed: int = 0,
    min_angle: float = 15.0,
) -> People:
    """Draw and render a scene of so many speakers; of none, what is heard besides one of them."""
    array, rate = named_array(ARRAYS[index % len(ARRAYS)]), corpus.sample_rate
    scene = draw_scene(
        scene_config(speakers, kind, min_angle),
        array,
        corpus,
        seed=seed + speakers,
        split="test",  # of the scene's name alone; whose voices is the corpus's to say
        index=index,
        epoch=0,
        sample_rate=rate,
        num_samples=round(seconds * rate),
    )
    rirs = compute_rirs(scene.room, array, rate)
    if not speakers:
        noise = render_parts(scene, corpus, rirs).noise
        level = np.sqrt(np.square(noise[0], dtype=np.float64).mean())
        nobody = np.zeros((0, noise.shape[1]), np.float32)
        return People(noise / np.float32(level), nobody, np.zeros(0, np.float32), array, kind)
    example = render(scene, corpus, rirs)
    return People(example.mixture, example.targets, example.azimuth, array, kind)
