# SPDX-License-Identifier: Apache-2.0
"""``msdet listen``: streams of all kinds to lines of directions and audio."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import msdet
from msdet.cli import main
from msdet.errors import InputError
from msdet.inference import live_sources
from msdet.inference.live_sources import Piece, open_pipe, open_sound_card

RATE = 8000


@pytest.fixture
def file(tmp_path: Path, recording: NDArray[np.float32]) -> Path:
    path = tmp_path / "recording.wav"
    soundfile.write(path, recording.T, RATE, subtype="FLOAT")
    return path


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_file_is_heard_at_its_own_pace(
    saved_causal: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    assert main(["listen", f"source={file}", f"checkpoint={saved_causal}"]) == 0
    seconds = soundfile.info(file).duration
    assert time.monotonic() - began >= seconds
    lines = lines_of(capsys.readouterr().out)
    moments = np.array([line["seconds"] for line in lines])
    assert moments[0] == 0.0
    assert ((np.diff(moments) > 0.099) & (np.diff(moments) < 0.15)).all()
    assert moments[-1] > seconds - 0.2
    assert all(line["behind_seconds"] >= 0 for line in lines[:-1])
    assert not any("lost_seconds" in line for line in lines)


def test_audio_and_directions_are_those_of_the_stream(
    saved_causal: Path, file: Path, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    folder = tmp_path / "heard"
    settings = (f"checkpoint={saved_causal}", "pace=false", f"output={folder}")
    assert main(["listen", f"source={file}", *settings]) == 0
    stream = msdet.load(saved_causal).stream(RATE)
    heard = [stream.push(recording), stream.finish()]
    audio = np.concatenate([piece.audio for piece in heard], axis=1)
    written = [soundfile.read(folder / f"speaker{n}.wav", dtype="float32")[0] for n in (1, 2)]
    error = np.square(np.stack(written) - audio).mean() / np.square(audio).mean()
    assert error < 1e-8
    seconds = np.concatenate([piece.seconds for piece in heard])
    azimuth = np.concatenate([piece.azimuth for piece in heard], axis=1)
    for line in lines_of((folder / "directions.jsonl").read_text()):
        moment = int(np.abs(seconds - line["seconds"]).argmin())
        for slot, speaker in enumerate(line["speakers"]):
            gap = abs(speaker["azimuth_deg"] - azimuth[slot, moment])
            assert min(gap, 360 - gap) < 0.11
    assert main(["listen", f"source={file}", *settings]) == 2, "the folder holds something"


@pytest.mark.parametrize("kind", ["s16", "f32"])
def test_standard_input_is_heard(
    kind: str,
    saved_causal: Path,
    recording: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    quiet = 0.5 * recording / np.abs(recording).max()
    data = quiet.T if kind == "f32" else np.round(quiet.T * 32768)
    raw = np.ascontiguousarray(data, "<f4" if kind == "f32" else "<i2").tobytes() + b"\0\0\0"
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw), isatty=lambda: False))
    folder = tmp_path / "heard"
    settings = (f"checkpoint={saved_causal}", f"format={kind}", f"output={folder}")
    assert main(["listen", "source=-", *settings]) == 0
    assert soundfile.info(folder / "speaker1.wav").frames == recording.shape[1]


def test_a_pipe_s_samples_are_those_that_were_put_in() -> None:
    samples = np.arange(-6, 6, dtype="<i2") * 1000
    found = [*open_pipe(io.BytesIO(samples.tobytes()), RATE, 3, "s16").pieces]
    assert len(found) == 1
    assert np.array_equal(found[0].audio, samples.reshape(4, 3).T / np.float32(32768))


def test_it_stops_when_the_time_is_up(saved_causal: Path, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "heard"
    settings = (f"checkpoint={saved_causal}", "pace=false", "seconds=0.5", f"output={folder}")
    assert main(["listen", f"source={file}", *settings]) == 0
    assert soundfile.info(folder / "speaker1.wav").frames == pytest.approx(0.5 * RATE, abs=257)


def test_what_nobody_had_time_for_is_counted() -> None:
    def read() -> Iterator[NDArray[np.float32]]:
        for number in range(400):
            yield np.full((1, 256), number, np.float32)

    pieces = live_sources._buffered(read, RATE)
    time.sleep(0.3)
    found = [*pieces]
    heard, lost = sum(p.audio.shape[1] for p in found), sum(p.lost for p in found)
    assert heard < 400 * 256
    assert heard + round(lost * RATE) <= 400 * 256


def test_a_source_that_breaks_off_says_so_when_all_was_heard() -> None:
    def read() -> Iterator[NDArray[np.float32]]:
        yield np.zeros((1, 256), np.float32)
        raise InputError("the disk fails")

    found: list[Piece] = []
    with pytest.raises(InputError, match="the disk fails"):
        found.extend(live_sources._buffered(read, RATE))
    assert len(found) == 1


# --- sound cards ------------------------------------------------------------------------------


class PortAudioError(Exception):
    pass


class Card:
    """A sound card that gives some blocks when it is opened, and no more."""

    def __init__(self, *arguments: Any, callback: Any) -> None:
        self.rate, self.size, self.name, self.channels, self.kind = arguments
        if self.name == "busy":
            raise PortAudioError(
                "Error opening InputStream: Device unavailable [PaErrorCode -9985]"
            )
        self.callback = callback

    def __enter__(self) -> Card:
        for number in range(3):
            status = SimpleNamespace(input_overflow=number == 1)
            block = np.full((self.size, self.channels), 0.1 * number, np.float32)
            self.callback(block, self.size, None, status)
        return self

    def __exit__(self, *error: object) -> None:
        pass


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(InputStream=Card, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    monkeypatch.setattr(live_sources, "_PATIENCE", 0.2)


def test_a_sound_card_that_goes_away_is_told(card: None) -> None:
    with ExitStack() as stack:
        heard: list[Piece] = []
        pieces = open_sound_card("mics", RATE, 4, stack).pieces
        with pytest.raises(InputError, match=r"source=device:mics: gave nothing for 0\.2 s"):
            heard.extend(pieces)
    assert [piece.audio.shape for piece in heard] == 3 * [(4, 256)]
    assert sum(piece.lost for piece in heard) == pytest.approx(0.032)


def test_what_was_heard_of_a_card_that_goes_away_is_kept(
    card: None, saved_causal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "heard"
    settings = (f"checkpoint={saved_causal}", f"output={folder}")
    assert main(["listen", "source=device", *settings]) == 2
    assert "is it still there?" in capsys.readouterr().err
    assert soundfile.info(folder / "speaker1.wav").frames == 3 * 256


def test_a_busy_card_is_one_line(
    card: None, saved_causal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", "source=device:busy", f"checkpoint={saved_causal}"]) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("msdet listen: source=device:busy: cannot be opened")
    assert "\n" not in told


def test_without_the_package_it_says_how_to_get_it(
    saved_causal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen", "source=device", f"checkpoint={saved_causal}"]) == 2
    assert "pip install '.[listen]'" in capsys.readouterr().err


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("source=nowhere.wav",), "nowhere.wav: no such file"),
        (("source={file}", "sample_rate=16000"), "sample_rate=16000: a file says its own"),
        (("source={file}", "channels=[0,1,2]"), "channels=[0, 1, 2]: name one different channel"),
        (("source={file}", "array=circle6"), "4 channels, but the array 'circle6' has 6"),
        (("source={file}", "seconds=0"), "seconds"),
        (("source={file}", "output={file}"), "is a file"),
    ],
)
def test_mistakes_are_told_before_anything_is_heard(
    settings: tuple[str, ...],
    words: str,
    saved_causal: Path,
    file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [setting.format(file=file) for setting in settings]
    assert main(["listen", *given, f"checkpoint={saved_causal}"]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert not shown.out


def test_a_model_that_looks_ahead_is_refused(
    saved: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listen", f"source={file}", f"checkpoint={saved}"]) == 2
    assert "looks at all of a recording" in capsys.readouterr().err


def test_a_terminal_is_no_source(
    saved_causal: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert main(["listen", "source=-", f"checkpoint={saved_causal}"]) == 2
    assert "is a terminal" in capsys.readouterr().err
