# SPDX-License-Identifier: Apache-2.0
"""`msdet listen`: a stream to separated speakers and their directions, while it comes."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import soundfile

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.config import ListenConfig
from msdet.inference.live_sources import (
    Source,
    open_file,
    open_pipe,
    open_sound_card,
    standard_input,
)
from msdet.inference.recording_audio import microphones_in
from msdet.inference.separator import load
from msdet.inference.stream import Heard
from msdet.moments import TRACK_SECONDS
from msdet.output_folder import sole_user
from msdet.parsing import parse

DIRECTIONS_NAME = "directions.jsonl"


def run(values: dict[str, Any]) -> None:
    """Run ``msdet listen``."""
    listen(parse(ListenConfig, values))


def listen(config: ListenConfig) -> None:
    """Separate a stream until it ends, or the time is up.

    Raises:
        InputError: before it begins: the model is not causal, or does not fit the microphones; the
            source cannot be opened; the output folder holds something. Or the source broke off.
    """
    separator = load(config.checkpoint, config.device, trust=config.trust)
    array = separator.array_for(config.array.build() if config.array else None)
    rate = separator.description.sample_rate
    separator.stream(config.sample_rate or rate, array)  # refuses models that look ahead
    with ExitStack() as stack:
        source = _opened(config, array, rate, stack)
        picks = list(
            microphones_in(
                f"source={config.source}",
                source.num_channels,
                f"{source.num_channels} channels",
                array,
                config.channels,
                separator.description,
            )
        )
        stream = separator.stream(source.sample_rate, array)
        slots = separator.description.num_slots
        written = _Written(config.output, source.sample_rate, slots, stack)
        began, given, lost = time.monotonic(), 0, 0.0
        live = config.source != "-" and config.pace
        try:
            for piece in source.pieces:
                lost += piece.lost
                given += piece.audio.shape[1]
                heard = stream.push(piece.audio[picks])
                passed = lost + given / source.sample_rate
                behind = max(0.0, time.monotonic() - began - passed) if live else None
                written.add(heard, lost, behind)
                if config.seconds is not None and passed >= config.seconds:
                    break
        finally:  # also where the source broke off, or somebody stopped it
            written.add(stream.finish(), lost, None)


def _opened(
    config: ListenConfig, array: MicrophoneArray, model_rate: int, stack: ExitStack
) -> Source:
    kind, _, name = config.source.partition(":")
    rate = config.sample_rate or model_rate
    count = config.num_channels or array.file_channels or 1 + max(array.channels)
    if config.source == "-":
        return open_pipe(standard_input(), rate, count, config.format)
    if kind == "device":
        return open_sound_card(name or None, rate, count, stack)
    for key in ("sample_rate", "num_channels"):
        if getattr(config, key) is not None:
            raise InputError(f"{key}={getattr(config, key)}: a file says its own; leave it out")
    return open_file(Path(config.source), stack, config.pace)


class _Written:
    """Directions as lines of JSON, ten a second, and on request audio.

    Args:
        folder: new or empty; None writes directions to standard output, and no audio.
    """

    def __init__(self, folder: str | None, sample_rate: int, slots: int, stack: ExitStack) -> None:
        self._lines: TextIO = sys.stdout
        self._files: list[soundfile.SoundFile] = []
        self._told = -1.0
        if folder is None:
            return
        path = Path(folder)
        stack.enter_context(sole_user(path))
        if any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise InputError(f"output={path}: holds something already; choose another output=")
        for number in range(1, slots + 1):
            file = path / f"speaker{number}.wav"
            self._files.append(
                stack.enter_context(
                    soundfile.SoundFile(file, "w", sample_rate, 1, "FLOAT", format="RF64")
                )
            )
        self._lines = stack.enter_context((path / DIRECTIONS_NAME).open("w", encoding="utf-8"))

    def add(self, heard: Heard, lost: float, behind: float | None) -> None:
        """Write what was heard.

        Args:
            lost: seconds of the stream so far that were not heard.
            behind: seconds that its end is behind the clock; None where nothing says so.
        """
        for file, samples in zip(self._files, heard.audio, strict=False):
            file.write(samples)
        for moment, seconds in enumerate(heard.seconds):
            if seconds < self._told + TRACK_SECONDS - 1e-6:
                continue
            self._told = seconds
            speakers = [
                {
                    "azimuth_deg": None if np.isnan(azimuth) else round(float(azimuth), 1),
                    "confidence": round(float(heard.confidence[slot, moment]), 3),
                    "level_db": round(float(heard.level_db[slot, moment]), 1),
                }
                for slot, azimuth in enumerate(heard.azimuth[:, moment])
            ]
            line: dict[str, Any] = {"seconds": round(seconds + lost, 3), "speakers": speakers}
            if behind is not None:
                line["behind_seconds"] = round(behind, 3)
            if lost:
                line["lost_seconds"] = round(lost, 3)
            print(json.dumps(line), file=self._lines, flush=True)
