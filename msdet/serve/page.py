# SPDX-License-Identifier: Apache-2.0
"""The page: three ways to bring sound, the microphones, the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import escape

from msdet.errors import InputError
from msdet.inference.separator import Separator
from msdet.serve.actions import Actions, drawn_array
from msdet.serve.arrays import OWN, TYPED, array_choices
from msdet.serve.config import ServeConfig
from msdet.serve.examples import example_benchmarks
from msdet.serve.jobs import (
    unseen_voices,
)
from msdet.serve.room_setup import WALL_DISTANCE, default_setup
from msdet.serve.storage import Storage
from msdet.serve.worker import Worker
from msdet.shipped import how_many

_ASSETS = Path(__file__).parent / "assets"
_KEPT_SECONDS = 6 * 3600
"""Age of uploads and results: what is on the screen after lunch can still be played."""

_LOOKS_SECONDS = 3600
"""That gradio looks for older ones after."""

_SLIDER_WIDTH = 200
"""Pixels: a narrower slider gets a scroll bar. Two fit beside each other, on a phone one."""
_VOICE_WIDTH = 260
"""Pixels, for names of speakers with language and sex."""

_NOTHING_YET = '<p class="msdet-empty">Results appear here.</p>'
_TYPED_EXAMPLE = "[[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0], [0, -0.05, 0]]"


def build_page(
    separator: Separator, worker: Worker, config: ServeConfig, storage: Storage
) -> gr.Blocks:
    """The page of a model, whose uploads and results a storage holds."""
    actions = Actions(separator, worker, config, storage)
    page = gr.Blocks(
        title="msdet",
        analytics_enabled=False,
        delete_cache=(_LOOKS_SECONDS, _KEPT_SECONDS),
        fill_width=True,
    )
    page.temp_file_sets.append(actions.written)
    with page:
        gr.HTML(_header(separator), elem_id="msdet-header", apply_default_css=False)
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=340):
                jobs = _inputs(separator, actions, config)
            with gr.Column(scale=3, min_width=340):
                message = gr.HTML(elem_id="msdet-message", apply_default_css=False)
                result = gr.HTML(
                    _NOTHING_YET,
                    elem_id="msdet-result",
                    apply_default_css=False,
                    js_on_load=(_ASSETS / "result.js").read_text(encoding="utf-8"),
                )
        for job in jobs:
            job.button.click(
                job.action,
                inputs=job.inputs,
                outputs=[message, result],
                validator=_well_formed,
                api_visibility="private",
                concurrency_id="separation",  # one job at a time, of whichever kind
                concurrency_limit=1,
                show_progress="full",
                show_progress_on=result,
            )
    page.queue(max_size=16)
    return page


@dataclass(frozen=True)
class _Job:
    """A button, what it does, and the components whose values that takes."""

    button: gr.Button
    action: Callable[..., tuple[str, str]]
    inputs: list[Any]


def _well_formed(*values: object) -> Any:
    """Return whether these can be a page's values, as gradio asks before they wait for a job.

    Other choices than those of a control and numbers beyond its ends gradio refuses by itself.
    """
    checked = [
        gr.validate(not isinstance(value, list) and value == value, "no value of this control")
        for value in values
    ]
    return checked if len(checked) > 1 else checked[0]


def _in_the_browser_alone(*_: object) -> None:
    raise InputError("this is done in the browser, not here")


def _header(separator: Separator) -> str:
    description = separator.description
    finds = {0.0: "directions", 1.0: "separation"}.get(description.weight, "both")
    facts = [
        f"model {separator.path.name}",
        f"{how_many(*description.trained_speakers)} speakers",
        f"{description.sample_rate / 1000:g} kHz",
        f"trained on {description.trained_arrays}",
    ]
    if finds != "both":
        facts.append(f"trained for {finds} alone")
    return (
        "<h1>msdet</h1><p>Who speaks from where, and what: speakers of a multi-microphone "
        f"recording, separated and located.<br><small>{escape(' · '.join(facts))}</small></p>"
    )


def _inputs(separator: Separator, actions: Actions, config: ServeConfig) -> list[_Job]:
    """The left side: a tab for each way, with its button at the end."""
    with gr.Tabs():
        with gr.Tab("Recording"):
            file = gr.File(label="Recording", elem_id="msdet-file", height=180)
            gr.HTML(
                '<p class="msdet-note">WAV, FLAC, OGG or MP3 with a channel for each microphone, '
                f"at most {config.max_megabytes:g} MB and {config.max_minutes:g} minutes.</p>",
                apply_default_css=False,
            )
            array, typed = _microphones(separator, None, "msdet-array")
            separate_file = gr.Button("Separate", variant="primary", elem_id="msdet-separate")
        with gr.Tab("Example"):
            examples = example_benchmarks(separator)
            benchmark = gr.Dropdown(
                list(examples),
                label="Benchmark",
                info="Simulated rooms with voices that no model was trained on, rendered here; the "
                "microphones are the scene's.",
                elem_id="msdet-benchmark",
            )
            described = "".join(
                f"<li>{escape(name)}: {escape(b.description)}</li>" for name, b in examples.items()
            )
            gr.HTML(f'<ul class="msdet-note">{described}</ul>', apply_default_css=False)
            most = min((b.num_scenes for b in examples.values()), default=1) - 1
            number = gr.Slider(0, max(most, 1), 0, step=1, label="Scene")
            separate_scene = gr.Button(
                "Render and separate",
                variant="primary",
                elem_id="msdet-example",
                interactive=bool(examples),
            )
        with gr.Tab("Set up a room"):
            of_room = _room(separator, actions)
            separate_setup = gr.Button(
                "Render and separate", variant="primary", elem_id="msdet-render"
            )
    return [
        _Job(separate_file, actions.recording, [file, array, typed]),
        _Job(separate_scene, actions.example, [benchmark, number]),
        _Job(separate_setup, actions.room, of_room),
    ]


def _microphones(
    separator: Separator, chosen: str | None, name: str
) -> tuple[gr.Dropdown, gr.Textbox]:
    """The choice of an array, and the positions where those are to be typed in."""
    array = gr.Dropdown(
        array_choices(separator),
        value=chosen,
        label="Microphones",
        info="Choose those that it was recorded with." if chosen is None else None,
        elem_id=name,
    )
    typed = gr.Textbox(
        _TYPED_EXAMPLE,
        label="Positions as JSON, metres",
        info="[[x, y, z], ...] in the order of the channels; 0° is the x axis, angles grow "
        "counter-clockwise seen from above.",
        visible=False,
        elem_id=f"{name}-positions",
    )
    array.change(
        lambda choice: gr.update(visible=choice == TYPED),
        array,
        typed,
        validator=_well_formed,
        api_visibility="private",
        show_progress="hidden",
    )
    return array, typed


def _room(separator: Separator, actions: Actions) -> list[Any]:
    """All controls of a room; those whose values its job takes, in that order."""
    description = separator.description
    voices = unseen_voices(description.sample_rate)
    count = max(2, min(description.trained_speakers[1], 3))
    start = default_setup(count, voices.speakers)
    drawn = {
        "size": start.size[:2],
        "array": start.array,
        "rotation": start.rotation,
        "speakers": start.speakers,
        "wall": WALL_DISTANCE,
    }
    room = gr.HTML(
        drawn | drawn_array(description.array),
        html_template=(_ASSETS / "room.html").read_text(encoding="utf-8"),
        js_on_load=(_ASSETS / "room.js").read_text(encoding="utf-8"),
        elem_id="msdet-room",
        apply_default_css=False,
    )
    with gr.Row():
        length = gr.Slider(
            2.5, 10, start.size[0], step=0.1, label="Length, m", min_width=_SLIDER_WIDTH
        )
        width = gr.Slider(
            2.5, 10, start.size[1], step=0.1, label="Width, m", min_width=_SLIDER_WIDTH
        )
    with gr.Row():
        height = gr.Slider(
            2.2, 5, start.size[2], step=0.1, label="Height, m", min_width=_SLIDER_WIDTH
        )
        t60 = gr.Slider(0, 1, start.t60, step=0.05, label="T60, s", min_width=_SLIDER_WIDTH)
    gr.HTML(
        "<p class=\"msdet-note\">The walls are chosen for this T60 by Sabine's formula; the room's "
        "real one may differ, and is measured and told with the result. 0: no walls.</p>",
        apply_default_css=False,
    )
    array, typed = _microphones(separator, OWN, "msdet-room-array")
    rotation = gr.Slider(0, 359, 0, step=1, label="Array turned by, °")
    with gr.Row():
        chosen = [
            gr.Dropdown(
                [(_voice_label(speaker, separator), speaker) for speaker in voices.speakers],
                value=voice,
                label=f"Voice {number}",
                min_width=_VOICE_WIDTH,
            )
            for number, voice in enumerate(start.voices, 1)
        ]
    with gr.Accordion("More", open=False), gr.Row():
        seconds = gr.Slider(
            1, 30, start.seconds, step=1, label="Length, s", min_width=_SLIDER_WIDTH
        )
        snr_db = gr.Slider(0, 40, start.snr_db, step=1, label="SNR, dB", min_width=_SLIDER_WIDTH)
        take = gr.Slider(0, 20, 0, step=1, label="Stretch of speech", min_width=_SLIDER_WIDTH)
    for slider in (length, width, rotation):
        slider.change(
            None,
            [room, length, width, rotation],
            room,
            js="(room, length, width, rotation) => ({...room, size: [length, width], rotation})",
            validator=_in_the_browser_alone,
            show_progress="hidden",
        )
    gr.on(
        [array.change, typed.change],
        actions.draw_array,
        [room, array, typed],
        room,
        validator=_well_formed,
        api_visibility="private",
        show_progress="hidden",
    )
    return [room, height, t60, seconds, snr_db, take, array, typed, *chosen]


def _voice_label(speaker: str, separator: Separator) -> str:
    first, *_ = unseen_voices(separator.description.sample_rate).of_speaker(speaker)
    known = [part for part in (first.language, first.sex) if part]
    return f"{speaker} ({', '.join(known)})" if known else speaker
