# SPDX-License-Identifier: Apache-2.0
"""What ``msdet simulate`` does with a config: refusals before any work, going on, dry runs."""

from __future__ import annotations

import builtins
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from msdet.cli import main
from msdet.commands.simulate import SimulateConfig, _share_of, simulate
from msdet.corpora import BundledConfig, open_corpus
from msdet.errors import InputError
from msdet.geometry import Circle, Line
from msdet.simulation import SceneConfig, compute_rirs, read_scenes, render
from msdet.simulation import estimate as estimate_module
from msdet.simulation.config import BackgroundRanges, ImperfectionRanges
from msdet.simulation.noise_sources import _open_folder

WRITTEN = {"simulation.json", "files", "scenes", "scenes.jsonl"}


@pytest.fixture
def config(tmp_path: Path) -> SimulateConfig:
    return SimulateConfig(
        output=str(tmp_path / "out"),
        seed=0,
        sample_rate=8000,
        split="test",
        num_scenes=3,
        seconds=1.0,
        scenes=None,
        audio=False,
        format="folder",
        shard_size=None,
        shard=None,
        engine="local",
        num_workers=1,
        corpus=BundledConfig(),
        scene=SceneConfig(),
        array=Circle(shape="circle", num_mics=4, radius=0.05),
    )


def changed(config: SimulateConfig, **changes: Any) -> SimulateConfig:
    return config.model_copy(update=changes)


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


# --- what comes of it ---------------------------------------------------------------------


def test_scenes_alone_take_no_room_responses(
    config: SimulateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> Any:
        raise AssertionError("nothing was to be rendered")

    monkeypatch.setattr("msdet.simulation.shards.compute_rirs", asked)
    simulate(config)
    out = tmp_path / "out"
    assert [scene.index for scene in read_scenes(out / "scenes.jsonl")] == [0, 1, 2]
    assert {p.name for p in out.iterdir()} == WRITTEN


def test_room_responses_are_not_kept(
    config: SimulateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each room is used once; those of a million scenes would fill a disk."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    simulate(changed(config, audio=True, num_scenes=1))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list(tmp_path.rglob("*.rirs"))


def test_an_array_that_has_no_name_of_its_own_is_not_called_by_another_s(
    config: SimulateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = Circle(shape="circle", num_mics=4, radius=0.1)
    assert wider.build().name == config.array.build().name
    simulate(changed(config, audio=True, num_scenes=1, array=wider))
    assert "array=" not in capsys.readouterr().out


def test_a_second_run_makes_nothing(
    config: SimulateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(config, audio=True)
    simulate(config)
    out = tmp_path / "out"
    shown = capsys.readouterr()
    assert "3 shards made" in shown.err
    first = str(out / "audio" / "test-e000-000000" / "mixture.wav")
    told = [shlex.split(line) for line in shown.out.splitlines()]
    assert told[0] == ["first:", first], "a path to be pasted"
    assert told[1][-4:-1] == ["separate", first, "array=circle4"], "a command to be pasted"
    before = times(out)
    corpus = open_corpus(config.corpus, 8000).split("test")
    for scene in read_scenes(out / "scenes.jsonl"):
        rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
        audio, _ = soundfile.read(out / "audio" / scene.id / "mixture.wav", dtype="float32")
        scale = json.loads((out / "audio" / scene.id / "labels.json").read_text())["scale"]
        assert np.array_equal(audio.T / np.float32(scale), render(scene, corpus, rirs).mixture)
    simulate(config)
    assert "0 shards made, 3 were there" in capsys.readouterr().err
    assert times(out) == before


def test_a_share_leaves_the_rest_to_others(
    config: SimulateConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(changed(config, shard="1/2"))
    assert "2 of 3 shards are left to others" in capsys.readouterr().err
    out = tmp_path / "out"
    assert [p.name for p in (out / "scenes").iterdir()] == ["shard-000001.jsonl"]
    assert not (out / "scenes.jsonl").exists()
    simulate(changed(config, shard="0/2"))
    assert len(read_scenes(out / "scenes.jsonl")) == 3


def test_scenes_of_a_file_are_rendered_as_drawn_ones(
    config: SimulateConfig, tmp_path: Path
) -> None:
    simulate(config)
    scenes = tmp_path / "out" / "scenes.jsonl"
    rendered = changed(
        config,
        scenes=str(scenes),
        audio=True,
        output=str(tmp_path / "again"),
        num_scenes=None,
        sample_rate=44100,
        split="train",
    )
    simulate(rendered)
    simulate(changed(config, audio=True, output=str(tmp_path / "drawn")))
    assert (tmp_path / "again" / "scenes.jsonl").read_bytes() == scenes.read_bytes()
    again, drawn = tmp_path / "again" / "audio", tmp_path / "drawn" / "audio"
    files = [path.relative_to(drawn) for path in drawn.rglob("*.*")]
    assert len(files) == 3 * 4
    for file in files:
        assert (again / file).read_bytes() == (drawn / file).read_bytes()


def test_the_first_scenes_of_a_file_are_taken_where_a_number_is_given(
    config: SimulateConfig, tmp_path: Path
) -> None:
    simulate(config)
    scenes = tmp_path / "out" / "scenes.jsonl"
    simulate(changed(config, scenes=str(scenes), output=str(tmp_path / "two"), num_scenes=2))
    first = scenes.read_bytes().splitlines(keepends=True)[:2]
    assert (tmp_path / "two" / "scenes.jsonl").read_bytes() == b"".join(first)
    with pytest.raises(InputError, match=r"num_scenes=99.*has 3 scenes"):
        simulate(changed(config, scenes=str(scenes), output=str(tmp_path / "x"), num_scenes=99))
    assert not (tmp_path / "x").exists()


def test_whole_utterances_are_as_long_as_the_longest(
    config: SimulateConfig, tmp_path: Path
) -> None:
    simulate(changed(config, seconds=None))
    corpus = open_corpus(config.corpus, 8000)
    for scene in read_scenes(tmp_path / "out" / "scenes.jsonl"):
        lengths = [corpus.num_samples(corpus.by_id(crop.utterance)) for crop in scene.speech]
        assert scene.num_samples == max(lengths)


# --- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed was 0, is 1"),
        ({"num_scenes": 4}, "num_scenes was 3, is 4"),
        ({"seconds": 2.0}, "seconds was 1.0, is 2.0"),
        ({"seconds": None}, "seconds was 1.0, is None"),
        ({"array": Line(shape="line", num_mics=4, spacing=0.04)}, "array.name was 'circle4'"),
        ({"scene": SceneConfig(snr_db=(5.0, 6.0))}, "scene.snr_db was [20.0, 30.0], is [5.0, 6.0]"),
        ({"audio": True}, "audio was False, is True"),
        ({"format": "tar"}, "format was 'folder', is 'tar'"),
        ({"shard_size": 2}, "shard_size was 1, is 2"),
        ({"split": "train"}, "split was 'test', is 'train'"),
    ],
)
def test_other_scenes_do_not_enter_a_folder(
    config: SimulateConfig, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    simulate(config)
    before = times(tmp_path / "out")
    with pytest.raises(InputError, match="holds another set of scenes") as error:
        simulate(changed(config, **changes))
    assert named in str(error.value)
    assert str(tmp_path / "out") in str(error.value)
    assert times(tmp_path / "out") == before


def test_a_set_of_another_version_is_not_gone_on_with(
    config: SimulateConfig, tmp_path: Path
) -> None:
    simulate(config)
    path = tmp_path / "out" / "simulation.json"
    path.write_text(
        re.sub(r'"pyroomacoustics": "[^"]+"', '"pyroomacoustics": "0.0"', path.read_text())
    )
    with pytest.raises(InputError, match=r"versions\.pyroomacoustics was '0\.0'"):
        simulate(config)


def test_a_folder_of_something_else_is_refused(config: SimulateConfig, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    with pytest.raises(InputError, match="is a file"):
        simulate(config)
    assert out.read_text() == "precious"
    out.unlink()
    out.mkdir()
    (out / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"is not empty and holds no simulation\.json"):
        simulate(config)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_kill_while_the_first_file_was_written_is_no_obstacle(
    config: SimulateConfig, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".simulation.json.123.part").write_text('{"conf')
    simulate(config)
    assert len(read_scenes(tmp_path / "out" / "scenes.jsonl")) == 3


def test_an_output_below_a_file_is_named(config: SimulateConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="cannot be") as error:
        simulate(changed(config, output=str(tmp_path / "file" / "out")))
    assert str(tmp_path / "file") in str(error.value)


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_config_is_checked_before_anything_is_made(
    config: SimulateConfig, tmp_path: Path, dry_run: bool
) -> None:
    with pytest.raises(InputError, match=r"scene\.t60"):
        simulate(changed(config, scene=SceneConfig(t60=(0.01, 0.01))), dry_run)
    with pytest.raises(InputError, match="seconds=1e-05"):
        simulate(changed(config, seconds=1e-5), dry_run)
    with pytest.raises(InputError, match=r"seconds=null and scene\.overlap=\[0\.5, 1\.0\]"):
        simulate(changed(config, seconds=None, scene=SceneConfig(overlap=(0.5, 1.0))), dry_run)
    with pytest.raises(InputError, match="shard='3/3'"):
        simulate(changed(config, shard="3/3"), dry_run)
    with pytest.raises(InputError, match=r"gone\.jsonl: cannot be read"):
        simulate(changed(config, scenes=str(tmp_path / "gone.jsonl")), dry_run)
    imperfect = SceneConfig(imperfections=ImperfectionRanges(position=0.001))
    with pytest.raises(InputError, match=r"targets_at='symmetric' with scene\.imperfections"):
        simulate(changed(config, targets_at="symmetric", scene=imperfect), dry_run)
    assert not (tmp_path / "out").exists()


# --- recordings of noise ------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with a recording of three seconds."""
    _open_folder.cache_clear()  # which a process needs once
    folder = tmp_path / "noise"
    folder.mkdir()
    audio = 0.1 * np.random.default_rng(0).standard_normal(3 * 8000)
    soundfile.write(folder / "street.wav", audio, 8000)
    return folder


def noisy(config: SimulateConfig, folder: Path, **changes: Any) -> SimulateConfig:
    background = BackgroundRanges(kinds=("diffuse",), recordings=str(folder))
    return changed(config, scene=SceneConfig(background=background), **changes)


@pytest.mark.parametrize("dry_run", [False, True])
def test_recordings_that_cannot_serve_leave_nothing_behind(
    config: SimulateConfig, tmp_path: Path, recordings: Path, dry_run: bool
) -> None:
    with pytest.raises(InputError, match=r"scene\.background\.recordings=.*/gone: does not exist"):
        simulate(noisy(config, tmp_path / "gone"), dry_run)
    with pytest.raises(InputError, match="no recording is as long as a scene of 4 s"):
        simulate(noisy(config, recordings, seconds=4.0), dry_run)
    with pytest.raises(InputError, match="no recording is as long as a scene of"):
        simulate(noisy(config, recordings, seconds=None), dry_run)
    assert not (tmp_path / "out").exists()


def test_a_set_is_not_gone_on_with_by_other_recordings(
    config: SimulateConfig, tmp_path: Path, recordings: Path
) -> None:
    simulate(noisy(config, recordings))
    scenes = tmp_path / "out" / "scenes.jsonl"
    again = changed(config, scenes=str(scenes), output=str(tmp_path / "again"))
    before = times(tmp_path / "out")
    audio = 0.1 * np.random.default_rng(1).standard_normal(2 * 8000)
    soundfile.write(recordings / "train.wav", audio, 8000)
    _open_folder.cache_clear()
    with pytest.raises(InputError, match=r"\(recordings\.fingerprint was '\w+', is '\w+'\)"):
        simulate(noisy(config, recordings))
    assert times(tmp_path / "out") == before
    with pytest.raises(InputError, match=r"scenes\.jsonl:1: .* holds other recordings") as error:
        simulate(again)
    assert str(recordings) in str(error.value)
    assert not (tmp_path / "again").exists()
    (recordings / "train.wav").unlink()
    _open_folder.cache_clear()
    simulate(again)


def test_ray_is_asked_for_by_its_engine_alone(
    config: SimulateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_ray(name: str, *rest: Any, **keys: Any) -> Any:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *rest, **keys)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(InputError, match=r"pip install '.\[ray\]'"):
        simulate(changed(config, engine="ray"))
    assert not (tmp_path / "out").exists()
    simulate(config)
    assert {p.name for p in (tmp_path / "out").iterdir()} == WRITTEN


def test_a_disk_too_small_is_seen_before_rendering(
    config: SimulateConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"3 scenes take 600.0 kB, the disk has"):
        simulate(changed(config, audio=True))
    with pytest.raises(InputError, match=r"3 scenes take 1\.2 MB, the disk has"):
        simulate(changed(config, audio=True, targets_at="symmetric"))
    assert not (tmp_path / "out").exists()


# --- dry runs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "targets_at"),
    [("tar", "reference"), ("folder", "reference"), ("tar", "symmetric"), ("folder", "symmetric")],
)
def test_a_dry_run_foretells_the_size_and_leaves_nothing(
    config: SimulateConfig,
    tmp_path: Path,
    format: Any,
    targets_at: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = changed(config, audio=True, format=format, targets_at=targets_at, num_scenes=6)
    simulate(config, dry_run=True)
    assert list(tmp_path.iterdir()) == []
    shown = capsys.readouterr().out
    assert "scenes to make: 6" in shown
    simulate(config)
    capsys.readouterr()
    out = tmp_path / "out"
    made = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    assert told(shown, "size of output") == pytest.approx(made, rel=0.1)
    simulate(config, dry_run=True)
    assert "nothing to make" in capsys.readouterr().out


def test_the_command_takes_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["simulate", f"output={tmp_path / 'out'}", "sample_rate=8000", "seconds=1"]
    assert main([*settings, "--dry-run"]) == 0
    assert "scenes to make: 10" in capsys.readouterr().out
    assert main([*settings, "--dry-run", "scene.t60=[0.01,0.01]"]) == 2
    assert "scene.t60" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit) as done:
        main(["train", "--dry-run"])
    assert done.value.code == 2


def told(table: str, row: str) -> float:
    """Bytes of a row's last column."""
    (line,) = (line for line in table.splitlines() if row in line)
    number, unit = line.split("│")[-2].split()
    return float(number.replace(",", "")) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def test_a_dry_run_is_of_what_is_missing(
    config: SimulateConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(changed(config, shard="0/2"))
    capsys.readouterr()
    simulate(config, dry_run=True)
    assert "scenes to make: 1," in capsys.readouterr().out


def test_a_dry_run_says_when_the_disk_does_not_suffice(
    config: SimulateConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(config, audio=True)
    simulate(config, dry_run=True)
    assert "does not suffice" not in capsys.readouterr().out
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda _: usage)
    simulate(config, dry_run=True)
    assert "the disk does not suffice" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "share"), [(None, (0, 1)), ("0/1", (0, 1)), ("3/12", (3, 12))])
def test_shares_are_written_i_of_n(text: str | None, share: tuple[int, int]) -> None:
    assert _share_of(text) == share


@pytest.mark.parametrize("text", ["3/3", "4/3", "0/0", "-1/3", "1", "one/two", "1/2/3", "", "1/2x"])
def test_other_shares_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected i/n") as error:
        _share_of(text)
    assert f"shard={text!r}" in str(error.value)
