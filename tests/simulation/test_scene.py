# SPDX-License-Identifier: Apache-2.0
"""Scenes: pure functions of their numbers, speech where it is asked, files that come back equal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.errors import InputError
from msdet.geometry import Circle, MicrophoneArray
from msdet.simulation import (
    Scene,
    SceneConfig,
    check_corpus,
    draw_room,
    pool_room,
    read_scenes,
    write_scenes,
)
from msdet.simulation.rooms import random_generator
from msdet.simulation.speech import active_share

Draw = Callable[..., Scene]


def test_a_scene_depends_on_its_numbers_alone(draw: Draw) -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    scenes = [draw(index=i, epoch=e) for e in range(2) for i in range(5)]
    again = [draw(index=i, epoch=e) for e in reversed(range(2)) for i in reversed(range(5))]
    assert scenes == again[::-1]
    assert len({s.room.speakers[0].position for s in scenes}) == len(scenes)
    assert draw(seed=1).room != draw().room != draw(split="test").room
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002


def test_another_process_draws_the_same_room(circle: MicrophoneArray) -> None:
    code = (
        "from msdet.geometry import Circle; from msdet.simulation import *; "
        "a = Circle(shape='circle', num_mics=4, radius=.05).build(); "
        "print(pool_room(SceneConfig(), a, seed=5, split='valid', room_index=3).model_dump_json())"
    )
    drawn = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    expected = pool_room(SceneConfig(), circle, seed=5, split="valid", room_index=3)
    assert drawn.strip() == expected.model_dump_json()


def test_rooms_are_reused_with_fresh_speech(draw: Draw) -> None:
    plain = SceneConfig(use_symmetry=False)
    first, second = (draw(plain, index=i, room_index=7) for i in (1, 2))
    assert first.room == second.room
    assert first.speech != second.speech
    assert first.noise.seed != second.noise.seed
    assert draw(plain, room_index=8).room != first.room


def test_symmetry_turns_reused_rooms_by_quarters(draw: Draw) -> None:
    plain = draw(SceneConfig(use_symmetry=False), room_index=7).room
    rotations = {
        round((draw(index=i, room_index=7).room.array_rotation - plain.array_rotation) % 360, 6)
        for i in range(40)
    }
    assert rotations == {0.0, 90.0, 180.0, 270.0}


def test_speakers_are_distinct_and_crops_are_speech(draw: Draw, corpus: Any) -> None:
    config = SceneConfig(num_speakers=(2, 4))
    for index in range(30):
        scene = draw(config, index=index)
        speakers = [corpus.by_id(c.utterance).speaker for c in scene.speech]
        assert len(set(speakers)) == len(speakers) == len(scene.room.speakers)
        assert scene.speech[0].level_db == 0
        for crop in scene.speech:
            audio = corpus.audio[crop.utterance]
            assert (crop.onset, crop.length) == (0, scene.num_samples)
            assert crop.offset + crop.length <= len(audio)
            assert active_share(audio, corpus.sample_rate, crop.offset, crop.length) > 0.4


@pytest.mark.parametrize(("speakers", "overlap"), [(2, 0.0), (2, 0.4), (3, 0.0), (4, 0.5), (3, 1)])
def test_overlap_is_what_its_definition_says(draw: Draw, speakers: int, overlap: float) -> None:
    config = SceneConfig(num_speakers=(speakers, speakers), overlap=(overlap, overlap))
    scene = draw(config)
    active = np.zeros((speakers, scene.num_samples), bool)
    for row, crop in zip(active, scene.speech, strict=True):
        row[crop.onset : crop.onset + crop.length] = True
    share = (1 + (speakers - 1) * overlap) / speakers
    np.testing.assert_allclose(active.mean(axis=1), share, atol=1e-3)
    assert active.any(axis=0).mean() > 0.999
    if speakers == 2:
        assert active.all(axis=0).mean() == pytest.approx(overlap, abs=1e-3)


def test_short_utterances_are_placed_whole(draw: Draw, make_corpus: Any, corpus: Any) -> None:
    short = make_corpus({f"s{i}-0": corpus.audio[f"s{i}-0"][4000:12000] for i in range(3)})
    onsets = set()
    for index in range(5):
        for crop in draw(corpus=short, index=index).speech:
            assert (crop.offset, crop.length) == (0, 8000)
            assert 0 <= crop.onset <= 8000
            onsets.add(crop.onset)
    assert len(onsets) > 5


def test_a_corpus_that_cannot_serve_is_refused(draw: Draw, make_corpus: Any, corpus: Any) -> None:
    with pytest.raises(InputError, match=r"1 speakers .* needs 2 \(scene.num_speakers\)"):
        draw(corpus=make_corpus({"s0-0": corpus.audio["s0-0"]}))
    with pytest.raises(InputError, match=r"'memory' is opened at 8000 Hz.* 16000 Hz"):
        draw(sample_rate=16000)
    with pytest.raises(InputError, match=r"split='dev': expected one of train"):
        draw(split="dev")


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_room_survives_json(seed: int) -> None:
    array = Circle(shape="circle", num_mics=4, radius=0.05).build()
    room = draw_room(SceneConfig(), array, random_generator(seed))
    assert type(room).model_validate_json(room.model_dump_json()) == room


def test_scenes_survive_their_file(draw: Draw, tmp_path: Path) -> None:
    scenes = tuple(draw(SceneConfig(num_speakers=(2, 4)), index=i) for i in range(6))
    write_scenes(tmp_path / "new" / "test.jsonl", scenes)
    assert read_scenes(tmp_path / "new" / "test.jsonl") == scenes
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["test.jsonl"]
    array = scenes[0].microphone_array()
    np.testing.assert_allclose(array.positions, scenes[0].array.positions, atol=1e-15)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda row: row.pop("noise"), r"noise: Field required"),
        (lambda row: row.update(colour=1), r"colour=1: Extra inputs"),
        (lambda row: row["room"].update(t60="long"), r"room\.t60='long': Input should"),
        (lambda row: row["speech"][1].update(offset=-3), r"speech\.1\.offset=-3: Input should be"),
        (lambda row: row["speech"][0].update(onset=9), r"speech\.0\.length: ends at sample 16009"),
        (lambda row: row["speech"].pop(), r"speech: 1 crops for 2 speakers"),
        (lambda row: row.update(reference_mic=4), r"reference_mic: 4, but the array has 4"),
    ],
)
def test_a_bad_row_is_named(
    spoil: Callable[[dict[str, Any]], object], message: str, draw: Draw, tmp_path: Path
) -> None:
    path = tmp_path / "scenes.jsonl"
    good = draw().model_dump_json()
    row = json.loads(good)
    spoil(row)
    path.write_text(f"{good}\n{json.dumps(row)}\n")
    with pytest.raises(InputError, match=rf"scenes\.jsonl:2: {message}") as caught:
        read_scenes(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path, draw: Draw) -> None:
    path = tmp_path / "scenes.jsonl"
    with pytest.raises(InputError, match=r"scenes\.jsonl: cannot be read"):
        read_scenes(path)
    path.write_text(draw().model_dump_json()[:300])
    with pytest.raises(InputError, match=r"scenes\.jsonl:1: row: Invalid JSON"):
        read_scenes(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"scenes\.jsonl: cannot be read"):
        read_scenes(path)
    path.write_text("\n")
    with pytest.raises(InputError, match=r"holds no scenes"):
        read_scenes(path)
    with pytest.raises(InputError, match=r"cannot be written"):
        write_scenes(path / "below-a-file.jsonl", [draw()])


def test_another_corpus_is_noticed(draw: Draw, corpus: Any, make_corpus: Any) -> None:
    scenes = [draw()]
    check_corpus(scenes, corpus)
    with pytest.raises(InputError, match=r"drawn from corpus 0123abcd, but 'memory' is ffff"):
        check_corpus(scenes, make_corpus(corpus.audio, fingerprint="ffff"))


def test_levels_follow_their_law(draw: Draw) -> None:
    levels = [
        draw(SceneConfig(level_law="triangular"), index=i).speech[1].level_db for i in range(400)
    ]
    assert np.abs(levels).max() <= 5
    assert np.std(levels) == pytest.approx(5 / np.sqrt(6), rel=0.15)  # uniform: 5 / sqrt(3)


def test_whole_utterances_make_scenes_as_long_as_the_longest(
    draw: Draw, make_corpus: Any, corpus: Any
) -> None:
    lengths = {"s0-0": 20000, "s1-0": 30000, "s2-0": 45001}
    mixed = make_corpus({id: corpus.audio[id][:n] for id, n in lengths.items()})
    onsets = set()
    for index in range(12):
        scene = draw(corpus=mixed, index=index, num_samples=None)
        used = [lengths[c.utterance] for c in scene.speech]
        assert [c.length for c in scene.speech] == used
        assert scene.num_samples == max(used)
        assert all(c.offset == 0 for c in scene.speech)
        assert all(c.onset + c.length <= scene.num_samples for c in scene.speech)
        onsets |= {c.onset for c in scene.speech if c.length < scene.num_samples}
    assert len(onsets) > 8


def test_a_stretch_of_silence_is_drawn_again(draw: Draw, make_corpus: Any, corpus: Any) -> None:
    """Speech in a tenth of every recording: more draws than usual find it."""
    rare = {}
    for id, audio in corpus.audio.items():
        quiet = np.zeros(20 * 8000, np.float32)
        quiet[-16000:] = audio[:16000]
        rare[id] = quiet
    for index in range(6):
        for crop in draw(corpus=make_corpus(rare), index=index, num_samples=8000).speech:
            stretch = rare[crop.utterance][crop.offset : crop.offset + crop.length]
            assert active_share(rare[crop.utterance], 8000, crop.offset, crop.length) > 0
            assert stretch.any()


def test_a_speaker_who_says_nothing_is_named(draw: Draw, make_corpus: Any, corpus: Any) -> None:
    mute = make_corpus({id: np.zeros_like(audio) for id, audio in corpus.audio.items()})
    with pytest.raises(InputError, match=r"no speech was found in 64 stretches of 2\.00 s of"):
        draw(corpus=mute)
