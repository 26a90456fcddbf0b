# SPDX-License-Identifier: Apache-2.0
"""Recordings in: what is refused, and what must not change the answer."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import msdet
from msdet.audio import write_audio
from msdet.checkpoints import Checkpoint, Description, save_portable
from msdet.cli import main
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.inference.separator import Separator
from msdet.inference.tracks import Track
from msdet.models.msdet import MSDET
from msdet.moments import moments_of

RATE = 8000
Build = Callable[..., MicrophoneArray]
Arrays = dict[str, MicrophoneArray]


@pytest.fixture(scope="module")
def separator(saved: Path) -> Separator:
    return msdet.load(saved)


@pytest.fixture(scope="module")
def separator_of(
    make_model: Callable[..., MSDET], describe: Callable[..., Description]
) -> Callable[..., Separator]:
    """A separator without a file: `make_model`'s keys, and changes to its description."""

    def made(changes: dict[str, Any] | None = None, **kind: Any) -> Separator:
        model = make_model(**kind).eval()
        described = describe(model, **changes or {})
        stored = Description.model_validate(described.model_dump(mode="json"))
        return Separator(Checkpoint(Path("model.ckpt"), model, stored))

    return made


@pytest.fixture(autouse=True)
def everybody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of random weights put out noise, in which nobody speaks."""
    monkeypatch.setattr("msdet.inference.window_network.PRESENT", 0.0)


def refusal(separator: Separator, audio: object, rate: int = RATE, array: object = None) -> str:
    with pytest.raises(InputError) as caught:
        separator.separate(audio, rate, array)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what comes out -----------------------------------------------------------------------


def test_a_recording_comes_apart(separator: Separator, recording: NDArray[np.float32]) -> None:
    result = separator.separate(recording, sample_rate=RATE)
    assert result.audio.shape == (2, recording.shape[1])
    assert result.audio.dtype == np.float32
    assert np.isfinite(result.audio).all()
    assert result.sample_rate == RATE
    assert result.azimuth.shape == (2,)
    assert ((result.azimuth >= 0) & (result.azimuth < 360)).all()
    assert result.posterior.shape == (2, 24)
    np.testing.assert_allclose(result.posterior.sum(axis=1), 1.0, rtol=1e-5)


def test_the_same_recording_gives_the_same_answer(
    separator: Separator, saved: Path, recording: NDArray[np.float32]
) -> None:
    first = separator.separate(recording, RATE)
    again = separator.separate(recording.copy(), RATE)
    other = msdet.load(str(saved)).separate(recording, RATE)
    for result in (again, other):
        np.testing.assert_array_equal(result.audio, first.audio)
        np.testing.assert_array_equal(result.azimuth, first.azimuth)


@pytest.mark.parametrize("gain", [2.0, 1e-3, 300.0])
def test_a_louder_recording_gives_louder_speakers_in_the_same_place(
    separator: Separator, recording: NDArray[np.float32], gain: float
) -> None:
    plain, louder = (separator.separate(g * recording, RATE) for g in (1.0, gain))
    scale = np.abs(plain.audio).max()
    np.testing.assert_allclose(louder.audio / gain, plain.audio, atol=1e-3 * scale)
    np.testing.assert_allclose(louder.posterior, plain.posterior, atol=1e-3)


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_integer_samples_are_the_same_recording(
    separator: Separator, recording: NDArray[np.float32], dtype: str
) -> None:
    audio = 0.5 * recording / np.abs(recording).max()
    integers = np.round(audio * np.iinfo(dtype).max).astype(dtype)
    expected, found = separator.separate(audio, RATE), separator.separate(integers, RATE)
    scale = np.abs(expected.audio).max()
    np.testing.assert_allclose(found.audio, expected.audio, atol=5e-3 * scale)
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=5e-3)


def test_tensors_and_lists_are_recordings_too(
    separator: Separator, recording: NDArray[np.float32]
) -> None:
    part = recording[:, :1000]
    expected = separator.separate(part, RATE).audio
    for audio in (torch.from_numpy(part), part.tolist(), part.astype(np.float64)):
        np.testing.assert_allclose(separator.separate(audio, RATE).audio, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("rate", "samples"),
    [(16000, 16000), (16000, 16001), (11025, 9999), (48000, 31234), (8000, 3001)],
)
def test_a_recording_of_any_rate_comes_back_at_that_rate_and_length(
    separator: Separator, rate: int, samples: int
) -> None:
    audio = np.random.default_rng(0).standard_normal((4, samples))
    result = separator.separate(audio, rate)
    assert result.sample_rate == rate
    assert result.audio.shape == (2, samples)
    assert np.isfinite(result.audio).all()


def test_the_rate_of_a_recording_does_not_move_its_speakers(
    separator: Separator, recording: NDArray[np.float32]
) -> None:
    from msdet.audio import resample

    finer = resample(torch.from_numpy(recording), RATE, 16000).numpy()
    native, resampled = separator.separate(recording, RATE), separator.separate(finer, 16000)
    np.testing.assert_allclose(resampled.posterior, native.posterior, atol=0.05)
    again = resampled.audio[:, ::2][:, : native.audio.shape[1]]
    for slot in range(2):
        assert np.corrcoef(again[slot], native.audio[slot])[0, 1] > 0.9


def test_a_model_for_separation_alone_says_no_direction(
    separator_of: Callable[..., Separator], recording: NDArray[np.float32]
) -> None:
    result = separator_of({"weight": 1.0}, guidance="none", weight=1.0).separate(recording, RATE)
    assert np.isnan(result.azimuth).all()
    assert np.isfinite(result.audio).all()


def test_directions_over_time_are_put_out_where_the_network_reads_them(
    separator_of: Callable[..., Separator], recording: NDArray[np.float32], tmp_path: Path
) -> None:
    separator = separator_of(span=0.2)
    seconds = recording.shape[1] / RATE
    moments = moments_of(seconds)
    for window_seconds, windows in ((8.0, 1), (seconds / 2, 2)):
        result = separator.separate(recording, RATE, window_seconds=window_seconds)
        assert result.window_times.size >= windows
        assert result.track is not None
        assert result.track.shape == (result.num_speakers, len(moments))
        assert np.isfinite(result.track[0]).all()
    result.save(tmp_path / "speakers")
    written = json.loads((tmp_path / "speakers" / "speakers.json").read_text())
    for speaker, track, segments in zip(
        written["speakers"], result.track, result.segments, strict=True
    ):
        said = speaker["track"]
        assert len(said["seconds"]) == len(said["azimuth_deg"])
        for moment, degrees in zip(said["seconds"], said["azimuth_deg"], strict=True):
            assert any(start <= moment + 1e-6 and moment <= end + 1e-6 for start, end in segments)
            assert degrees == pytest.approx(track[round(10 * moment)], abs=0.051)
    plain = separator_of().separate(recording, RATE)
    assert plain.track is None
    plain.save(tmp_path / "plain")
    assert '"track"' not in (tmp_path / "plain" / "speakers.json").read_text()


def test_people_who_walk_are_followed_by_a_model_that_was_trained_without(
    separator_of: Callable[..., Separator], recording: NDArray[np.float32], tmp_path: Path
) -> None:
    parts = {"beamformer": "convolutive", "dereverberations": 1}
    separator = separator_of(**parts)
    before = separator.separate(recording, RATE)
    followed = separator.separate(recording, RATE, moving=True)
    assert followed.track is not None
    assert followed.track.shape == (followed.num_speakers, len(moments_of(followed.duration)))
    followed.save(tmp_path / "followed")
    written = json.loads((tmp_path / "followed" / "speakers.json").read_text())
    assert written["separated_with"]["moving"] is True
    again = separator.separate(recording, RATE)
    assert again.track is None, "the model itself is as it was"
    assert np.array_equal(again.audio, before.audio)
    trained = separator_of(span=0.8, filter_span=2.0, **parts)
    expected = trained.separate(recording, RATE)
    assert np.array_equal(followed.audio, expected.audio)
    assert expected.track is not None
    assert np.array_equal(followed.track, expected.track)


def test_a_track_takes_each_moment_from_the_window_that_it_is_farther_in() -> None:
    windows = ((0.0, 1.0), (0.75, 1.75))  # they share .25 s

    def walked(*numbers: int) -> dict[int, float]:
        track = Track(400, RATE)
        for number in numbers:
            degrees = 100.0 * number + np.arange(51.0)[None]
            speakers: Any = SimpleNamespace(track=degrees, track_seconds=0.02)
            track.walk(speakers, 0, *windows[number], 0.25 if number else 0.0)
        return track.azimuth_at

    both = walked(0, 1)
    assert sorted(both) == list(range(19))  # .0 to 1.8 s, behind the end
    for moment, degrees in both.items():
        window = int(moment >= 9)  # .875 s is the middle of what they share
        frame = min(50, (moment * 0.1 - windows[window][0]) / 0.02)
        assert degrees == pytest.approx(100 * window + frame, abs=0.51)
    assert sorted(walked(1)) == list(range(8, 19))  # who was not in the window before


def test_outputs_to_spare_are_never_put_out(
    separator_of: Callable[..., Separator], recording: NDArray[np.float32]
) -> None:
    config = {"scene": {"num_speakers": [2, 2]}}
    three = separator_of(slots=3).separate(recording, RATE)
    two = separator_of({"config": config}, slots=3).separate(recording, RATE)
    assert (three.num_speakers, two.num_speakers) == (3, 2)
    quietest = np.square(three.audio).sum(axis=1).argmin()
    np.testing.assert_array_equal(two.audio, np.delete(three.audio, quietest, axis=0))


def test_outputs_from_one_direction_are_one_speaker_whom_a_beam_hears(
    separator_of: Callable[..., Separator],
    recording: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def apart(degrees: float) -> Separator:
        return separator_of({"config": {"scene": {"speaker": {"min_angle": degrees}}}})

    monkeypatch.setattr("msdet.inference.presence._ONE_DIRECTION", 181.0)
    monkeypatch.setattr("msdet.inference.window_network._TURN_MARGIN", 3.0)  # nobody else is sought
    two = apart(0.0).separate(recording, RATE)
    one = apart(181.0).separate(recording, RATE)
    loudest = np.square(two.audio).sum(axis=1).argmax()
    assert (one.num_speakers, two.num_speakers) == (1, 2)
    assert one.azimuth[0] == two.azimuth[loudest]
    power = np.square(one.audio).mean()
    assert power < 2 * np.square(recording).mean(axis=1).max()  # noise does not come out louder
    again = apart(181.0).separate(recording, RATE, num_speakers=2)
    assert again.num_speakers == 2  # who says that there are two gets two


def test_who_is_not_where_was_asked_is_not_put_out(
    separator_of: Callable[..., Separator],
    recording: NDArray[np.float32],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msdet.inference.window_network.MISSED_DEGREES", 0.0)
    nobody = separator_of().separate(recording, RATE, azimuth=[40.0, 200.0])
    assert nobody.audio.shape == (0, recording.shape[1])
    told = [text.split(":")[0] for text in nobody.warnings]
    assert told == ["array", "asked for 40 degrees", "asked for 200 degrees"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"overlap": 0.6}, "overlap=0.6"),
        ({"overlap": 1e-5}, "would share less than"),
        ({"window_seconds": np.inf}, "window_seconds=inf"),
        ({"num_speakers": 0}, "num_speakers=0: must be a whole number"),
        ({"num_speakers": 2, "azimuth": 40.0}, "leave one of them out"),
        ({"num_speakers": 2, "max_speakers": 1}, "how many there are at most"),
        ({"azimuth": True}, "azimuth=True: give degrees"),
        ({"max_speakers": 1.5}, "max_speakers=1.5: must be a whole number"),
        ({"max_speakers": 2.0}, "max_speakers=2.0: must be a whole number"),
        ({"azimuth": "north"}, "azimuth=north: give degrees"),
    ],
)
def test_windows_that_cannot_be_are_refused(
    separator: Separator, recording: NDArray[np.float32], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        separator.separate(recording, RATE, **changes)


def test_a_dead_microphone_is_survived(
    separator: Separator, recording: NDArray[np.float32]
) -> None:
    audio = recording.copy()
    audio[3] = 0
    assert np.isfinite(separator.separate(audio, RATE).audio).all()


# --- arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "first", "recorded"), [("respeaker4", 1, 6), ("respeaker6", 0, 8)]
)
def test_a_product_s_recording_has_its_microphones_picked(
    separator: Separator, arrays: Arrays, name: str, first: int, recorded: int
) -> None:
    array = arrays[name]
    everything = np.random.default_rng(1).standard_normal((recorded, 2000)).astype(np.float32)
    expected = separator.separate(everything[first : first + array.num_mics], RATE, array)
    found = separator.separate(everything, RATE, array)
    np.testing.assert_array_equal(found.audio, expected.audio)


def test_channels_of_a_custom_array_are_picked(separator: Separator, build: Build) -> None:
    corners = [[0.05, 0, 0], [0, 0.05, 0], [-0.05, 0, 0], [0, -0.05, 0]]
    array = build(shape="positions", positions=corners, channels=[1, 2, 3, 5])
    everything = np.random.default_rng(1).standard_normal((6, 2000)).astype(np.float32)
    expected = separator.separate(everything[[1, 2, 3, 5]], RATE)
    found = separator.separate(everything, RATE, array)
    np.testing.assert_allclose(found.audio, expected.audio, atol=1e-5)


def test_positions_are_an_array(
    separator: Separator, arrays: Arrays, recording: NDArray[np.float32]
) -> None:
    given = arrays["circle4"].as_array() + np.array([1.0, 2.0, 0.5])  # from another origin
    found = separator.separate(recording, RATE, given.tolist())
    np.testing.assert_allclose(found.audio, separator.separate(recording, RATE).audio, atol=1e-4)


def test_an_array_has_a_name_or_a_file(
    separator: Separator, arrays: Arrays, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(arrays["circle4"].as_array().tolist()))
    expected = separator.separate(recording, RATE).audio
    for given in ("circle4", str(file), file):
        found = separator.separate(recording, RATE, given).audio
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "did you mean 'circle4'" in refusal(separator, recording, array="cirle4")
    assert "gone.csv" in refusal(separator, recording, array="gone.csv")
    assert "[[x, y, z], ...]" in refusal(separator, recording, array=[1, 2, 3])


def test_a_larger_array_is_served(separator: Separator, arrays: Arrays) -> None:
    audio = np.random.default_rng(0).standard_normal((6, 2000))
    assert separator.separate(audio, RATE, arrays["circle6"]).audio.shape == (2, 2000)


def test_lines_and_planes_do_not_mix(
    separator: Separator, separator_of: Callable[..., Separator], arrays: Arrays
) -> None:
    audio = np.random.default_rng(0).standard_normal((4, 2000))
    told = refusal(separator, audio, array=arrays["line4"])
    assert "needs three or more microphones that are not on one line" in told
    assert "checkpoint=line-pairs is for two microphones and those on a line" in told
    on_a_line = separator_of(array="line4")
    assert "needs two or more microphones on a line" in refusal(
        on_a_line, audio, array=arrays["circle4"]
    )
    assert separator_of(array="line4").separate(audio, RATE).audio.shape == (2, 2000)


@pytest.mark.parametrize("name", ["circle4", "tetrahedron", "respeaker4", "line4"])
def test_a_model_bound_to_its_array_serves_that_one_built_anew_and_no_other(
    separator_of: Callable[..., Separator],
    arrays: Arrays,
    recording: NDArray[np.float32],
    name: str,
) -> None:
    bound, array = separator_of(array=name, frontend="ri"), arrays[name]
    result = bound.separate(recording, RATE, array)
    assert result.audio.shape == (2, recording.shape[1])
    wider = MicrophoneArray("wider", tuple((2 * x, 2 * y, z) for x, y, z in array.positions))
    assert "ri" in refusal(bound, recording, array=wider)


def test_an_array_without_the_reference_microphone_is_refused(
    separator_of: Callable[..., Separator], build: Build, recording: NDArray[np.float32]
) -> None:
    triangle = build(shape="circle", num_mics=3, radius=0.05)
    assert "reference" in refusal(separator_of(reference_mic=3), recording[:3], array=triangle)


# --- what is refused ----------------------------------------------------------------------


def test_mono_is_refused(separator: Separator, recording: NDArray[np.float32]) -> None:
    assert "mono" in refusal(separator, recording[0])
    assert "1 channels" in refusal(separator, recording[:1])


@pytest.mark.parametrize("channels", [2, 3, 5, 8])
def test_other_numbers_of_channels_are_refused(separator: Separator, channels: int) -> None:
    message = refusal(separator, np.ones((channels, 2000)))
    assert f"{channels} channels" in message
    assert "4 microphones" in message
    assert "[sample, mic]" not in message


def test_a_transposed_recording_gets_a_hint(
    separator: Separator, recording: NDArray[np.float32]
) -> None:
    assert "is it [sample, mic]?" in refusal(separator, recording.T)


def test_samples_are_examined_as_those_of_files_are(
    separator: Separator, recording: NDArray[np.float32]
) -> None:
    audio = recording.copy()
    audio[2, 100] = -np.inf
    assert "audio: holds NaN or infinite samples" in refusal(separator, audio)
    assert "silent" in refusal(separator, np.zeros((4, 2000)))
    assert "all channels are the same" in refusal(separator, np.tile(recording[:1], (4, 1)))


@pytest.mark.parametrize(("samples", "rate"), [(127, 8000), (200, 16000), (1, 8000)])
def test_too_short_a_recording_is_refused(separator: Separator, samples: int, rate: int) -> None:
    message = refusal(separator, np.arange(4.0 * samples).reshape(4, -1), rate)
    assert "too short" in message
    assert "0.016 s" in message


def test_a_recording_without_samples_is_refused(separator: Separator) -> None:
    assert "no samples" in refusal(separator, np.zeros((4, 0)))


@pytest.mark.parametrize("rate", [0, -8000, float("nan"), float("inf"), "8000"])
def test_a_sample_rate_that_cannot_be_is_refused(
    separator: Separator, recording: NDArray[np.float32], rate: Any
) -> None:
    assert "sample_rate" in refusal(separator, recording, rate)


def test_bad_positions_are_refused(separator: Separator, recording: NDArray[np.float32]) -> None:
    assert "same place" in refusal(separator, recording, array=[[0.0, 0.0, 0.0]] * 4)


@pytest.mark.parametrize("device", ["nonsense", "meta:x"])
def test_a_device_that_is_not_there_is_refused(saved: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"device={device}: cannot be used"):
        msdet.load(saved, device=device)


def test_classes_outside_msdet_run_where_they_are_trusted(
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
    recording: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In Python and by the command; what they are told of the slots' order is followed."""
    rule = """
        import torch
        class Backwards:
            by_location, needs = True, frozenset({"azimuth"})
            def __call__(self, labels, losses):
                return torch.argsort(-labels.azimuth)
    """
    (tmp_path / "my_rule.py").write_text(textwrap.dedent(rule))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("msdet.inference.window_network.MISSED_DEGREES", 181.0)
    model, path = make_model(), tmp_path / "own.ckpt"
    save_portable(path, model, describe(model, assignment={"_target_": "my_rule.Backwards"}))
    with pytest.raises(InputError, match=r"my_rule\.Backwards"):
        msdet.load(path)
    found = msdet.load(path, trust=True).separate(recording, RATE, azimuth=[40.0, 200.0])
    assert found.num_speakers == 2
    write_audio(tmp_path / "take.wav", recording, RATE)
    command = ["separate", str(tmp_path / "take.wav"), f"checkpoint={path}", "picture=false"]
    command += ["array=circle4", f"output={tmp_path / 'out'}"]
    assert main(command) == 2
    assert "trust=true" in capsys.readouterr().err
    assert main([*command, "trust=true", "azimuth=[40,200]"]) == 0
