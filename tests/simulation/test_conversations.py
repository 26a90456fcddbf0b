# SPDX-License-Identifier: Apache-2.0
"""Conversations: how turns are drawn, and scenes in which some speak, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.errors import InputError
from msdet.geometry import Line, MicrophoneArray
from msdet.simulation import (
    Example,
    Scene,
    SceneConfig,
    check_scene_config,
    compute_rirs,
    read_scenes,
    render,
    render_parts,
    write_scenes,
)
from msdet.simulation.config import ConversationRanges
from msdet.simulation.conversations import SHORTEST_TURN, Turn, draw_turns
from msdet.simulation.mixture_files import files, read_example
from msdet.simulation.noise import sensor_noise

RATE = 8000
Draw = Callable[..., Scene]


def config(**changes: Any) -> SceneConfig:
    given = {"num_speakers": (1, 4), "rirs": "hybrid", "conversation": {}}
    return SceneConfig.model_validate(given | changes)


def heard(scene: Scene, corpus: Any) -> Example:
    return render(scene, corpus, compute_rirs(scene.room, scene.microphone_array(), RATE))


def nobody(draw: Draw, **changes: Any) -> Scene:
    silent = {"turn": (1, 1), "pause": (600, 600)}
    return draw(config(conversation=silent, **changes), num_samples=RATE)


# --- turns --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_turns_of_one_speaker_do_not_touch(count: int) -> None:
    often = ConversationRanges(interruption=(1, 1), overlap=(5, 5), backchannel=(1, 1))
    for seed in range(20):
        turns = draw_turns(often, count, 60.0, np.random.default_rng(seed))
        assert turns == sorted(turns, key=lambda turn: turn.start)
        assert {turn.speaker for turn in turns} <= set(range(count))
        for turn in turns:
            assert 0 <= turn.start <= turn.end - SHORTEST_TURN
            assert turn.end <= 60
        for one, other in combinations(turns, 2):
            assert one.speaker != other.speaker or not one.touches(other)


def _drawn(seconds: float = 3000.0, **ranges: tuple[float, float]) -> list[Turn]:
    return draw_turns(
        ConversationRanges(**{"backchannel": (0, 0), **ranges}),
        3,
        seconds,
        np.random.default_rng(0),
    )


def test_turns_and_pauses_are_as_long_as_asked() -> None:
    turns = _drawn(turn=(2, 2), pause=(0.5, 0.5), interruption=(0, 0))
    gaps = [later.start - earlier.end for earlier, later in pairwise(turns)]
    assert min(gaps) > 0
    assert np.mean(gaps) == pytest.approx(0.5, rel=0.1)
    assert np.median([turn.end - turn.start for turn in turns]) == pytest.approx(2.0, rel=0.1)
    assert all(a.speaker != b.speaker for a, b in pairwise(turns))


def test_interruptions_and_backchannels_come_as_often_as_asked() -> None:
    turns = _drawn(interruption=(0.4, 0.4))
    early = [b.start < a.end for a, b in pairwise(turns)]
    assert np.mean(early) == pytest.approx(0.4, abs=0.06)
    more = _drawn(interruption=(0, 0), backchannel=(0.5, 0.5))
    short = [
        s for s in more if s.end - s.start <= 1 and any(t.start < s.start < t.end for t in more)
    ]
    # one for every two turns, less those that would touch the speaker's own next turn
    assert len(short) / (len(more) - len(short)) == pytest.approx(0.5, abs=0.1)


def test_the_middle_of_a_conversation_is_like_its_beginning() -> None:
    speaking = np.zeros(2)
    for seed in range(400):
        for turn in draw_turns(ConversationRanges(), 3, 10.0, np.random.default_rng(seed)):
            for half in range(2):
                low, high = max(turn.start, 5.0 * half), min(turn.end, 5.0 * (half + 1))
                speaking[half] += max(0.0, high - low)
    assert speaking[0] == pytest.approx(speaking[1], rel=0.08)


def test_those_who_speak_longest_are_left() -> None:
    for seed in range(20):
        free, held = (
            draw_turns(ConversationRanges(most_heard=m), 4, 20.0, np.random.default_rng(seed))
            for m in (None, 2)
        )
        spoken = [sum(t.end - t.start for t in free if t.speaker == s) for s in range(4)]
        assert held == [t for t in free if spoken[t.speaker] >= sorted(spoken)[2]]


# --- scenes -------------------------------------------------------------------------------


def test_none_to_three_speakers_are_heard(draw: Draw, corpus: Any) -> None:
    chosen = config(conversation={"most_heard": 3, "pause": (0.2, 6)})
    scenes = [draw(chosen, index=index, num_samples=RATE * 3) for index in range(60)]
    assert {len(scene.heard) for scene in scenes} == {0, 1, 2, 3}
    assert chosen.heard_speakers == (0, 3)
    for scene in scenes:
        assert scene.is_conversation
        assert set(scene.heard) <= set(range(len(scene.room.speakers)))
        people = {
            n: {corpus.by_id(c.utterance).speaker for c in of} for n, of in scene.crops().items()
        }
        assert all(len(names) == 1 for names in people.values())
        assert len(set().union(*people.values())) == len(scene.heard)
        for number, crops in scene.crops().items():
            assert len({crop.level_db for crop in crops}) == 1
            assert crops[0].level_db == 0 or number != scene.heard[0]


def test_scenes_without_conversations_are_as_before(draw: Draw) -> None:
    scene = draw()
    assert not scene.is_conversation
    assert "speaker" not in scene.model_dump()["speech"][0]
    assert scene.heard == (0, 1)


def test_their_scenes_survive_a_file(draw: Draw, tmp_path: Path) -> None:
    scenes = tuple(draw(config(), index=index, num_samples=RATE * 4) for index in range(6))
    write_scenes(tmp_path / "scenes.jsonl", scenes)
    assert read_scenes(tmp_path / "scenes.jsonl") == scenes
    (talk,) = (s for s in scenes[:1] if s.speech)
    last = talk.speech[-1].model_copy(update={"speaker": 7})
    wrong = talk.model_copy(update={"speech": (*talk.speech[:-1], last)})
    write_scenes(tmp_path / "wrong.jsonl", [wrong])
    with pytest.raises(InputError, match=r"wrong\.jsonl:1: speech: a turn of speaker 7, but the"):
        read_scenes(tmp_path / "wrong.jsonl")


@pytest.mark.parametrize("mics", [2, 4])
def test_lines_and_pairs_hear_them(mics: int, draw: Draw, corpus: Any) -> None:
    line = Line(shape="line", num_mics=mics, spacing=0.05).build()
    check_scene_config(config(), line)
    example = heard(draw(config(), array=line, num_samples=RATE * 4), corpus)
    assert example.mixture.shape == (mics, RATE * 4)
    assert ((example.azimuth >= 0) & (example.azimuth <= 180)).all()


# --- what is rendered ---------------------------------------------------------------------


def test_turns_of_a_speaker_add_up(draw: Draw, corpus: Any) -> None:
    """Every turn as a scene of its own, with the gain of the whole: their images make it up."""
    chosen = config(target="image", snr_db=(90, 90), num_speakers=(2, 2))
    scene = draw(chosen, num_samples=RATE * 20, index=1)
    assert max(map(len, scene.crops().values())) > 2
    whole = heard(scene, corpus)
    for row, (number, crops) in enumerate(scene.crops().items()):
        parts = [heard(scene.model_copy(update={"speech": (crop,)}), corpus) for crop in crops]
        # the first speaker's gain is 1 in each; others' follow from the level of all turns
        dry = sum(part.targets[0] / np.float32(part.gain) for part in parts)
        found = whole.targets[row] / np.float32(whole.gain)
        scale = np.vdot(dry, found) / np.vdot(dry, dry)
        assert number in scene.heard
        np.testing.assert_allclose(found, scale * dry, atol=2e-4 * np.abs(found).max())


def test_labels_are_those_of_who_is_heard(draw: Draw, corpus: Any) -> None:
    scenes = (draw(config(num_speakers=(4, 4)), index=i, num_samples=RATE * 3) for i in range(40))
    scene = next(s for s in scenes if 0 < len(s.heard) < 3 and s.heard[0] > 0)
    example = heard(scene, corpus)
    assert example.num_speakers == len(example.targets) == len(example.drr_db) == len(scene.heard)
    placed = [scene.room.speakers[number] for number in scene.heard]
    np.testing.assert_allclose(example.azimuth, [p.azimuth for p in placed], rtol=1e-6)
    np.testing.assert_allclose(example.distance, [p.distance for p in placed], rtol=1e-6)


def test_activity_is_where_targets_are_loud(draw: Draw, corpus: Any) -> None:
    scene = draw(config(rirs="anechoic"), num_samples=RATE * 12, index=1)
    example = heard(scene, corpus)
    assert example.activity is not None
    for target, times, crops in zip(
        example.targets, example.activity, scene.crops().values(), strict=True
    ):
        active = np.zeros(scene.num_samples, bool)
        for start, end in times:
            active[round(start * RATE) : round(end * RATE)] = True
            assert (
                any(
                    c.onset - 200 <= start * RATE and end * RATE <= c.onset + c.length + 200
                    for c in crops
                )
                or len(crops) > 1
            )
        energy = np.square(target, dtype=np.float64)
        assert energy[active].sum() > 0.98 * energy.sum()
        assert active.mean() < 0.9


def test_noise_is_set_against_speech_where_somebody_speaks(draw: Draw, corpus: Any) -> None:
    scene = draw(config(snr_db=(15, 15)), num_samples=RATE * 12, index=1)
    rirs = compute_rirs(scene.room, scene.microphone_array(), RATE)
    parts = render_parts(scene, corpus, rirs)
    spoken = np.zeros(scene.num_samples, bool)
    for crop in scene.speech:
        spoken[crop.onset : crop.onset + crop.length] = True
    assert 0.2 < spoken.mean() < 0.95
    speech = np.square(parts.images.sum(axis=0)[0][spoken]).mean()
    assert 10 * np.log10(speech / np.square(parts.noise[0]).mean()) == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize("kind", ["none", "diffuse", "babble", "point"])
def test_nobody_speaks(kind: str, draw: Draw, corpus: Any) -> None:
    scene = nobody(draw, background={"kinds": [kind], "snr_db": (0, 0)}, snr_db=(20, 20))
    assert scene.speech == scene.heard == ()
    example = heard(scene, corpus)
    assert example.targets.shape == (0, RATE)
    assert example.azimuth.shape == example.drr_db.shape == (0,)
    assert example.activity == ()
    np.testing.assert_allclose(np.square(example.mixture[0]).mean(), 1, rtol=1e-4)
    own = 0.1 * sensor_noise(scene.noise.seed, 4, RATE) * np.float32(example.gain)
    share = np.square(own).mean() / np.square(example.mixture).mean()
    assert share == pytest.approx(1 if kind == "none" else 0.01, rel=0.1)


@pytest.mark.parametrize("index", [0, 1])
def test_their_files_come_back(index: int, draw: Draw, corpus: Any) -> None:
    scene = draw(config(), num_samples=RATE * 6, index=1) if index else nobody(draw)
    example = heard(scene, corpus)
    written = files(example, corpus)
    assert sum(name.startswith("speaker") for name in written) == len(scene.heard)
    found = read_example(written.__getitem__, lambda scene: scene.room)
    np.testing.assert_array_equal(found.mixture, example.mixture)
    np.testing.assert_array_equal(found.targets, example.targets)
    np.testing.assert_array_equal(found.azimuth, example.azimuth)
    assert found.activity == example.activity
    assert found.scene == scene


# --- what cannot be -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overlap": (0.5, 1)}, r"scene\.overlap=.* is not used with scene\.conversation"),
        ({"conversation": {"turn": (0, 1)}}, r"scene\.conversation\.turn=.* expected 0\.1 to 60 s"),
        (
            {"conversation": {"pause": (3, 1)}},
            r"conversation\.pause=.* did you mean \[1\.0, 3\.0\]",
        ),
        ({"conversation": {"interruption": (0, 2)}}, r"interruption=.* expected 0 to 1"),
        ({"conversation": {"most_heard": 0}}, r"conversation\.most_heard=0: expected 1 to 5"),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], message: str, circle: MicrophoneArray
) -> None:
    with pytest.raises(InputError, match=message):
        check_scene_config(config(**changes), circle)


def test_whole_utterances_make_no_conversation(draw: Draw) -> None:
    with pytest.raises(InputError, match=r"scene\.conversation: is of scenes of a given length"):
        draw(config(), num_samples=None)
