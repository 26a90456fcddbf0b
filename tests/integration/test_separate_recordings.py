# SPDX-License-Identifier: Apache-2.0
"""`msdet separate` on files of all kinds: what is written, what is refused, what is left alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import msdet
from msdet.cli import main
from msdet.inference.speakers_file import schema

pytestmark = pytest.mark.integration
RATE = 8000
Audio = NDArray[np.float32]
Separate = Callable[..., int]


@pytest.fixture
def separate(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Separate:
    """The command in an empty folder, without pictures, with a tiny network of random weights,
    all of whose outputs count, wherever they come from."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("msdet.inference.window_network.PRESENT", 0.0)
    monkeypatch.setattr("msdet.inference.window_network.MISSED_DEGREES", 181.0)

    def run(*arguments: str, assumed: bool = False) -> int:
        named = any(argument.startswith("array=") for argument in arguments)
        array = [] if named or assumed else ["array=circle4"]
        return main(["separate", *arguments, *array, f"checkpoint={saved}", "picture=false"])

    return run


@pytest.fixture
def audio(recording: Audio) -> Audio:
    """Two voices ``[sample, mic]``, below full scale."""
    return 0.3 * (recording / np.abs(recording).max()).T


def said(folder: str | Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "speakers.json").read_text())
    return content


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def quiet_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


# --- what is written ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subtype", "written"), [("PCM_U8", "PCM_16"), ("PCM_24", "PCM_24"), ("FLOAT", "PCM_24")]
)
@pytest.mark.parametrize("rate", [8000, 11025])
def test_speakers_have_a_format_that_every_player_has(
    separate: Separate, audio: Audio, subtype: str, written: str, rate: int
) -> None:
    soundfile.write("take.wav", audio, rate, subtype=subtype)
    assert separate("take.wav") == 0
    for number in (1, 2):
        info = soundfile.info(f"outputs/separated/take/speaker{number}.wav")
        assert (info.samplerate, info.frames, info.subtype) == (rate, len(audio), written)
    content = said("outputs/separated/take")
    assert content["array"]["name"] == "circle4"
    assert "towards microphone 0" in content["array"]["azimuth"]
    assert content["bandwidth_hz"] == 4000
    for speaker in content["speakers"]:
        assert 0 <= speaker["confidence"] <= 1
        assert all(0 <= a < b <= len(audio) / rate + 0.01 for a, b in speaker["segments"])


def test_command_and_python_say_the_same(separate: Separate, saved: Path, audio: Audio) -> None:
    soundfile.write("take.wav", audio, RATE, subtype="FLOAT")
    assert separate("take.wav", "window_seconds=0.4") == 0
    result = msdet.load(saved).separate(audio.T, RATE, window_seconds=0.4)
    content = said("outputs/separated/take")
    for speech, azimuth, speaker in zip(
        result.audio, result.azimuth, content["speakers"], strict=True
    ):
        written, _ = soundfile.read(Path("outputs/separated/take", speaker["file"]))
        np.testing.assert_allclose(written, speech, atol=1e-5)
        assert speaker["azimuth_deg"] == pytest.approx(azimuth, abs=0.06)


@pytest.mark.parametrize("peak", [0.9, 10.0, 30000.0])
def test_no_level_is_too_loud_to_be_played(
    separate: Separate, audio: Audio, saved: Path, peak: float
) -> None:
    """All speakers are turned down by one gain, which is told; nothing is turned up."""
    loud = peak * audio / np.abs(audio).max()
    soundfile.write("take.wav", loud, RATE, subtype="FLOAT")
    assert separate("take.wav", "output=out") == separate("take.wav", "output=exact", "exact=true")
    wanted = msdet.load(saved).separate(loud.T, RATE).audio
    gain = 10 ** (said("out")["gain_db"] / 20)
    assert gain == pytest.approx(min(1.0, 10 ** (-1 / 20) / np.abs(wanted).max()), rel=2e-3)
    for number, speech in enumerate(wanted, 1):
        played, _ = soundfile.read(f"out/speaker{number}.wav")
        assert np.abs(played).max() < 0.9
        np.testing.assert_allclose(played, gain * speech, atol=2e-3)
        exact, _ = soundfile.read(f"exact/speaker{number}.wav", dtype="float32")
        assert soundfile.info(f"exact/speaker{number}.wav").subtype == "FLOAT"
        np.testing.assert_allclose(exact, speech, atol=1e-5 * peak)
    assert said("exact")["gain_db"] == 0.0


def test_speakers_json_is_what_its_schema_says_and_names_no_place(
    separate: Separate, audio: Audio, saved: Path, tmp_path: Path
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    shipped = Path(__file__).parents[2] / "docs" / "speakers.schema.json"
    assert json.loads(shipped.read_text()) == schema(), "run scripts/speakers_schema.py"
    soundfile.write("take.wav", audio.clip(-0.1, 0.1), RATE)
    Path("my array.json").write_text("[[0.1,0,0],[0,0.5,0],[-0.1,0,0],[0,-0.1,0.2]]")
    assert separate("take.wav", "azimuth=[40,200]", "array=my array.json", "output=out") == 0
    content = said("out")
    assert content["warnings"]
    jsonschema.validate(content, schema())
    assert content["recording"] == "take.wav"
    assert content["model"]["checkpoint"] == saved.name
    text = (tmp_path / "out" / "speakers.json").read_text()
    assert str(tmp_path) not in text
    assert str(saved.parent) not in text
    del content["speakers"][0]["azimuth_deg"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema())


def test_channels_say_which_microphone_is_where(separate: Separate, audio: Audio) -> None:
    soundfile.write("plain.wav", audio, RATE, subtype="FLOAT")
    soundfile.write("mixed.wav", audio[:, [1, 3, 0, 2]], RATE, subtype="FLOAT")
    assert separate("plain.wav") == separate("mixed.wav", "channels=[2,0,3,1]") == 0
    plain, mixed = (said(f"outputs/separated/{name}")["speakers"] for name in ("plain", "mixed"))
    assert plain == mixed


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_positions_come_from_a_file(separate: Separate, audio: Audio, ending: str) -> None:
    soundfile.write("take.wav", audio, RATE)
    points = [[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0], [0, -0.05, 0]]
    rows = "\n".join(",".join(map(str, point)) for point in points)
    text = json.dumps(points) if ending == "json" else f"x,y,z\n{rows}\n"
    Path(f"my array.{ending}").write_text(text)
    assert separate("take.wav", f"array=my array.{ending}", "output=given") == 0
    assert separate("take.wav", "output=own") == 0
    assert said("given")["array"]["name"] == "my array"
    assert said("given")["speakers"] == said("own")["speakers"]


def test_asked_directions_come_in_their_order(separate: Separate, audio: Audio) -> None:
    soundfile.write("take.wav", audio, RATE, subtype="FLOAT")
    assert separate("take.wav", "azimuth=[200,40]", "output=both") == 0
    assert separate("take.wav", "azimuth=[40,200]", "output=turned") == 0
    assert separate("take.wav", "azimuth=40", "output=one") == 0
    assert len(said("one")["speakers"]) == 1
    first, _ = soundfile.read("both/speaker1.wav")
    second, _ = soundfile.read("turned/speaker2.wav")
    np.testing.assert_array_equal(first, second)


def test_an_array_unlike_those_of_training_is_warned_of(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    assert separate("take.wav", "array=tetrahedron", "output=out") == 0
    assert "take.wav: warning: array tetrahedron4: microphones are up to" in capsys.readouterr().err
    assert said("out")["warnings"][0].startswith("array tetrahedron4")


def test_an_array_that_was_not_named_is_assumed_and_said_or_refused(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    assert separate("take.wav", assumed=True) == 0
    (warning,) = said("outputs/separated/take")["warnings"]
    assert "none was named, and the model's own, 'circle4', is assumed" in warning
    soundfile.write("swapped.wav", np.tile(audio, (4, 1))[:, [1, 0, 2, 3]], RATE)
    assert separate("swapped.wav", assumed=True) == 2
    assert "'circle4', cannot have made this: " in quiet_line(capsys)
    assert separate("swapped.wav") == 0  # who names it is warned
    assert any("swapped" in text for text in said("outputs/separated/swapped")["warnings"])


def test_a_picture_is_drawn(saved: Path, audio: Audio, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "take.wav", audio, RATE)
    out = tmp_path / "out"
    assert (
        main(["separate", str(tmp_path / "take.wav"), f"checkpoint={saved}", f"output={out}"]) == 0
    )
    assert (out / "speakers.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_one_microphone_each_are_one_recording(separate: Separate, audio: Audio) -> None:
    soundfile.write("take.wav", audio, RATE, subtype="FLOAT")
    names = [f"mics/take_ch{number}.wav" for number in (2, 9, 10, 11)]  # ch10 after ch9
    Path("mics").mkdir()
    for name, channel in zip(names, audio.T, strict=True):
        soundfile.write(name, channel, RATE, subtype="FLOAT")
    assert separate("take.wav") == separate("mics", "--together") == 0
    assert separate(*names, "together=true") == 0
    whole = said("outputs/separated/take")["speakers"]
    for folder in ("mics", "take_ch"):
        content = said(f"outputs/separated/{folder}")
        assert content["speakers"] == whole
        assert content["recording_files"] == [Path(name).name for name in names]
    assert separate(*reversed(names), "together=true", "output=turned") == 0
    assert said("turned")["speakers"] != whole


def test_files_that_are_not_of_one_recording_are_refused(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, channel in enumerate(audio.T):
        soundfile.write(f"mic{number}.wav", channel, RATE)
    names = [f"mic{number}.wav" for number in range(4)]
    assert separate(*names) == 2
    assert "msdet separate mic0.wav mic1.wav mic2.wav mic3.wav --together" in quiet_line(capsys)
    assert separate(*names[:3], "--together") == 2
    assert "3 files, but the array 'circle4' has 4 microphones" in quiet_line(capsys)
    assert separate("mic0.wav") == 2
    assert "--together" in quiet_line(capsys)
    soundfile.write("mic3.wav", audio[:-40, 3], RATE)  # 5 ms
    assert separate(*names, "--together") == 0
    assert "differ in length by 40 samples" in said("outputs/separated/mic")["warnings"][0]
    for samples, rate, says in (
        (audio[:-800, 3], RATE, "mic3.wav: lasts 0.900 s, but mic0.wav 1.000 s"),
        (audio[:, 3], 2 * RATE, "mic3.wav: has 16000 Hz, but mic0.wav 8000 Hz"),
        (audio[:, 2:], RATE, "mic3.wav: has 2 channels"),
    ):
        soundfile.write("mic3.wav", samples, rate)
        assert separate(*names, "--together") == 2
        assert says in quiet_line(capsys)


# --- several, and again -------------------------------------------------------------------


def test_a_folder_is_separated_and_a_bad_file_named(
    separate: Separate, audio: Audio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/take.wav", "b/take.wav", "b/take.flac"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, audio, RATE)
    (tmp_path / "in" / "b" / "notes.wav").write_text("not audio")
    assert separate("in", "output=out") == 2
    shown = capsys.readouterr().err
    assert "notes.wav: cannot be read as audio" in shown
    assert "1 of 4" in shown.splitlines()[-1]
    folders = {path.parent.relative_to(tmp_path / "out") for path in tmp_path.glob("out/**/*.json")}
    assert folders == {Path("a/take"), Path("b/take.wav"), Path("b/take.flac")}
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_folder_of_scenes_is_separated_to_be_scored(
    separate: Separate, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mixtures alone are separated; found speakers score as those of the model itself."""

    def here(build: Any, argument: Any, items: Any, **_: Any) -> Any:
        """In this process, in which what the network puts out counts as speakers."""
        return map(build(argument), items)

    monkeypatch.setattr("msdet.evaluation.evaluate.in_processes", here)
    drawn = ["num_scenes=2", "seconds=2", "sample_rate=8000", "audio=true"]
    assert main(["simulate", "output=set", *drawn]) == 0
    ids = {path.name for path in Path("set/audio").iterdir()}
    assert separate("set", "output=both") == 0
    names = ("speaker1.wav", "speaker2.wav", "speakers.json")
    assert everything(tmp_path / "both") == {f"{id}/{name}" for id in ids for name in names}
    assert separate("set/audio", "output=fewer", "max_speakers=1") == 0
    scored = ["scenes=set/scenes.jsonl", "corpus=bundled", "pictures=0", "metrics=[si_sdr]"]
    found = {}
    for name in ("both", "fewer"):
        command = ["evaluate", f"estimates={name}", f"checkpoint={saved}", *scored]
        assert main([*command, f"output=scores-{name}", "systems=[model,model+mvdr]"]) == 0
        found[name] = json.loads(Path(f"scores-{name}/summary.json").read_text())["systems"]
    for after in ("", "+mvdr"):  # which hears of the files' level too
        of_model, of_files = (found["both"][f"{name}{after}"] for name in ("tiny", "estimates"))
        for key in ("si_sdr_db", "azimuth_error_mean_deg"):
            assert of_files[key] == pytest.approx(of_model[key], abs=0.05), after
    assert found["fewer"]["estimates"]["speaker_count_confusion"]["2"]["1"] == 2


def test_the_same_recording_again_replaces_and_another_is_refused(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    soundfile.write("other.wav", audio[::-1], RATE)
    assert separate("take.wav", "output=out") == 0
    assert separate("take.wav", "output=out", "azimuth=40") == 0
    assert everything(Path("out")) == {"speaker1.wav", "speakers.json"}
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    Path("elsewhere").mkdir()
    soundfile.write("elsewhere/take.wav", audio, RATE)
    for other in ("other.wav", "elsewhere/take.wav"):
        assert separate(other, "output=out") == 2
        assert "another recording" in quiet_line(capsys)
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before


def test_ctrl_c_leaves_nothing_behind(
    separate: Separate, audio: Audio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msdet.inference.window_network import WindowNetwork

    soundfile.write("take.wav", audio, RATE)
    whole, calls = WindowNetwork.__call__, []

    def interrupted(self: WindowNetwork, window: Audio, num_speakers: int | None) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, window, num_speakers)

    monkeypatch.setattr(WindowNetwork, "__call__", interrupted)
    assert separate("take.wav", "output=out/take", "window_seconds=0.2") == 130
    assert everything(tmp_path) == {"take.wav"}


# --- bad input ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["abc", "", "nan", "[40,x]", "[]"])
def test_directions_that_are_no_numbers_are_refused(
    separate: Separate, audio: Audio, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    assert separate("take.wav", f"azimuth={value}") == 2
    assert "give degrees, one number or a list of them" in quiet_line(capsys)


@pytest.mark.parametrize("setting", ["window_seconds=1e300", "overlap=nan", "recording=[]"])
def test_what_no_recording_can_have_is_refused(
    separate: Separate, setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert separate(*([] if "recording" in setting else ["take.wav"]), setting) == 2
    assert setting.partition("=")[0] in quiet_line(capsys)


def test_an_output_below_a_file_is_refused(
    separate: Separate, audio: Audio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    assert separate("take.wav", "output=take.wav/speakers") == 2
    assert "take.wav is a file, not a folder" in quiet_line(capsys)
    assert everything(tmp_path) == {"take.wav"}


BROKEN: dict[str, tuple[Callable[[Audio], Audio], str]] = {
    "mono": (lambda x: x[:, :1], "is mono"),
    "three": (lambda x: x[:, :3], "3 channels, but the array 'circle4' has 4"),
    "nan": (lambda x: np.where(np.arange(len(x))[:, None] == 4000, np.nan, x), "first at 0.500 s"),
    "silent": (lambda x: 0 * x, "the recording is silent"),
    "deaf": (lambda x: x * [0, 1, 1, 1], "channel 0 is silent"),
    "tiny": (lambda x: 1e-30 * x, "the recording is silent"),
    "broken": (lambda x: x * [1, 1, 1e19, 1], "louder than channel 0"),
    "stereo": (lambda x: x[:, :2], "checkpoint=line-pairs is for two microphones"),
    "copied": (lambda x: np.repeat(x[:, :1], 4, axis=1), "all channels are the same"),
    "empty": (lambda x: x[:0], "holds no samples"),
    "short": (lambda x: x[:100], "too short"),
}
"""Recordings that cannot be separated, and what is said of them."""


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_recording_is_said_in_one_line(
    separate: Separate, audio: Audio, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, says = BROKEN[name]
    soundfile.write("take.wav", spoil(audio), RATE, subtype="FLOAT")
    assert separate("take.wav") == 2
    line = quiet_line(capsys)
    assert says in line
    assert "take.wav" in line
    assert everything(tmp_path) == {"take.wav"}


def test_a_cut_file_is_separated_as_far_as_it_goes(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE, subtype="PCM_16")
    whole = Path("take.wav").read_bytes()
    Path("take.wav").write_bytes(whole[: 44 + 4000 * 8])
    assert separate("take.wav") == 0
    assert "ends in the middle: 0.500 s" in capsys.readouterr().err
    assert soundfile.info("outputs/separated/take/speaker1.wav").frames == 4000
    assert "ends in the middle" in said("outputs/separated/take")["warnings"][0]


@pytest.mark.parametrize(
    "announced",
    [0, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x80000000, 0x7FFFEFFC, 0x7FFF0000, 0xFFFFFFFF, 0xFFFFF000],
)
def test_a_stream_is_whole_though_its_header_does_not_know_its_length(
    separate: Separate, audio: Audio, announced: int
) -> None:
    soundfile.write("take.wav", audio, RATE, subtype="PCM_16")
    header = bytearray(Path("take.wav").read_bytes())
    header[4:8] = ((announced + 36) % 2**32).to_bytes(4, "little")
    header[40:44] = announced.to_bytes(4, "little")
    Path("stream.wav").write_bytes(header)
    assert separate("take.wav", "stream.wav") == 0
    content = said("outputs/separated/stream")
    assert content["warnings"] == []
    assert content["speakers"] == said("outputs/separated/take")["speakers"]


@pytest.mark.parametrize("scale", [2.0**15, 1e19])
def test_floats_of_any_scale_are_separated_alike(
    separate: Separate, audio: Audio, scale: float
) -> None:
    """Full scale of integers in floats is that of the integers."""
    loud = np.round((40 * audio).clip(-1, 1 - 2**-15) * 2**15) / 2**15
    for name, samples in (("quiet", np.round(audio * 2**15) / 2**15), ("loud", loud)):
        soundfile.write(f"{name}.wav", samples, RATE, subtype="PCM_16")
        soundfile.write(f"{name}-floats.wav", samples * scale, RATE, subtype="FLOAT")
    assert separate("quiet.wav", "quiet-floats.wav", "loud.wav", "loud-floats.wav") == 0
    for name in ("quiet", "loud"):
        integers, floats = (said(f"outputs/separated/{name}{end}") for end in ("", "-floats"))
        assert integers["speakers"] == floats["speakers"]
        gain = 10 ** (integers["gain_db"] / 20)
        for file in ("speaker1.wav", "speaker2.wav"):
            one, _ = soundfile.read(f"outputs/separated/{name}/{file}")
            other, _ = soundfile.read(f"outputs/separated/{name}-floats/{file}")
            turned_down = 10 ** (floats["gain_db"] / 20) * scale
            np.testing.assert_allclose(other / turned_down * gain, one, atol=2e-3)
        if scale == 2.0**15:
            assert integers["warnings"] == floats["warnings"]
            assert bool(floats["warnings"]) == (name == "loud")
        else:
            assert floats["warnings"] == []


def test_an_empty_band_is_warned_of(separate: Separate, audio: Audio) -> None:
    spectrum = np.fft.rfft(audio, axis=0)
    spectrum[2500:] = 0  # above 2500 Hz of a second
    soundfile.write("whole.wav", audio, RATE, subtype="PCM_16")
    soundfile.write("cut.wav", np.fft.irfft(spectrum, axis=0), RATE, subtype="PCM_16")
    assert separate("whole.wav", "cut.wav") == 0
    assert said("outputs/separated/whole")["warnings"] == []
    (warning,) = said("outputs/separated/cut")["warnings"]
    assert "nothing is in it above 2750 Hz" in warning  # in steps of 250, filters included
    assert "listens up to 4000 Hz" in warning


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_names_that_are_not_utf8_and_pipes(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("take.wav", audio, RATE)
    try:
        Path("take.wav").rename(name := os.fsdecode(b"t\xe9.wav"))
    except OSError:
        pytest.skip("names on this disk are UTF-8")
    os.mkfifo("pipe.wav")
    assert separate("pipe.wav", name) == 2
    assert "pipe.wav: is a folder, a pipe or a device" in capsys.readouterr().err
    assert said("outputs/separated/t_")["recording"] == r"t\udce9.wav"


def test_clipped_samples_are_counted(
    separate: Separate, audio: Audio, capsys: pytest.CaptureFixture[str]
) -> None:
    loud = (40.0 * audio).clip(-1.0, 1.0)
    soundfile.write("take.wav", loud, RATE, subtype="PCM_16")
    at_limit = int((np.abs(loud) >= 1.0).sum())
    assert separate("take.wav") == 0
    said_of_it = capsys.readouterr().err
    count = int(said_of_it.split("warning: ")[1].split()[0])
    assert 0.5 * at_limit < count <= at_limit
    soundfile.write("take.wav", audio, RATE, subtype="PCM_16")
    assert separate("take.wav", "output=fine") == 0
    assert "clipped" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[50,0,0],[0,50,0],[-50,0,0],[0,-50,0]]", "in metres"),
        ("[[0.05,0],[0,0.05]]", "three numbers"),
        ("[[0,0,0],[0,0,0],[0,0,0],[0,0,0]]", "same place"),
        ('{"mics": 4}', "expected [[x, y, z], ...]"),
        ("[[0.05,0,0],", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[[1e400,0,0],[0,0.05,0]]", "three numbers"),
        (f"[[1{'0' * 400},0,0],[0,0.05,0]]", "three numbers"),
    ],
)
def test_bad_positions_are_named(
    separate: Separate, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("positions.json").write_text(text)
    assert separate("take.wav", "array=positions.json") == 2
    line = quiet_line(capsys)
    assert says in line
    assert "positions.json" in line


def test_without_a_model_one_is_asked_for(
    audio: Audio,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msdet.shipped.models_dir", lambda: tmp_path / "none")
    soundfile.write(tmp_path / "take.wav", audio, RATE)
    assert main(["separate", str(tmp_path / "take.wav")]) == 2
    assert "checkpoint=FILE" in quiet_line(capsys)
