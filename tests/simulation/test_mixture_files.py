# SPDX-License-Identifier: Apache-2.0
"""Mixtures on disk: the samples that models see, labels that say what is known, the same bytes."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.errors import InputError
from msdet.simulation import Example, Scene, SceneConfig, compute_rirs, render, write_scenes
from msdet.simulation.mixture_files import (
    files,
    parse_labels,
    read_files,
    target_mics,
)
from msdet.simulation.scene_files import open_scenes
from msdet.simulation.shards import Shards


def decoded(found: dict[str, bytes], name: str) -> tuple[Any, int]:
    """What a file stands for, and its sample rate."""
    samples, rate = soundfile.read(io.BytesIO(found[name]), dtype="float32")
    return samples / np.float32(json.loads(found["labels.json"])["scale"]), rate


def read_labels(found: dict[str, bytes]) -> dict[str, Any]:
    known = parse_labels(found["labels.json"])
    assert [*known["checksums"], "labels.json"] == list(found)
    read_files(found.__getitem__, known, known["checksums"])
    return known


@pytest.fixture
def shards(corpus: Any, tmp_path: Path) -> Shards:
    """Which can make any scene; of which set it is does not matter here."""
    source: Any = ()
    return Shards(tmp_path, source, corpus, 1, True, "folder")


@pytest.fixture
def rendered(corpus: Any) -> Callable[[Scene], Example]:
    def made(scene: Scene) -> Example:
        rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
        return render(scene, corpus, rirs)

    return made


@pytest.mark.parametrize("target", ["direct", "early", "image"])
def test_files_hold_the_rendered_example(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any, target: str
) -> None:
    example = rendered(draw(SceneConfig(num_speakers=(3, 3), target=target, reference_mic=2)))
    found = files(example, corpus)
    assert list(found) == ["mixture.wav", *(f"speaker{i}.wav" for i in (1, 2, 3)), "labels.json"]
    mixture, rate = decoded(found, "mixture.wav")
    assert rate == example.scene.sample_rate
    assert np.array_equal(mixture.T, example.mixture)
    for i in range(3):
        speech, _ = decoded(found, f"speaker{i + 1}.wav")
        assert np.array_equal(speech, example.targets[i])


@pytest.mark.parametrize("loudness", [1.0, 1000.0])
def test_files_can_be_played(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any, loudness: float
) -> None:
    """However high its peaks are, even where no microphone is as loud as a target."""
    example = rendered(draw())
    example = replace(example, targets=loudness * example.targets)
    found = files(example, corpus)
    audio = {name: soundfile.read(io.BytesIO(found[name]))[0] for name in found if "wav" in name}
    peak = max(np.abs(samples).max() for samples in audio.values())
    assert peak < 0.9
    scale = read_labels(found)["scale"]
    assert np.log2(scale) == round(np.log2(scale)) <= -4
    assert scale == 1 / 16 or peak >= 0.45, "turned down further than need be"
    reference = audio["mixture.wav"][:, example.scene.reference_mic]
    assert np.sqrt(np.mean(np.square(reference))) == pytest.approx(scale, rel=1e-4)


def test_targets_at_other_microphones_have_files_of_their_own(
    draw: Callable[..., Any], corpus: Any
) -> None:
    """Beside those of the reference, which are the same as without them."""
    scene = draw(SceneConfig(reference_mic=2))
    rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
    mics = target_mics(scene, "symmetric")
    assert (mics, target_mics(scene, "reference")) == ((0, 1, 3), ())
    example = render(scene, corpus, rirs, mics)
    plain, found = files(render(scene, corpus, rirs), corpus), files(example, corpus)
    speakers = [f"speaker{i}{at}.wav" for at in ("", ".mic0", ".mic1", ".mic3") for i in (1, 2)]
    assert list(found) == ["mixture.wav", *speakers, "labels.json"]
    assert list(plain) == ["mixture.wav", *speakers[:2], "labels.json"]
    audio = [name for name in plain if name.endswith(".wav")]
    assert {name: found[name] for name in audio} == {name: plain[name] for name in audio}
    known = read_labels(found)
    assert [entry["mic"] for entry in known["other_references"]] == [0, 1, 3]
    for entry in known["other_references"]:
        heard = example.others[entry["mic"]]
        assert entry["snr_db"] == heard.snr_db
        for i, speaker in enumerate(entry["speakers"]):
            assert speaker["file"] == f"speaker{i + 1}.mic{entry['mic']}.wav"
            speech, _ = decoded(found, speaker["file"])
            assert np.array_equal(speech, heard.targets[i])
            assert speaker["level_db"] == heard.level_db[i]
            assert speaker["drr_db"] == pytest.approx(heard.drr_db[i])
    assert "other_references" not in read_labels(plain)
    with pytest.raises(ValueError, match=r"speaker1\.mic3\.wav was changed"):
        read_labels(found | {"speaker1.mic3.wav": b""})


def test_labels_say_what_is_known(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any
) -> None:
    scene = draw()
    example = rendered(scene)
    found = json.loads(files(example, corpus)["labels.json"])
    assert found["sample_rate"] == scene.sample_rate
    assert found["num_samples"] == scene.num_samples
    assert found["t60_asked"] == scene.room.t60
    assert found["t60_measured"] == example.t60
    assert found["snr_db"] == scene.noise.snr_db
    assert found["background"] is None
    assert found["gain"] == example.gain * found["scale"]
    assert np.allclose(found["array"]["positions"], scene.microphone_array().as_array())
    assert [s["file"] for s in found["speakers"]] == ["speaker1.wav", "speaker2.wav"]
    for i, speaker in enumerate(found["speakers"]):
        for key in ("azimuth", "elevation", "distance", "drr_db"):
            assert speaker[key] == pytest.approx(getattr(example, key)[i], rel=1e-5), key
        assert speaker["level_db"] == scene.speech[i].level_db
        assert speaker["utterance"] == scene.speech[i].utterance
        assert speaker["utterance"].startswith(speaker["speaker"])
    assert Scene.model_validate(found["scene"]) == scene


def test_labels_hold_checksums_of_all_files(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any
) -> None:
    found = files(rendered(draw()), corpus)
    known = read_labels(found)
    again = json.dumps(json.loads(found["labels.json"])).encode()
    assert read_labels(found | {"labels.json": again}) == known, "laid out another way"
    for name in ("mixture.wav", "speaker1.wav", "speaker2.wav"):
        with pytest.raises(ValueError, match=f"{name} was changed"):
            read_labels(found | {name: found[name][:-1]})
    other = found["labels.json"].replace(b'"reference_mic": 0', b'"reference_mic": 1')
    with pytest.raises(ValueError, match=r"labels\.json was changed"):
        read_labels(found | {"labels.json": other})
    for content in (b"{}", b"[]", b'{"checksums": 3}'):
        with pytest.raises(ValueError, match="holds no checksums"):
            read_labels(found | {"labels.json": content})


def test_a_gain_undoes_the_level_of_the_mixture(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any
) -> None:
    """Without it, the first speaker's direct path is the recording over the distance."""
    example = rendered(draw(SceneConfig(target="direct")))
    found = files(example, corpus)
    speech, _ = soundfile.read(io.BytesIO(found["speaker1.wav"]))
    crop = example.scene.speech[0]
    dry = corpus.read(corpus.by_id(crop.utterance))[crop.offset : crop.offset + crop.length]
    mics = example.scene.room.microphones(example.scene.microphone_array())
    distance = np.linalg.norm(mics[0] - example.scene.room.speakers[0].position)
    heard = np.sqrt(np.mean(np.square(speech))) / read_labels(found)["gain"]
    spoken = np.sqrt(np.sum(np.square(dry)) / example.scene.num_samples)
    assert heard * distance == pytest.approx(spoken, rel=0.02)


def test_labels_of_a_room_without_walls_are_valid_json(
    draw: Callable[..., Any], rendered: Callable[..., Any], corpus: Any
) -> None:
    example = rendered(draw())
    anechoic = replace(example, t60=0.0, drr_db=np.full(2, np.inf, np.float32))
    found = json.loads(files(anechoic, corpus)["labels.json"])
    assert found["t60_measured"] is None
    assert [speaker["drr_db"] for speaker in found["speakers"]] == [None, None]


def test_the_same_scene_gives_the_same_bytes_at_another_time(
    draw: Callable[..., Any], shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = draw()
    archives = []
    for later in (0, 10**8):
        now = time.time() + later
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda now=now: now)
            path = tmp_path / str(later) / "shard.tar"
            shards.write_tar(path, tmp_path, [scene])
        archives.append(path.read_bytes())
    assert archives[0] == archives[1]


def test_archives_are_read_by_webdataset(
    draw: Callable[..., Any], rendered: Callable[..., Any], shards: Shards, tmp_path: Path
) -> None:
    webdataset = pytest.importorskip("webdataset")
    scenes = [draw(index=index) for index in range(3)]
    path = tmp_path / "shard-000000.tar"
    replace(shards, targets_at="symmetric").write_tar(path, tmp_path, scenes)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [scene.id for scene in scenes]
    for sample, scene in zip(samples, scenes, strict=True):
        audio, _ = soundfile.read(io.BytesIO(sample["mixture.wav"]), dtype="float32")
        scale = np.float32(json.loads(sample["json"])["scale"])
        assert np.array_equal(audio.T / scale, rendered(scene).mixture)
        assert {"speaker1.wav", "speaker2.wav", "speaker2.mic3.wav"} <= sample.keys()
        assert json.loads(sample["json"])["id"] == scene.id


def refused_ids() -> Iterator[tuple[str, str]]:
    for format in ("folder", "tar"):
        yield from ((format, id) for id in ("", "../up", "a/b", ".hidden", "a\nb", "c:\\d"))
    yield "tar", "one.two"  # WebDataset takes what stands before the first dot


@pytest.mark.parametrize(("format", "id"), list(refused_ids()))
def test_ids_that_cannot_name_files_are_refused(
    draw: Callable[..., Any], corpus: Any, tmp_path: Path, format: Any, id: str
) -> None:
    write_scenes(tmp_path / "scenes.jsonl", [draw().model_copy(update={"id": id})])
    with pytest.raises(InputError, match="cannot name files"):
        open_scenes(tmp_path / "scenes.jsonl", corpus, format)


@pytest.mark.parametrize(
    ("format", "id"),
    [("folder", "4k6c0303_0.23_01oc-0.23"), ("tar", "test-e000-000000 \u00fc")],
)
def test_other_ids_can(
    draw: Callable[..., Any], corpus: Any, tmp_path: Path, format: Any, id: str
) -> None:
    write_scenes(tmp_path / "scenes.jsonl", [draw().model_copy(update={"id": id})])
    assert len(open_scenes(tmp_path / "scenes.jsonl", corpus, format)) == 1
