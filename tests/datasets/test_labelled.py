# SPDX-License-Identifier: Apache-2.0
"""Recordings with the labels they have: stretches of their files, refusals that name the line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from msdet.audio import resample
from msdet.datasets import ALL_LABELS, Batch, ExampleSet, MixedExamples
from msdet.datasets.labelled import (
    LabelledExample,
    LabelledExamples,
    LabelledRecordings,
    open_labelled,
)
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.high_pass import high_passed, reach

RATE, CROP = 8000, 2000
Row = dict[str, Any]


def noise(channels: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    return 0.1 * np.random.default_rng(seed).standard_normal((channels, samples), np.float32)


def write(path: Path, audio: NDArray[np.float32], rate: int = RATE, **keys: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, **{"subtype": "FLOAT"} | keys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings: with directions, with targets, and with both and distances."""
    for number, name in enumerate("abc"):
        write(tmp_path / f"{name}.wav", noise(4, 6000 + 1000 * number, number))
    for number in (1, 2):
        for speaker in (0, 1):
            target = noise(1, 6000 + 1000 * number, 10 * number + speaker)
            write(tmp_path / "targets" / f"{'abc'[number]}{speaker}.wav", target)
    return tmp_path


def good_rows() -> list[Row]:
    return [
        {"mixture": "a.wav", "azimuth": [10, 200.5]},
        {"mixture": "b.wav", "targets": ["targets/b0.wav", "targets/b1.wav"]},
        {
            "mixture": "c.wav",
            "azimuth": [300, 0],
            "elevation": [5, -3.5],
            "distance": [1.2, 2.0],
            "targets": ["targets/c0.wav", "targets/c1.wav"],
        },
    ]


@pytest.fixture
def opened(folder: Path, arrays: dict[str, MicrophoneArray]) -> Callable[..., LabelledRecordings]:
    """The list of these rows (texts are lines as they are), opened."""

    def made(*rows: Row | str, array: str = "circle4", **changes: Any) -> LabelledRecordings:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / "list.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        keys: dict[str, Any] = {"sample_rate": RATE, "reference_mic": 0, "num_speakers": (2, 2)}
        keys |= {"num_samples": CROP, "array": arrays[array]}
        return open_labelled(folder / "list.jsonl", **keys | changes)

    return made


def cut(recordings: LabelledRecordings, **changes: Any) -> LabelledExamples:
    keys = {"seed": 0, "num_samples": CROP, "length": 30, "reference_mic": 0} | changes
    return LabelledExamples(recordings, **keys)


def same(a: LabelledExample, b: LabelledExample) -> bool:
    names = ("mixture", "targets", "azimuth", "elevation", "distance")
    pairs = [(getattr(a, name), getattr(b, name)) for name in names]
    return a.index == b.index and all(
        x is y if x is None or y is None else np.array_equal(x, y) for x, y in pairs
    )


# --- what is read -------------------------------------------------------------------------


def test_an_example_has_the_labels_of_its_recording_and_no_others(
    opened: Callable[..., LabelledRecordings],
) -> None:
    rows = good_rows()
    recordings = opened(*rows)
    assert recordings.labels == frozenset()
    assert recordings.any_labels == ALL_LABELS
    assert opened(rows[1], rows[2]).labels == {"targets"}
    assert opened(rows[0], rows[2]).labels == {"azimuth"}
    assert opened(rows[0]).any_labels == {"azimuth"}
    examples = cut(opened(*rows))
    assert examples.labels == frozenset()
    seen = {}
    for index in range(6):
        example = examples.example(0, index)
        seen[example.index] = example
        assert example.num_speakers == 2
        assert example.mixture.shape == (4, CROP)
        assert example.mixture.dtype == np.float32
    a, b, c = (seen[n] for n in range(3))
    assert a.targets is a.elevation is a.distance is b.azimuth is b.distance is None
    np.testing.assert_array_equal(a.azimuth, np.array([10, 200.5], np.float32))
    np.testing.assert_array_equal(c.azimuth, np.array([300, 0], np.float32))
    np.testing.assert_array_equal(c.elevation, np.array([5, -3.5], np.float32))
    np.testing.assert_array_equal(c.distance, np.array([1.2, 2], np.float32))
    assert b.targets is not None
    assert b.targets.shape == (2, CROP)


@pytest.mark.parametrize("reference", [0, 2])
def test_an_example_is_a_stretch_of_its_files_with_one_gain(
    opened: Callable[..., LabelledRecordings], folder: Path, reference: int
) -> None:
    examples = cut(opened(good_rows()[2], reference_mic=reference), reference_mic=reference)
    mixture = high_passed(soundfile.read(folder / "c.wav", dtype="float32")[0].T, RATE).T
    files = [folder / "targets" / f"c{s}.wav" for s in (0, 1)]
    heard = [soundfile.read(file, dtype="float32")[0] for file in files]
    targets = [high_passed(one[None], RATE)[0] for one in heard]
    starts = set()
    for index in range(20):
        example = examples.example(0, index)
        rms = np.sqrt(np.mean(example.mixture[reference] ** 2))
        assert rms == pytest.approx(1, rel=1e-5)
        windows = np.lib.stride_tricks.sliding_window_view(mixture[:, reference], CROP)
        shape = example.mixture[reference] / np.linalg.norm(example.mixture[reference])
        start = int((windows @ shape / np.linalg.norm(windows, axis=1)).argmax())
        starts.add(start)
        gain = 1 / np.sqrt(np.mean(windows[start] ** 2))
        stretch = slice(start, start + CROP)
        np.testing.assert_allclose(example.mixture, mixture[stretch].T * gain, rtol=1e-4, atol=1e-5)
        assert example.targets is not None
        for found, target in zip(example.targets, targets, strict=True):
            np.testing.assert_allclose(found, target[stretch] * gain, rtol=1e-4, atol=1e-5)
    assert len(starts) > 10


def test_a_recording_of_the_asked_length_is_taken_whole(
    opened: Callable[..., LabelledRecordings],
) -> None:
    recordings = opened(good_rows()[0], num_samples=6000)
    assert cut(recordings, num_samples=6000).example(0, 0).mixture.shape == (4, 6000)


def test_where_a_target_is_silent_another_stretch_is_taken(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    target = noise(1, 8000)
    target[:, :5000] = 0  # half of all stretches hear nothing of it
    write(folder / "targets" / "c1.wav", target)
    examples = cut(opened(good_rows()[2]))
    for index in range(30):
        targets = examples.example(0, index).targets
        assert targets is not None
        assert (np.abs(targets).max(axis=1) > 0).all()


@pytest.mark.parametrize("rate", [16000, 11025, 44100])
def test_files_of_a_higher_rate_are_read_as_if_resampled_whole(
    opened: Callable[..., LabelledRecordings], folder: Path, rate: int
) -> None:
    native = noise(4, rate)
    write(folder / "a.wav", native, rate)
    recordings = opened(good_rows()[0])
    whole = high_passed(resample(torch.from_numpy(native), rate, RATE).numpy(), RATE)
    length = recordings.recordings[0].num_samples
    assert abs(length - RATE) <= 1
    for begin in (0, 1, 777, length - CROP):
        found, _ = recordings.read(0, begin, CROP)
        np.testing.assert_allclose(found, whole[:, begin : begin + CROP], atol=1e-5)


def test_only_the_stretch_is_read(
    opened: Callable[..., LabelledRecordings], monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = cut(opened(*good_rows()))
    read = soundfile.SoundFile.read
    frames = []

    def counted(self: Any, frames_asked: int = -1, *arguments: Any, **keys: Any) -> Any:
        frames.append(frames_asked)
        return read(self, frames_asked, *arguments, **keys)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    for index in range(6):
        examples.example(0, index)
    assert frames
    assert all(0 < count < CROP + 2 * reach(RATE) + 20 for count in frames)


def test_the_channels_of_a_product_are_picked(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    """Of six that it records, the microphones are 1 to 4; four channels are the microphones."""
    audio = noise(6, 6000)
    write(folder / "a.wav", audio)
    found, _ = opened(good_rows()[0], array="respeaker4").read(0, 100, CROP)
    kept = high_passed(audio, RATE)[:, 100 : 100 + CROP]
    np.testing.assert_allclose(found, kept[1:5], atol=1e-5)
    write(folder / "a.wav", audio[:4])
    found, _ = opened(good_rows()[0], array="respeaker4").read(0, 100, CROP)
    np.testing.assert_allclose(found, kept[:4], atol=1e-5)


def test_other_formats_and_blank_lines_are_read(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    audio = noise(4, 6000)
    write(folder / "d.flac", audio, subtype="PCM_24")
    row = good_rows()[0] | {"mixture": str(folder / "d.flac")}
    recordings = opened("", row, "  ")
    assert len(recordings) == 1
    found, _ = recordings.read(0, 3000, CROP)
    kept = high_passed(audio, RATE)[:, 3000 : 3000 + CROP]
    np.testing.assert_allclose(found, kept, atol=1e-5)


def test_offsets_and_rumble_are_not_learned(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    quiet = noise(4, 6000)
    slow = 20 * np.sin(2 * np.pi * 10 * np.arange(6000) / RATE) + 5
    write(folder / "a.wav", quiet)
    expected, _ = opened(good_rows()[0]).read(0, 2000, CROP)
    write(folder / "a.wav", (quiet + slow).astype(np.float32))
    found, _ = opened(good_rows()[0]).read(0, 2000, CROP)
    np.testing.assert_allclose(found, expected, atol=0.06)


def test_a_list_is_the_same_as_long_as_it_and_its_files_are(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    rows = good_rows()
    identity = opened(*rows).identity
    assert opened(*rows).identity == identity
    assert opened(*rows[:2]).identity != identity
    assert opened(rows[0] | {"azimuth": [10, 201]}, *rows[1:]).identity != identity
    write(folder / "a.wav", noise(4, 6001))
    assert opened(*rows).identity != identity


# --- as training examples -----------------------------------------------------------------


def test_an_example_depends_on_its_numbers_alone(
    opened: Callable[..., LabelledRecordings],
) -> None:
    recordings = opened(*good_rows())
    examples = cut(recordings)
    expected = {key: examples.example(*key) for key in ((0, 0), (0, 1), (0, 2), (1, 0))}
    np.random.seed(1)  # noqa: NPY002
    again = pickle.loads(pickle.dumps(cut(recordings)))
    for key in ((1, 0), (0, 2), (0, 1), (0, 0)):
        assert same(again.example(*key), expected[key])
    other = cut(recordings, seed=1)
    assert not all(same(other.example(*key), example) for key, example in expected.items())


@pytest.mark.parametrize("length", [4, 3, 7])
def test_every_recording_comes_once_before_any_comes_again(
    opened: Callable[..., LabelledRecordings], length: int
) -> None:
    examples = cut(opened(*good_rows()), length=length)
    numbers = [examples.number(e, i) for e in range(-(-18 // length)) for i in range(length)]
    laps = [numbers[n * 3 : n * 3 + 3] for n in range(6)]
    assert all(sorted(lap) == [0, 1, 2] for lap in laps)
    assert len({tuple(lap) for lap in laps}) > 1


class Simulated(ExampleSet):
    """A stand-in for what is simulated: its examples tell their number."""

    def __init__(self, length: int) -> None:
        super().__init__(length, ALL_LABELS)

    def example(self, epoch: int, index: int) -> LabelledExample:
        labels = np.array([index, epoch], np.float32)
        signals = np.ones((4, CROP), np.float32)
        return LabelledExample(signals, signals[:2], labels, labels, labels, 2, 1000 + index)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_share_of_the_examples_is_recorded(
    opened: Callable[..., LabelledRecordings], share: float
) -> None:
    labelled, simulated = cut(opened(*good_rows()), length=200), Simulated(200)
    mixed = MixedExamples(labelled, simulated, seed=0, share=share)
    assert len(mixed) == 200
    assert mixed.labels == labelled.labels
    drawn = [mixed.is_first(epoch, index) for epoch in range(2) for index in range(200)]
    assert np.mean(drawn) == pytest.approx(share, abs=0.08)
    assert drawn[:200] != drawn[200:]
    again = MixedExamples(labelled, simulated, seed=0, share=share)
    assert [again.is_first(0, index) for index in range(200)] == drawn[:200]
    other = MixedExamples(labelled, simulated, seed=1, share=share)
    assert [other.is_first(0, index) for index in range(200)] != drawn[:200]
    for index in range(12):
        source: Any = labelled if drawn[index] else simulated
        found: Any = mixed.example(0, index)
        assert same(found, source.example(0, index))
    assert MixedExamples(labelled, simulated, seed=0, share=1.0).is_first(3, 4)


def known(batch: Batch, name: str) -> torch.Tensor:
    """Which examples have a label; a batch says nothing where all have it."""
    found = getattr(batch, name)
    return torch.ones_like(batch.index, dtype=torch.bool) if found is None else found


def test_batches_say_which_labels_examples_have_with_and_without_workers(
    opened: Callable[..., LabelledRecordings], batches: Callable[..., list[Batch]]
) -> None:
    mixed = MixedExamples(cut(opened(*good_rows()), length=24), Simulated(24), seed=0, share=0.7)
    expected, found = (batches(mixed, workers, size=4) for workers in (0, 2))
    assert len(found) == len(expected) == 6
    for a, b in zip(found, expected, strict=True):
        for name in ("mixture", "targets", "azimuth", "index"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        for name in ("has_targets", "has_azimuth"):
            assert torch.equal(known(a, name), known(b, name)), name
    labels = {
        (int(index), bool(targets), bool(azimuth), bool(distance))
        for batch in found
        for index, targets, azimuth, distance in zip(
            batch.index,
            *(known(batch, f"has_{name}") for name in ("targets", "azimuth", "distance")),
            strict=True,
        )
    }
    recorded = {row for row in labels if row[0] < 1000}
    assert recorded == {(0, False, True, False), (1, True, False, False), (2, True, True, True)}
    assert {row[1:] for row in labels if row[0] >= 1000} == {(True, True, True)}


# --- refusals -----------------------------------------------------------------------------


def refused(opened: Callable[..., LabelledRecordings], *rows: Row | str, **changes: Any) -> str:
    with pytest.raises(InputError) as error:
        opened(*rows, **changes)
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mixture": "none.wav"}, "mixture: {folder}/none.wav: no such file"),
        ({"targets": ["targets/c0.wav", "none.wav"]}, "targets: {folder}/none.wav: no such file"),
        ({"mixture": "list.jsonl"}, "mixture: {folder}/list.jsonl: cannot be read as audio"),
        ({"mixture": "short.wav"}, "is 0.125 s long, shorter than data.crop_seconds=0.25"),
        ({"mixture": "nan.wav"}, "mixture: {folder}/nan.wav holds NaN or infinite samples"),
        ({"mixture": "silent.wav"}, "silent.wav is silent at the reference microphone"),
        ({"mixture": "two.wav"}, "two.wav has 2 channels, but the array 'circle4' has 4"),
        ({"mixture": "five.wav"}, "five.wav has 5 channels, but the array 'circle4' has 4"),
        ({"mixture": "slow.wav"}, "slow.wav has a sample rate of 4000 Hz, below the 8000 Hz"),
        ({"targets": ["quiet.wav", "targets/c1.wav"]}, "targets: {folder}/quiet.wav is silent"),
        ({"targets": ["bad.wav", "targets/c1.wav"]}, "bad.wav holds NaN or infinite samples"),
        (
            {"targets": ["targets/c0.wav", "targets/b0.wav"]},
            "b0.wav has 1 channels of 7000 samples at 8000 Hz; expected 1 of 8000 at 8000 Hz",
        ),
        ({"targets": ["a.wav", "b.wav"]}, "a.wav has 4 channels of 6000 samples"),
        ({"azimuth": [1, 2, 3]}, "different lengths (3 in azimuth, 2 in elevation, 2 in distance"),
        ({"distance": [1]}, "1 in distance, 2 in targets"),
        ({"targets": ["targets/c0.wav"]}, "2 in distance, 1 in targets"),
        ({"azimuth": [10, 360]}, "azimuth=360: that of the array 'circle4' is from 0 to less"),
        ({"azimuth": [-0.5, 10]}, "azimuth=-0.5: that of the array"),
        ({"azimuth": None, "targets": None}, "has neither azimuth nor targets"),
        ({"azimuth": []}, "azimuth: Tuple should have at least 1 item"),
        ({"azimuth": ["10", "20"]}, "azimuth.0='10': Input should be a valid number"),
        ({"azimuth": 10}, "azimuth=10: Input should be a valid"),
        ({"distance": [0, 1]}, "distance.0=0"),
        ({"elevation": [0, 91]}, "elevation.1=91"),
        ({"mixture": ""}, "mixture=''"),
        ({"azimut": [1, 2]}, "azimut: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_a_line_that_does_not_serve_is_named(
    opened: Callable[..., LabelledRecordings], folder: Path, change: Row, says: str
) -> None:
    bad = noise(1, 8000)
    bad[0, 7000] = np.inf
    write(folder / "bad.wav", bad)
    write(folder / "nan.wav", np.where(np.arange(8000) == 7999, np.float32("nan"), noise(4, 8000)))
    write(folder / "quiet.wav", np.zeros((1, 8000), np.float32))
    write(folder / "silent.wav", noise(4, 8000) * np.array([[0], [1], [1], [1]], np.float32))
    write(folder / "short.wav", noise(4, 1000))
    for name, channels in (("two", 2), ("five", 5)):
        write(folder / f"{name}.wav", noise(channels, 8000))
    write(folder / "slow.wav", noise(4, 4000), 4000)
    row = good_rows()[2] | change
    if "mixture" in change:
        row = {"mixture": change["mixture"], "azimuth": [10, 20]}
    line = refused(opened, *good_rows()[:2], row)
    assert line.startswith(f"{folder / 'list.jsonl'}:3: ")
    assert says.format(folder=folder) in line


def test_lines_that_are_no_rows_are_named(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    for text in ('{"mixture": ', "[1, 2]", '"a.wav"', "a.wav", '{"azimuth": [NaN, 1]}'):
        line = refused(opened, good_rows()[0], "", text)
        assert line.startswith(f"{folder / 'list.jsonl'}:3: ")
        assert len(line) < 300
    assert refused(opened, '{"azimuth": [10, 20]}').endswith("mixture: Field required")
    line = refused(opened, '{"mixture": "a.wav", "azimuth": [1e999, 1]}')
    assert "azimuth.0" in line


def test_lists_that_are_none_are_named(
    opened: Callable[..., LabelledRecordings], folder: Path, arrays: dict[str, MicrophoneArray]
) -> None:
    line = refused(opened, "", " ")
    assert line == f"data.labelled={folder / 'list.jsonl'}: names no recordings"
    keys: dict[str, Any] = {"sample_rate": RATE, "reference_mic": 0, "num_speakers": (2, 2)}
    keys |= {"num_samples": CROP, "array": arrays["circle4"]}
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("none.jsonl", "targets", "binary"):
        with pytest.raises(InputError, match=f"data.labelled={folder / name}: cannot be read"):
            open_labelled(folder / name, **keys)


def test_a_number_of_speakers_that_scenes_cannot_have_is_refused(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    three: Row = {"mixture": "a.wav", "azimuth": [1, 2, 3]}
    line = refused(opened, three)
    assert line.startswith(f"{folder / 'list.jsonl'}:1: 3 speakers, but scene.num_speakers=[2, 2]")
    assert "scene.num_speakers=[2, 3] trains on them" in line
    one: Row = {"mixture": "a.wav", "azimuth": [1]}
    assert "1 speaker, but scene.num_speakers=[2, 2]" in refused(opened, one)
    recordings = opened(one, three, num_speakers=(1, 3))
    batch = Batch.stack([cut(recordings).example(0, index) for index in range(2)], 3)
    assert sorted(batch.present.sum(dim=1).tolist()) == [1, 3]


def test_a_line_of_microphones_hears_angles_up_to_180(
    opened: Callable[..., LabelledRecordings],
) -> None:
    assert len(opened({"mixture": "a.wav", "azimuth": [0, 180]}, array="line4")) == 1
    line = refused(opened, {"mixture": "a.wav", "azimuth": [10, 181]}, array="line4")
    assert "azimuth=181: that of the array 'line4' is from 0 to 180 degrees" in line


def test_an_archive_that_is_cut_off_is_refused(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    write(folder / "d.flac", noise(4, 60_000), subtype="PCM_24")
    content = (folder / "d.flac").read_bytes()
    (folder / "d.flac").write_bytes(content[: len(content) // 2])
    line = refused(opened, {"mixture": "d.flac", "azimuth": [10, 20]})
    assert f"{folder / 'd.flac'}" in line


def test_a_file_that_changed_meanwhile_is_named(
    opened: Callable[..., LabelledRecordings], folder: Path
) -> None:
    examples = cut(opened(good_rows()[0]))
    nothing = noise(4, 6000) * np.float32("nan")
    for audio in (noise(4, 1000), noise(2, 6000), nothing):
        write(folder / "a.wav", audio)
        with pytest.raises(InputError, match=r"a\.wav: has changed since training began"):
            examples.example(0, 0)
    (folder / "a.wav").unlink()
    with pytest.raises(InputError, match=r"a\.wav: cannot be read"):
        examples.example(0, 0)
