# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.config import SimulateConfig
from msdet.corpora import BundledConfig, open_corpus
from msdet.errors import InputError
from msdet.geometry import Circle, Line
from msdet.simulation import SceneConfig, compute_rirs, read_scenes, render
from msdet.simulation.export import Renderer, keep_scenes, labels, simulate, write_metadata


@pytest.fixture
def config(tmp_path: Path) -> SimulateConfig:
    return SimulateConfig(
        output=str(tmp_path / "out"),
        seed=0,
        sample_rate=8000,
        split="test",
        num_scenes=3,
        seconds=1.0,
        audio=False,
        num_workers=1,
        cache=str(tmp_path / "rirs"),
        corpus=BundledConfig(),
        scene=SceneConfig(),
        array=Circle(shape="circle", num_mics=4, radius=0.05),
    )


def changed(config: SimulateConfig, **changes: Any) -> SimulateConfig:
    return config.model_copy(update=changes)


@pytest.fixture
def renderer(corpus: Any, tmp_path: Path) -> Renderer:
    return Renderer(corpus, tmp_path / "rirs", tmp_path / "audio")


@pytest.mark.parametrize("target", ["direct", "early", "image"])
def test_files_hold_the_rendered_example(
    draw: Callable[..., Any], renderer: Renderer, target: str
) -> None:
    scene = draw(SceneConfig(num_speakers=(3, 3), target=target, reference_mic=2))
    renderer(scene)
    array = scene.microphone_array()
    example = render(scene, renderer.corpus, compute_rirs(scene.room, array, scene.sample_rate))
    folder = renderer.folder(scene)
    mixture, rate = soundfile.read(folder / "mixture.wav", dtype="float32")
    assert rate == scene.sample_rate
    assert np.array_equal(mixture.T, example.mixture)
    for i in range(3):
        speech, _ = soundfile.read(folder / f"speaker{i + 1}.wav", dtype="float32")
        assert np.array_equal(speech, example.targets[i])
    assert sorted(path.name for path in renderer.audio.iterdir()) == [scene.id]


def test_labels_say_what_is_known(draw: Callable[..., Any], renderer: Renderer) -> None:
    scene = draw()
    renderer(scene)
    found = json.loads((renderer.folder(scene) / "labels.json").read_text())
    rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
    example = render(scene, renderer.corpus, rirs)
    assert found["sample_rate"] == scene.sample_rate
    assert found["num_samples"] == scene.num_samples
    assert found["t60_asked"] == scene.room.t60
    assert found["t60_measured"] == rirs.t60_measured
    assert found["snr_db"] == scene.noise.snr_db
    assert found["gain"] == example.gain
    assert np.allclose(found["array"]["positions"], scene.microphone_array().as_array())
    assert [s["file"] for s in found["speakers"]] == ["speaker1.wav", "speaker2.wav"]
    for i, speaker in enumerate(found["speakers"]):
        for key in ("azimuth", "elevation", "distance", "drr_db"):
            assert speaker[key] == pytest.approx(getattr(example, key)[i], rel=1e-5), key
        assert speaker["level_db"] == scene.speech[i].level_db
        assert speaker["utterance"] == scene.speech[i].utterance
        assert speaker["utterance"].startswith(speaker["speaker"])


def test_labels_of_a_room_without_decay_are_valid_json(
    draw: Callable[..., Any], corpus: Any
) -> None:
    scene = draw()
    rirs = compute_rirs(scene.room, scene.microphone_array(), scene.sample_rate)
    example = replace(render(scene, corpus, rirs), t60=0.0)
    assert json.loads(json.dumps(labels(example, corpus), allow_nan=False))["t60_measured"] is None


def test_what_a_killed_run_left_is_written_over(
    draw: Callable[..., Any], renderer: Renderer
) -> None:
    scene = draw()
    half = renderer.audio / f".{scene.id}.part"
    half.mkdir(parents=True)
    (half / "mixture.wav").write_bytes(b"RIFF")
    renderer(scene)
    assert [path.name for path in renderer.audio.iterdir()] == [scene.id]
    assert soundfile.info(renderer.folder(scene) / "mixture.wav").channels == 4


def test_a_scene_that_cannot_be_written_leaves_nothing(
    draw: Callable[..., Any], renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any) -> None:
        Path(path).write_bytes(b"RIFF")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("msdet.simulation.export.write_audio", full)
    scene = draw()
    with pytest.raises(InputError, match=rf"{scene.id}: cannot be written \(No space left"):
        renderer(scene)
    assert list(renderer.audio.iterdir()) == []


def test_metadata_has_a_column_for_every_speaker(draw: Callable[..., Any], tmp_path: Path) -> None:
    two, three = draw(), draw(SceneConfig(num_speakers=(3, 3)), index=1)
    write_metadata(tmp_path, [two, three])
    with (tmp_path / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_ID"] for row in rows] == [two.id, three.id]
    assert rows[0]["mixture_path"] == f"audio/{two.id}/mixture.wav"
    assert rows[0]["source_3_path"] == rows[0]["azimuth_3"] == ""
    assert rows[1]["source_3_path"] == f"audio/{three.id}/speaker3.wav"
    assert float(rows[1]["azimuth_3"]) == pytest.approx(three.room.speakers[2].azimuth, abs=1e-4)
    assert int(rows[0]["length"]) == two.num_samples


def test_scenes_alone_are_one_small_file(config: SimulateConfig, tmp_path: Path) -> None:
    simulate(config)
    scenes = read_scenes(tmp_path / "out" / "scenes.jsonl")
    assert [scene.index for scene in scenes] == [0, 1, 2]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"scenes.jsonl"}
    assert not (tmp_path / "rirs").exists()


def test_audio_can_be_added_and_a_second_run_makes_nothing(
    config: SimulateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(config)
    simulate(changed(config, audio=True))
    assert "3 scenes rendered" in capsys.readouterr().err
    out = tmp_path / "out"
    there = {path: path.stat().st_mtime_ns for path in (out / "audio").rglob("*")}
    assert len(there) == 3 * 5
    corpus = open_corpus(config.corpus, 8000).split("test")
    for scene in read_scenes(out / "scenes.jsonl"):
        rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
        audio, _ = soundfile.read(out / "audio" / scene.id / "mixture.wav", dtype="float32")
        assert np.array_equal(audio.T, render(scene, corpus, rirs).mixture)
    simulate(changed(config, audio=True))
    assert "0 scenes rendered, 3 were there" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (out / "audio").rglob("*")} == there


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "'room' of scene test-e000-000000"),
        ({"num_scenes": 4}, "num_scenes was 3, is 4"),
        ({"seconds": 2.0}, "'num_samples' of scene"),
        ({"array": Line(shape="line", num_mics=4, spacing=0.04)}, "'array' of scene"),
        ({"scene": SceneConfig(snr_db=(5.0, 6.0))}, "'noise' of scene"),
    ],
)
def test_other_scenes_do_not_enter_a_folder(
    config: SimulateConfig, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    simulate(config)
    before = (tmp_path / "out" / "scenes.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds another set of scenes") as error:
        simulate(changed(config, **changes))
    assert named in str(error.value)
    assert str(tmp_path / "out") in str(error.value)
    assert (tmp_path / "out" / "scenes.jsonl").read_bytes() == before


def test_a_folder_of_something_else_is_refused(config: SimulateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    with pytest.raises(InputError, match="is a file"):
        simulate(config)
    assert out.read_text() == "precious"
    out.unlink()
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and holds no scenes"):
        simulate(config)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_kill_while_the_first_file_was_written_is_no_obstacle(
    config: SimulateConfig, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".scenes.jsonl.123").write_text('{"id": "te')
    simulate(config)
    assert len(read_scenes(tmp_path / "out" / "scenes.jsonl")) == 3


def test_the_config_is_checked_before_anything_is_made(
    config: SimulateConfig, tmp_path: Path
) -> None:
    impossible = SceneConfig(t60=(0.01, 0.01))
    with pytest.raises(InputError, match=r"scene\.t60"):
        simulate(changed(config, scene=impossible))
    with pytest.raises(InputError, match="seconds=1e-05"):
        simulate(changed(config, seconds=1e-5))
    assert not (tmp_path / "out").exists()


def test_a_disk_too_small_is_seen_before_rendering(
    config: SimulateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("msdet.simulation.export.shutil.disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="3 scenes take"):
        simulate(changed(config, audio=True))
    assert not (tmp_path / "rirs").exists()


def test_scenes_are_drawn_as_for_evaluation(config: SimulateConfig, tmp_path: Path) -> None:
    from msdet.simulation import fixed_scenes

    simulate(config)
    corpus = open_corpus(config.corpus, 8000).split("test")
    wanted = fixed_scenes(
        config.scene,
        config.array.build(),
        corpus,
        seed=0,
        split="test",
        count=3,
        sample_rate=8000,
        seconds=1.0,
    )
    assert read_scenes(tmp_path / "out" / "scenes.jsonl") == wanted
    keep_scenes(tmp_path / "out", wanted)
