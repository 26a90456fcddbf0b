# SPDX-License-Identifier: Apache-2.0
"""The page: three ways to bring sound, the microphones, the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from markupsafe import escape

from msdet.errors import InputError
from msdet.inference.separator import Separator
from msdet.serve.actions import OWN, TYPED, Actions, array_choices, drawn_array
from msdet.serve.config import ServeConfig
from msdet.serve.guard import Storage
from msdet.serve.jobs import example_benchmarks, unseen_voices
from msdet.serve.result import ASSETS
from msdet.serve.room import WALL_DISTANCE, default_setup
from msdet.serve.worker import Worker
from msdet.shipped import how_many

Job = tuple[gr.Button, Callable[..., tuple[str, str]], list[Any]]
"""A button, what it does, and the components whose values that takes."""

_KEPT_SECONDS = 6 * 3600
"""Age of uploads and results: what is on the screen after lunch can still be played."""

_LOOKS_SECONDS = 3600
"""That gradio looks for older ones after."""

_SLIDER_WIDTH = 200
"""Pixels: a narrower slider gets a scroll bar. Two fit beside each other, on a phone one."""

_VOICE_WIDTH = 260
"""Pixels, for names of speakers with language and sex."""

_TYPED_EXAMPLE = "[[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0], [0, -0.05, 0]]"


def build_page(
    separator: Separator, worker: Worker, config: ServeConfig, storage: Storage
) -> gr.Blocks:
    """Build the page of a model, whose uploads and results a storage holds."""
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
            with gr.Column(scale=2, min_width=340), gr.Tabs():
                jobs = [
                    _recording_tab(separator, actions, config),
                    _example_tab(separator, actions),
                    _room_tab(separator, actions),
                ]
            with gr.Column(scale=3, min_width=340):
                message = gr.HTML(elem_id="msdet-message", apply_default_css=False)
                result = gr.HTML(
                    '<p class="msdet-empty">Results appear here.</p>',
                    elem_id="msdet-result",
                    apply_default_css=False,
                    js_on_load=(ASSETS / "result.js").read_text(encoding="utf-8"),
                )
        for button, action, inputs in jobs:
            button.click(
                action,
                inputs=inputs,
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
    facts = [
        f"model {separator.path.name}",
        f"{how_many(*description.trained_speakers)} speakers",
        f"{description.sample_rate / 1000:g} kHz",
        f"trained on {description.trained_arrays}",
    ]
    if finds := {0.0: "directions", 1.0: "separation"}.get(description.weight):
        facts.append(f"trained for {finds} alone")
    return (
        "<h1>msdet</h1><p>Who speaks from where, and what: speakers of a multi-microphone "
        f"recording, separated and located.<br><small>{escape(' · '.join(facts))}</small></p>"
    )


def _note(html: str) -> None:
    gr.HTML(html, apply_default_css=False)


def _recording_tab(separator: Separator, actions: Actions, config: ServeConfig) -> Job:
    with gr.Tab("Recording"):
        file = gr.File(label="Recording", elem_id="msdet-file", height=180)
        _note(
            '<p class="msdet-note">WAV, FLAC, OGG or MP3 with a channel for each microphone, '
            f"at most {config.max_megabytes:g} MB and {config.max_minutes:g} minutes.</p>"
        )
        microphones = _microphones(separator, None, "msdet-array")
        button = gr.Button("Separate", variant="primary", elem_id="msdet-separate")
    return button, actions.recording, [file, *microphones]


def _example_tab(separator: Separator, actions: Actions) -> Job:
    examples = example_benchmarks(separator)
    with gr.Tab("Example"):
        benchmark = gr.Dropdown(
            list(examples),
            label="Benchmark",
            info="Simulated rooms with voices that no model was trained on, rendered here; the "
            "microphones are the scene's.",
            elem_id="msdet-benchmark",
        )
        described = (
            f"<li>{escape(name)}: {escape(b.description)}</li>" for name, b in examples.items()
        )
        _note(f'<ul class="msdet-note">{"".join(described)}</ul>')
        most = min((b.num_scenes for b in examples.values()), default=1) - 1
        number = gr.Slider(0, max(most, 1), 0, step=1, label="Scene")
        button = gr.Button(
            "Render and separate",
            variant="primary",
            elem_id="msdet-example",
            interactive=bool(examples),
        )
    return button, actions.example, [benchmark, number]


def _microphones(
    separator: Separator, chosen: str | None, name: str
) -> tuple[gr.Dropdown, gr.Textbox]:
    """Add the choice of an array, and the positions where those are to be typed in."""
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


def _slider(label: str, low: float, high: float, value: float, step: float) -> gr.Slider:
    return gr.Slider(low, high, value, step=step, label=label, min_width=_SLIDER_WIDTH)


def _room_tab(separator: Separator, actions: Actions) -> Job:
    description = separator.description
    voices = unseen_voices(description.sample_rate)
    start = default_setup(max(2, min(description.trained_speakers[1], 3)), voices.speakers)
    drawn = start.model_dump(mode="json", include={"array", "rotation", "speakers"})
    drawn |= {"size": start.size[:2], "wall": WALL_DISTANCE}
    with gr.Tab("Set up a room"):
        room = gr.HTML(
            drawn | drawn_array(description.array),
            html_template=(ASSETS / "room.html").read_text(encoding="utf-8"),
            js_on_load=(ASSETS / "room.js").read_text(encoding="utf-8"),
            elem_id="msdet-room",
            apply_default_css=False,
        )
        with gr.Row():
            length = _slider("Length, m", 2.5, 10, start.size[0], 0.1)
            width = _slider("Width, m", 2.5, 10, start.size[1], 0.1)
        with gr.Row():
            height = _slider("Height, m", 2.2, 5, start.size[2], 0.1)
            t60 = _slider("T60, s", 0, 1, start.t60, 0.05)
        _note(
            '<p class="msdet-note">The walls are chosen for this T60 by Sabine\'s formula; the '
            "room's real one may differ, and is measured and told with the result. 0: no walls.</p>"
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
            seconds = _slider("Length, s", 1, 30, start.seconds, 1)
            snr_db = _slider("SNR, dB", 0, 40, start.snr_db, 1)
            take = _slider("Stretch of speech", 0, 20, 0, 1)
        button = gr.Button("Render and separate", variant="primary", elem_id="msdet-render")
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
    inputs = [room, height, t60, seconds, snr_db, take, array, typed, *chosen]
    return button, actions.room, inputs


def _voice_label(speaker: str, separator: Separator) -> str:
    first, *_ = unseen_voices(separator.description.sample_rate).of_speaker(speaker)
    known = [part for part in (first.language, first.sex) if part]
    return f"{speaker} ({', '.join(known)})" if known else speaker
