# SPDX-License-Identifier: Apache-2.0
"""An outcome as HTML: the compass, and for each speaker the player, the picture and the numbers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from msdet.evaluation.report.drawings import RADIUS, point_at, rings
from msdet.serve.outcome import Outcome, Voice

_ASSETS = Path(__file__).parent / "assets"

_TRUE_VOICES = {
    "direct": "the sound that comes straight from the speaker, without the walls",
    "early": "the speaker's sound of the first 50 ms, without later reflections",
    "image": "the speaker's sound with the walls, without the others",
}
"""The true voice at the reference microphone in words, by the target of training."""


def result_html(outcome: Outcome) -> str:
    """The right side of the page; assets/result.js moves its compass."""
    template = _environment().get_template("result.html.j2")
    return template.render(
        outcome=outcome,
        facts=_facts(outcome),
        rings=Markup(rings(outcome.is_linear)),
        box="-150 -132 300 164" if outcome.is_linear else "-150 -140 300 280",
        radius=RADIUS,
        truths=[
            (f"speaker-{slot % 6}", point_at(voice.truth.azimuth, RADIUS))
            for slot, voice in enumerate(outcome.voices)
            if voice.truth is not None
        ]
        + [("nobody", point_at(truth.azimuth, RADIUS)) for truth in outcome.missed],
        true_voice=_TRUE_VOICES.get(outcome.target or ""),
        in_words=_in_words(outcome),
        data=json.dumps(_moving(outcome)),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["address"] = lambda file: f"/gradio_api/file={quote(str(file))}"
    return environment


def _moving(outcome: Outcome) -> dict[str, Any]:
    """What the script needs to follow the playback."""
    return {
        "duration": outcome.duration,
        "times": outcome.window_times,
        "speakers": [
            {
                "azimuth": voice.azimuth,
                "windows": voice.window_azimuth,
                "segments": voice.segments,
            }
            for voice in outcome.voices
        ],
    }


def _facts(outcome: Outcome) -> str:
    facts = [f"{outcome.duration:.1f} s at {outcome.sample_rate / 1000:g} kHz", outcome.array]
    if outcome.asked_t60:
        facts.append(f"T60 {outcome.t60:.2f} s measured, {outcome.asked_t60:.2f} s asked for")
    elif outcome.asked_t60 is not None:
        facts.append("no walls")
    return " · ".join(facts)


def _in_words(outcome: Outcome) -> str:
    """The compass for those who do not see it."""
    said = [f"speaker {i} {_where(voice)}" for i, voice in enumerate(outcome.voices, 1)]
    return "Directions around the array, counter-clockwise from 0° at the right: " + (
        ", ".join(said) or "nobody was found"
    )


def _where(voice: Voice) -> str:
    return "of unknown direction" if voice.azimuth is None else f"at {voice.azimuth:.0f}°"
