# SPDX-License-Identifier: Apache-2.0
"""A result: its files, and its HTML with the compass and each speaker's player and numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from msdet.audio import write_audio
from msdet.evaluation.report.media import common_gain, levels_db, spectrogram_uri
from msdet.inference.separation import Separation
from msdet.inference.speakers_file import SPEAKERS_NAME, speakers_file
from msdet.metrics import Claims, SceneTruth, score_scene
from msdet.metrics.scores import SpeakerScore
from msdet.serve.circle import RADIUS, point_at, rings
from msdet.simulation import Example

MICROPHONES_NAME = "microphones.wav"

ASSETS = Path(__file__).parent / "assets"

_TEMPLATES = Environment(
    loader=FileSystemLoader(ASSETS),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_TRUE_VOICES = {
    "direct": "the sound that comes straight from the speaker, without the walls",
    "early": "the speaker's sound of the first 50 ms, without later reflections",
    "image": "the speaker's sound with the walls, without the others",
}
"""The true voice at the reference microphone in words, by the target of training."""


def present(
    name: str,
    heard: NDArray[np.float32],
    result: Separation,
    folder: Path,
    example: Example | None = None,
) -> str:
    """Write the files, turned down alike where a player would clip one, and return the HTML.

    Args:
        name: of the recording. heard: ``[sample]`` of the reference microphone, as loud as
            ``result``.
        folder: of the files; is made where it is not there.
        example: what is known of a scene, as loud; its microphones lie in the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scored = [] if example is None else _spoke(result, example)
    signals = {"mixture": heard}
    signals |= {f"speaker{number}": audio for number, audio in enumerate(result.audio, 1)}
    if example is not None:
        signals |= {f"true{of.speaker + 1}": example.targets[of.speaker] for of in scored}
    gain = min(1.0, common_gain(*signals.values()))
    speakers = range(result.num_speakers)
    truths = {of.slot: of for of in scored if of.slot in speakers}
    missed = [of for of in scored if of.slot not in speakers]
    described = speakers_file(
        replace(result, warnings=tuple(dict.fromkeys(result.warnings))),
        replace(result.origin, recording=name, recording_id=None),
        files=[f"speaker{slot + 1}.wav" for slot in speakers],
        gain=gain,
        truths=None if example is None else [_in_file(truths.get(slot)) for slot in speakers],
    )
    (folder / SPEAKERS_NAME).write_text(described.text(), encoding="utf-8")
    moving = {
        "duration": result.duration,
        "times": result.window_times.tolist(),
        "speakers": [
            {
                "azimuth": _finite(result.azimuth[slot]),
                "windows": [_finite(angle) for angle in result.window_azimuth[slot]],
                "segments": result.segments[slot],
            }
            for slot in speakers
        ],
    }
    marks = [(f"speaker-{slot % 6}", truths[slot]) for slot in speakers if slot in truths]
    marks += [("nobody", of) for of in missed]
    template = _TEMPLATES.get_template("result.html.j2")
    return template.render(
        name=name,
        facts=_facts(result, example),
        example=example,
        result=result,
        found=described,
        folder=folder,
        pictures=_write(signals, gain, result.sample_rate, folder),
        truths=truths,
        missed=missed,
        rings=rings(result.is_linear),
        box="-150 -132 300 164" if result.is_linear else "-150 -140 300 280",
        radius=RADIUS,
        marks=[
            (colour, point_at(of.azimuth, RADIUS)) for colour, of in marks if of.azimuth is not None
        ],
        true_voice=example and _TRUE_VOICES[example.scene.target],
        in_words=_in_words(result),
        moving=moving,
    )


def _spoke(result: Separation, example: Example) -> list[SpeakerScore]:
    """Score a scene's speakers who say something, as ``msdet evaluate`` does.

    Whoever was not found is scored as silence, in a slot after those of the result.
    """
    truth = SceneTruth(
        # Levels do not matter to any score of these.
        example.targets,
        example.mixture[example.scene.reference_mic],
        result.sample_rate,
        example.azimuth,
    )
    claims = Claims(azimuth=result.azimuth if np.isfinite(result.azimuth).any() else None)
    score = score_scene(result.audio, truth, claims)
    return [of for of in score.speakers if not of.silent]


def _write(
    signals: dict[str, NDArray[np.float32]], gain: float, sample_rate: int, folder: Path
) -> dict[str, str]:
    """Write signals, as loud beside each other as they are; return spectrograms on one scale."""
    turned = {name: signal * np.float32(gain) for name, signal in signals.items()}
    levels = {name: levels_db(signal, sample_rate) for name, signal in turned.items()}
    # Not the loudest bin of all: a single one would leave the rest of the picture dark.
    loud = max(float(np.percentile(level, 99.9)) for level in levels.values())
    for name, signal in turned.items():
        write_audio(folder / f"{name}.wav", signal, sample_rate)
    return {name: spectrogram_uri(level, loud) for name, level in levels.items()}


def _in_file(truth: SpeakerScore | None) -> dict[str, float | None]:
    if truth is None:
        return {"true_azimuth_deg": None, "si_sdr_improvement_db": None}
    improvement = truth.scores["si_sdr_improvement"]
    return {
        "true_azimuth_deg": None if truth.azimuth is None else round(truth.azimuth, 1),
        "si_sdr_improvement_db": None if improvement is None else round(improvement, 2),
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _facts(result: Separation, example: Example | None) -> str:
    facts = [f"{result.duration:.1f} s at {result.sample_rate / 1000:g} kHz"]
    facts.append(result.origin.array.name)
    if example is not None and (asked := example.scene.room.t60):
        facts.append(f"T60 {example.t60:.2f} s measured, {asked:.2f} s asked for")
    elif example is not None:
        facts.append("no walls")
    return " · ".join(facts)


def _in_words(result: Separation) -> str:
    """Return the compass for those who do not see it."""
    said = [
        f"speaker {number} " + (f"at {at:.0f}°" if np.isfinite(at) else "of unknown direction")
        for number, at in enumerate(result.azimuth, 1)
    ]
    return "Directions around the array, counter-clockwise from 0° at the right: " + (
        ", ".join(said) or "nobody was found"
    )
