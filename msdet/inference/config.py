# SPDX-License-Identifier: Apache-2.0
"""The settings of `msdet separate` and `msdet export`; they are read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SkipValidation

from msdet.geometry import ArrayConfig
from msdet.parsing import MOST_WORKERS, Config

WINDOW_SECONDS = 8.0
"""Shorter ones hold one speaker alone more often, longer ones more people than a model puts out."""

OVERLAP = 0.125
"""Share of a window that the next one has too. It is computed twice, and tells whose output is
whose in the next."""


class SeparateConfig(Config):
    """Recordings to separate.

    Attributes:
        recording: audio file with all microphones, a folder of such, or a list of either.
        together: the files are one recording, a microphone each, in this order; of a folder, those
            that lie in it (`--together`).
        checkpoint: `model.ckpt`, or the name of a model that ships; null takes the default one.
        trust: import and run classes outside msdet that the checkpoint names; only for checkpoints
            of people whom you trust.
        output: folder for the speakers, of several recordings for a folder each; null:
            `outputs/separated/` and the name of the recording.
        array: such as `array=respeaker4`, or a `.json` or `.csv` file of positions; null takes the
            array of training.
        channels: which channel of the file is each microphone, from 0, such as [2, 0, 1, 3]; null
            takes the array's own.
        azimuth: degrees: the speaker in this direction, or in each of a list, and no others; null
            puts out all.
        window_seconds: recordings go through the network in windows of this length.
        overlap: share of a window that the next one has too; what is shared is computed twice.
        num_speakers: people in a recording, where that is known; null: as many as are found.
        max_speakers: people in a recording at most; null: as many as are found.
        moving: people walk about: they are followed, by directions and beams of moments.
        exact: 32-bit floats at the recording's own level, however loud, in place of 16 or 24 bits
            that any player plays.
        picture: draw `speakers.png`.
        num_workers: recordings at a time, a process of about a gigabyte each; null takes one per
            core.
        device: where the network computes, as torch names it, such as `cuda`.
    """

    recording: str | tuple[str, ...]
    together: bool = False
    checkpoint: str | None = None
    trust: bool = False
    output: str | None = None
    array: ArrayConfig | None = None
    channels: tuple[int, ...] | None = None
    azimuth: SkipValidation[float | tuple[float, ...] | None] = None  # the model checks it
    window_seconds: float = Field(default=WINDOW_SECONDS, gt=0, le=3600)  # minutes take gigabytes
    overlap: float = Field(default=OVERLAP, gt=0, le=0.5)
    num_speakers: int | None = Field(default=None, ge=1)
    max_speakers: int | None = Field(default=None, ge=1)
    moving: bool = False
    exact: bool = False
    picture: bool = True
    num_workers: int | None = Field(default=1, ge=1, le=MOST_WORKERS)
    device: str = "cpu"


class ExportConfig(Config):
    """A model to write as ONNX.

    Attributes:
        checkpoint: `model.ckpt` or `last.ckpt`, or the name of a model that ships.
        trust: import and run classes outside msdet that the checkpoint names; only for checkpoints
            of people whom you trust.
        output: file, such as `model.onnx`; one that is there is replaced when the new one is whole.
        array: such as `array=circle6`, for its number of microphones; null takes the array of
            training.
    """

    checkpoint: str
    output: str
    trust: bool = False
    array: ArrayConfig | None = None


class ListenConfig(Config):
    """A stream to separate as it comes.

    Attributes:
        source: `device`, the sound card, or `device:NAME`, one of several; `-`, samples on standard
            input; or an audio file, which is played at its own pace.
        checkpoint: `model.ckpt` of a causal model (`experiment=causal`).
        trust: import and run classes outside msdet that the checkpoint names; only for checkpoints
            of people whom you trust.
        array: such as `array=respeaker4`, or a `.json` or `.csv` file of positions; null takes the
            array of training.
        channels: which channel of the source is each microphone, from 0, such as [2, 0, 1, 3]; null
            takes the array's own.
        sample_rate: hertz, of a sound card or of standard input; null: the model's.
        format: of samples on standard input, little-endian and interleaved: 16-bit integers
            (`s16`) or 32-bit floats (`f32`).
        num_channels: of a sound card or of standard input; null: as many as the array's.
        output: folder for what was heard, a WAV a speaker and `directions.jsonl`, written as it
            comes; null: directions alone, on standard output.
        seconds: stop after so many; null: when the source ends.
        pace: play a file at its own pace; false: as fast as can be.
        device: where the network computes, as torch names it, such as `cuda`.
    """

    source: str
    checkpoint: str
    trust: bool = False
    array: ArrayConfig | None = None
    channels: tuple[int, ...] | None = None
    sample_rate: int | None = Field(default=None, ge=1000, le=10**6)
    format: Literal["s16", "f32"] = "s16"
    num_channels: int | None = Field(default=None, ge=1, le=1024)
    output: str | None = None
    seconds: float | None = Field(default=None, gt=0)
    pace: bool = True
    device: str = "cpu"
