# SPDX-License-Identifier: Apache-2.0
"""Simulated people for the benchmarks: scenes of no to three of them, and conversations.

Scenes are for counting, ordinary or difficult. Rooms have a T60 of .15 to .7 s, people stand .7 to
3 m away and 15 degrees apart or more, speak for 65 % of the time or more, at levels within 5 dB;
three small arrays take turns. What is difficult about the others: microphones that differ in gain,
phase and place, noise from places in the room, more reverberation and distance, elevation, babble,
or several of these.

In a conversation people take turns in one room. A turn lasts 3 to 10 s and begins between 1 s
before the end of the last one and 4 s after it, so that pauses are often longer than what two
windows of a separated recording share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.signal import oaconvolve

from msdet.corpora import Corpus
from msdet.geometry import MicrophoneArray
from msdet.inference.activity import (
    frame_length,
    frame_powers,
    loud_level,
    segments_of,
    without_gaps,
)
from msdet.named_arrays import named_array
from msdet.simulation import (
    SceneConfig,
    compute_rirs,
    draw_room,
    draw_scene,
    render,
    render_parts,
)
from msdet.simulation.config import ImperfectionRanges
from msdet.simulation.diffuse import diffuse_field

Audio = NDArray[np.float32]

# --- scenes -----------------------------------------------------------------------------------

ARRAYS = ("circle4", "respeaker4", "circle6")

Kind = Literal["quiet", "diffuse", "imperfect", "point", "reverberant", "elevated", "babble", "all"]
ORDINARY: tuple[Kind, ...] = ("quiet", "diffuse")
DIFFICULT: tuple[Kind, ...] = ("imperfect", "point", "reverberant", "elevated", "babble", "all")


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


# --- conversations ----------------------------------------------------------------------------

TURN_SECONDS, GAP_SECONDS = (3.0, 10.0), (-1.0, 4.0)
SNR_DB = 25.0
"""Reverberant speech over the microphones' own white noise."""
LEVEL = 0.05
"""RMS of the reference microphone, where full scale is 1."""
SPOKEN_DB = 30.0
"""Dry speech counts as spoken down to so far below the speaker's loud level."""
SHORTEST_PAUSE = 0.2
"""Seconds; shorter ones count as speech."""


@dataclass(frozen=True)
class Conversation:
    """A rendered conversation.

    Attributes:
        mixture: ``[mic, sample]``. targets: ``[speaker, sample]``, direct path at the reference.
        segments: of each speaker, start and end in seconds of what is said, pauses of .2 s and
            more left out; read off the dry speech.
    """

    mixture: Audio
    targets: Audio
    segments: list[list[tuple[float, float]]]


def conversation(corpus: Corpus, seed: int, index: int) -> tuple[Conversation, MicrophoneArray]:
    """Draw and render one room, and two people who take turns in it for a minute.

    Every other one has diffuse noise of the speech's own long-term spectrum, which the reverberant
    speech is 5 to 20 dB above.
    """
    rng, rate = np.random.default_rng([seed, index]), corpus.sample_rate
    array = named_array(ARRAYS[index % len(ARRAYS)])
    diffuse_snr_db = None if index % 2 else float(rng.uniform(5.0, 20.0))
    scene = scene_config(2, "quiet")
    room = draw_room(scene, array, rng)
    rirs = compute_rirs(room, array, rate)
    names = rng.choice(corpus.speakers, 2, replace=False)
    dry = np.zeros((2, 60 * rate), np.float32)
    speech = [_endless(rng, corpus, str(name)) for name in names]
    end, speaker = 0.0, 0
    while True:
        start = max(0.0, end + rng.uniform(*GAP_SECONDS))
        length = rng.uniform(*TURN_SECONDS)
        first, last = round(start * rate), round((start + length) * rate)
        if last > dry.shape[1]:
            break
        take = np.resize(
            np.roll(speech[speaker], -int(rng.integers(len(speech[speaker])))), last - first
        )
        dry[speaker, first:last] = take / max(float(np.sqrt(np.square(take).mean())), 1e-9)
        end, speaker = start + length, 1 - speaker
    size = dry.shape[1]
    late = slice(rirs.delay, rirs.delay + size)

    def through(responses: Audio) -> Audio:
        mics = (responses[:, mic] for mic in range(responses.shape[1]))
        heard = [oaconvolve(dry, at_mic, axes=-1)[:, late] for at_mic in mics]
        return np.stack(heard, axis=1).astype(np.float32)

    padded = np.pad(rirs.image, ((0, 0), (0, 0), (0, rirs.delay)))
    mixture = through(padded).sum(axis=0)
    reference = scene.reference_mic
    targets = through(np.pad(rirs.direct, ((0, 0), (0, 0), (0, rirs.delay))))[:, reference]
    level = float(np.sqrt(np.square(mixture[reference]).mean()))
    mixture += level * 10 ** (-SNR_DB / 20) * rng.standard_normal(mixture.shape, np.float32)
    if diffuse_snr_db is not None:
        white = rng.standard_normal(mixture.shape, np.float32)
        noise = diffuse_field(_shaped(white, dry), room.real_positions(array), rate)
        heard = float(np.sqrt(np.square(noise[reference]).mean()))
        mixture += noise * np.float32(level / heard * 10 ** (-diffuse_snr_db / 20))
    scale = np.float32(LEVEL / level)
    segments = [_spoken(one, rate) for one in dry]
    return Conversation(scale * mixture, scale * targets, segments), array


def _endless(rng: np.random.Generator, corpus: Corpus, speaker: str) -> Audio:
    """Utterances of a speaker in a random order, one after the other."""
    utterances = corpus.of_speaker(speaker)
    return np.concatenate([corpus.read(utterances[i]) for i in rng.permutation(len(utterances))])


def _shaped(white: Audio, dry: Audio) -> Audio:
    """White noise ``[mic, sample]`` with the long-term spectrum of speech ``[speaker, sample]``."""
    frame = 512
    frames = dry[:, : dry.shape[1] // frame * frame].reshape(-1, frame)
    power = np.square(np.abs(fft.rfft(frames * np.hanning(frame), axis=-1))).mean(axis=0)
    bins = white.shape[1] // 2 + 1
    gains = np.interp(np.linspace(0, len(power) - 1, bins), np.arange(len(power)), np.sqrt(power))
    return np.asarray(fft.irfft(fft.rfft(white) * gains, white.shape[1]), np.float32)


def _spoken(dry: Audio, sample_rate: int) -> list[tuple[float, float]]:
    powers = frame_powers(dry, sample_rate)
    seconds = frame_length(sample_rate) / sample_rate
    loud = powers >= max(loud_level(powers), 1e-12) * 10 ** (-SPOKEN_DB / 10)
    return segments_of(without_gaps(loud, seconds, SHORTEST_PAUSE), seconds)
