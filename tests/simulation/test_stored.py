# SPDX-License-Identifier: Apache-2.0
"""Mixtures on disk as training reads them: what was rendered, or a refusal that names why not."""

from __future__ import annotations

import json
import pickle
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.moments import moments_of
from msdet.simulation import Scene, SceneConfig, compute_rirs, render, rotated
from msdet.simulation.config import ConversationRanges, ImperfectionRanges, MovementRanges
from msdet.simulation.engines import make_locally
from msdet.simulation.mixture_files import turned
from msdet.simulation.scene_files import DrawnScenes
from msdet.simulation.shards import Shards
from msdet.simulation.stored import Wanted, open_mixtures

SCENE = SceneConfig.model_validate(
    {
        "room": {"length": (4, 5), "width": (4, 5), "height": (2.5, 2.6)},
        "t60": (0.15, 0.18),
        "speaker": {"distance": (0.7, 1.2)},
    }
)
SCENE_OF_ANY_NUMBER = SCENE.model_copy(update={"num_speakers": (2, 3), "reference_mic": 0})


@pytest.fixture
def task(circle: MicrophoneArray) -> Wanted:
    return Wanted("train", circle, 8000, "direct", 0, num_speakers=(2, 2), num_samples=3000)


@pytest.fixture
def make(corpus: Any, circle: MicrophoneArray, tmp_path: Path) -> Callable[..., Shards]:
    """Five mixtures of half a second in shards of two; those of `finished` are made."""

    def made(
        format: Any = "tar",
        audio: bool = True,
        finished: Any = (0, 1, 2),
        targets_at: Any = "reference",
        **changes: Any,
    ) -> Shards:
        scenes: dict[str, Any] = {"config": SCENE, "array": circle, "corpus": corpus}
        scenes |= {"seed": 0, "split": "train"}
        scenes |= {"seconds": 0.5, "count": 5}
        source = DrawnScenes(**scenes | changes)
        output = tmp_path / f"{format}-{targets_at}"
        shards = Shards(output, source, corpus, 2, audio, format, targets_at)
        shards.keep_request()
        make_locally(shards, list(finished), 1)
        return shards

    return made


@pytest.mark.parametrize("format", ["tar", "folder"])
def test_what_is_read_is_what_was_rendered(
    make: Callable[..., Shards], task: Wanted, corpus: Any, format: str
) -> None:
    shards = make(format)
    mixtures = pickle.loads(pickle.dumps(open_mixtures(shards.output, task)))
    assert len(mixtures) == 5
    for number in (4, 0, 3):
        (scene,) = shards.source.read([number])
        rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
        example, found = render(scene, corpus, rirs), mixtures[number]
        assert found.scene == scene
        assert (found.gain, found.t60) == (example.gain, example.t60)
        for name in ("mixture", "targets", "azimuth", "elevation", "distance", "drr_db"):
            expected = getattr(example, name)
            assert np.array_equal(getattr(found, name), expected), name
            assert getattr(found, name).dtype == expected.dtype


def test_speakers_who_walk_serve_directions_over_time(
    make: Callable[..., Shards], task: Wanted
) -> None:
    folder = make(config=SCENE.model_copy(update={"movement": MovementRanges()})).output
    with pytest.raises(InputError, match=r"scene train-.*: its speakers walk"):
        open_mixtures(folder, task)
    mixtures = open_mixtures(folder, replace(task, over_time=True))
    example = mixtures.read(0, lambda scene: scene.room)
    assert example.places is not None
    assert example.track is not None
    expected = example.scene.azimuths(moments_of(0.5))
    np.testing.assert_allclose(example.track % 360, expected, atol=1e-3)


def test_conversations_serve_a_training_of_absent_speakers(
    make: Callable[..., Shards], task: Wanted
) -> None:
    talk = SCENE.model_copy(update={"conversation": ConversationRanges(), "num_speakers": (2, 3)})
    folder = make(config=talk).output
    with pytest.raises(InputError, match=r"scene train-.*: is a conversation: .*conversation=\{\}"):
        open_mixtures(folder, replace(task, num_speakers=(1, 3)))
    mixtures = open_mixtures(folder, replace(task, num_speakers=(0, 3)))
    for number in range(len(mixtures)):
        example = mixtures[number]
        assert example.num_speakers == len(example.scene.heard) == len(example.activity or ())
    with pytest.raises(InputError, match=r"has \d speakers, training's scenes have 0 to 0"):
        open_mixtures(folder, replace(task, num_speakers=(0, 0)))


@pytest.mark.parametrize("format", ["tar", "folder"])
def test_what_is_read_in_another_pose_is_what_was_rendered_turned(
    make: Callable[..., Shards], task: Wanted, corpus: Any, circle: MicrophoneArray, format: str
) -> None:
    shards = make(format, targets_at="symmetric", count=3, config=SCENE_OF_ANY_NUMBER)
    task = replace(task, num_speakers=(1, 3))
    mixtures = pickle.loads(pickle.dumps(open_mixtures(shards.output, task)))
    (*scenes,) = shards.source.read(range(3))
    assert len({len(scene.speech) for scene in scenes}) > 1
    for number in (2, 0, 1):
        scene = scenes[number]
        rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
        example = render(scene, corpus, rirs, (1, 2, 3))
        for degrees, order in circle.rotations():
            room = rotated(scene.room, circle, degrees) if degrees else scene.room
            found = mixtures.read(number, lambda scene, room=room: room)
            expected = turned(example, room, example.others[order[0]]) if degrees else example
            assert found.scene == expected.scene
            assert found.gain == expected.gain
            for name in ("mixture", "targets", "azimuth", "elevation", "distance", "drr_db"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)


def test_a_pose_is_not_asked_for_where_targets_are_missing(
    make: Callable[..., Shards], task: Wanted
) -> None:
    def asked(scene: Scene) -> Any:
        raise AssertionError("there are targets of one microphone alone")

    mixtures = open_mixtures(make().output, task)
    np.testing.assert_array_equal(mixtures.read(1, asked).mixture, mixtures[1].mixture)


def test_mixtures_of_imperfect_arrays_are_read_as_they_are(
    make: Callable[..., Shards], task: Wanted
) -> None:
    """Such scenes come from files; none of their other microphones has targets."""

    def asked(scene: Scene) -> Any:
        raise AssertionError("an imperfect array has no symmetry")

    imperfect = SCENE.model_copy(update={"imperfections": ImperfectionRanges(gain_db=1.0)})
    shards = make(targets_at="symmetric", config=imperfect)
    mixtures = open_mixtures(shards.output, task)
    found = mixtures.read(1, asked)
    assert found.scene.mismatch is not None
    np.testing.assert_array_equal(found.mixture, mixtures[1].mixture)


def test_finished_shards_alone_are_read(make: Callable[..., Shards], task: Wanted) -> None:
    some = open_mixtures(make(finished=(0, 2)).output, task)
    assert [some[n].scene.index for n in range(len(some))] == [0, 1, 4]
    shards = make()
    every = open_mixtures(shards.output, task)
    assert len(every) == 5
    assert every.identity != some.identity


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_rate": 16000}, "sample_rate is 8000, that of training 16000"),
        ({"target": "image"}, "target is 'direct', that of training 'image'"),
        ({"reference_mic": 1}, "reference_mic is 0, that of training 1"),
        ({"num_speakers": (3, 4)}, "has 2 speakers, training's scenes have 3 to 4"),
        ({"num_samples": 8000}, "is 0.5 s long, shorter than data.crop_seconds=1"),
    ],
)
def test_mixtures_of_another_task_are_refused(
    make: Callable[..., Shards], task: Wanted, changes: dict[str, Any], says: str
) -> None:
    folder = make(finished=(1,)).output
    with pytest.raises(InputError) as error:
        open_mixtures(folder, replace(task, **changes))
    assert says in str(error.value)
    assert f"data.simulated={folder}: scene train-e000-000002" in str(error.value)


@pytest.mark.parametrize("split", ["test", "valid"])
def test_scenes_that_models_are_scored_on_are_not_trained_on(
    make: Callable[..., Shards], task: Wanted, split: str
) -> None:
    folder = make(finished=(0,), split=split).output
    with pytest.raises(InputError, match=f"split is '{split}', that of training 'train'") as error:
        open_mixtures(folder, task)
    assert f"data.simulated={folder}: " in str(error.value)
    assert "msdet simulate split=train" in str(error.value)


def test_mixtures_of_another_array_are_refused(
    make: Callable[..., Shards], task: Wanted, line: MicrophoneArray, l_shape: MicrophoneArray
) -> None:
    folder = make(finished=(0,)).output
    for array in (line, l_shape):  # as many microphones elsewhere, and another number of them
        with pytest.raises(InputError, match=f"not at the places of training's '{array.name}'"):
            open_mixtures(folder, replace(task, array=array))


def test_folders_without_mixtures_are_refused(
    make: Callable[..., Shards], task: Wanted, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"has no simulation\.json"):
        open_mixtures(tmp_path, task)
    with pytest.raises(InputError, match="none of its 3 shards is finished"):
        open_mixtures(make("folder", finished=()).output, task)
    with pytest.raises(InputError, match="without audio"):
        open_mixtures(make("tar", audio=False).output, task)


@pytest.mark.parametrize("kept", [0, 100, 512, 40_000, -20_480])
def test_an_archive_that_was_cut_is_refused(
    make: Callable[..., Shards], task: Wanted, kept: int
) -> None:
    shards = make()
    path = shards.output / "shards" / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:kept])
    for _ in ("cut", "gone"):
        with pytest.raises(
            InputError, match=r"shard-000001\.tar is damaged or gone; the command .* makes it again"
        ):
            open_mixtures(shards.output, task)
        make_locally(shards, shards.missing(), 1)
        assert len(open_mixtures(shards.output, task)) == 5
        path.unlink()


@pytest.mark.parametrize("format", ["tar", "folder"])
@pytest.mark.parametrize("where", ["mixture", "speaker2", "header", "labels"])
def test_a_mixture_in_which_a_bit_flipped_is_not_trained_on(
    make: Callable[..., Shards], task: Wanted, format: str, where: str
) -> None:
    """Neither its size nor anything else tells. To remove what is named makes it mend."""
    shards = make(format)
    mixtures = open_mixtures(shards.output, task)
    expected = mixtures[3]
    path = shards.output / "shards" / "shard-000001.tar"
    name = "labels.json" if where == "labels" else "speaker2.wav"
    name = "mixture.wav" if where in ("mixture", "header") else name
    place = 20 if where == "header" else 1000
    if format == "folder":
        path = shards.output / "audio" / "train-e000-000003" / name
    else:
        with tarfile.open(path) as archive:
            member = "json" if name == "labels.json" else name
            place += archive.getmember(f"train-e000-000003.{member}").offset_data
    content = bytearray(path.read_bytes())
    if where == "labels":  # the first digit behind a point
        place = content.index(b".", content.index(b'"azimuth": ', place)) + 1
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name} was changed, its checksum differs") as error:
        open_mixtures(shards.output, task)[3]
    named = path if format == "tar" else path.parent
    assert str(error.value).startswith(f"{named}: mixture train-e000-000003")
    assert "remove it, and the command that made it makes it again" in str(error.value)
    assert mixtures[0].scene.index == 0, "others can be read"
    path.unlink() if format == "tar" else shutil.rmtree(named)
    assert shards.missing() == [1]
    make_locally(shards, [1], 1)
    again = open_mixtures(shards.output, task)
    assert np.array_equal(again[3].mixture, expected.mixture)
    assert again.identity == mixtures.identity, "training goes on with them"


def test_an_archive_of_something_else_is_refused(make: Callable[..., Shards], task: Wanted) -> None:
    shards = make()
    one, other = (shards.output / "shards" / f"shard-00000{k}.tar" for k in (0, 1))
    size = one.stat().st_size
    one.write_bytes(other.read_bytes())
    sizes = [shards.output / "files" / f"shard-00000{k}.json" for k in (0, 1)]
    sizes[0].write_text(sizes[0].read_text().replace(str(size), str(one.stat().st_size)))
    with pytest.raises(InputError, match=r"shard-000000\.tar is damaged \(it holds other mixtures"):
        open_mixtures(shards.output, task)


def test_a_damaged_marker_is_refused(make: Callable[..., Shards], task: Wanted) -> None:
    shards = make()
    marker = shards.output / "scenes" / "shard-000001.jsonl"
    for content in ("", "{", "{}\n", "[]\n"):
        marker.write_text(content)
        with pytest.raises(InputError, match=r"shard-000001\.jsonl is damaged"):
            open_mixtures(shards.output, task)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mixture.wav", b"RIFF"),
        ("speaker1.wav", b""),
        ("labels.json", b"{}"),
        ("labels.json", b"\xff"),
        ("speaker2.wav", None),
    ],
)
def test_a_damaged_mixture_is_named_when_it_is_read(
    make: Callable[..., Shards], task: Wanted, name: str, content: bytes | None
) -> None:
    mixtures = open_mixtures(make("folder").output, task)
    path = mixtures.folder / "audio" / "train-e000-000001" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"audio/train-e000-000001: .* cannot be read") as error:
        mixtures[1]
    assert "\n" not in str(error.value)
    assert mixtures[0].scene.index == 0


def test_samples_that_are_no_numbers_are_not_trained_on(
    make: Callable[..., Shards], task: Wanted
) -> None:
    mixtures = open_mixtures(make("folder").output, task)
    folder = mixtures.folder / "audio" / "train-e000-000000"
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    content["mixture.wav"] = content["mixture.wav"][:-4] + np.float32("nan").tobytes()
    labels = json.loads(content["labels.json"])
    del labels["checksums"]["labels.json"]
    labels["checksums"]["mixture.wav"] = f"{zlib.crc32(content['mixture.wav']):08x}"
    labels["checksums"]["labels.json"] = f"{zlib.crc32(json.dumps(labels).encode()):08x}"
    (folder / "mixture.wav").write_bytes(content["mixture.wav"])
    (folder / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match="no numbers"):
        mixtures[0]
