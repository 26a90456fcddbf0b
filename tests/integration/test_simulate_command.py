# SPDX-License-Identifier: Apache-2.0
"""``msdet simulate``: audio on disk is what models see, also after a kill."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import soundfile
import torch

from msdet.cli import main
from msdet.composing import compose
from msdet.corpora import BundledConfig, open_corpus
from msdet.parsing import parse
from msdet.simulation import compute_rirs, read_scenes, render
from msdet.training.config import TrainConfig
from msdet.training.data import open_examples

if TYPE_CHECKING:
    from tests.integration.conftest import Command

pytestmark = pytest.mark.integration


def test_killed_simulation_is_made_complete(simulated: Path) -> None:
    scenes = read_scenes(simulated / "scenes.jsonl")
    assert len(scenes) == 24
    files = {"mixture.wav", "speaker1.wav", "speaker2.wav", "labels.json"}
    there = {path.name: path for path in (simulated / "audio").iterdir()}
    assert there.keys() == {scene.id for scene in scenes}, "nothing else, nothing left over"
    for folder in there.values():
        assert {path.name for path in folder.iterdir()} == files
        json.loads((folder / "labels.json").read_text())
    with (simulated / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_ID"] for row in rows] == [scene.id for scene in scenes]
    assert all((simulated / row["source_2_path"]).is_file() for row in rows)


@pytest.mark.parametrize("index", [0, 23])
def test_audio_is_what_training_and_evaluation_render(simulated: Path, index: int) -> None:
    scene = read_scenes(simulated / "scenes.jsonl")[index]
    corpus = open_corpus(BundledConfig(), 8000).split("test")
    rirs = compute_rirs(scene.room, scene.microphone_array(), 8000)
    example = render(scene, corpus, rirs)
    folder = simulated / "audio" / scene.id
    mixture, rate = soundfile.read(folder / "mixture.wav", dtype="float32")
    assert rate == 8000
    assert np.abs(mixture).max() < 1
    scale = np.float32(json.loads((folder / "labels.json").read_text())["scale"])
    assert np.array_equal(mixture.T / scale, example.mixture)
    for i, target in enumerate(example.targets, start=1):
        speech, _ = soundfile.read(folder / f"speaker{i}.wav", dtype="float32")
        assert np.array_equal(speech / scale, target)


SETTINGS = ("num_scenes=24", "seconds=2", "sample_rate=8000", "audio=true")


@pytest.mark.usefixtures("same_home")
def test_other_scenes_do_not_enter_a_folder(
    simulated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in simulated.rglob("*")}
    settings = ["simulate", f"output={simulated}", *SETTINGS]
    assert main(settings) == 0, "the same scenes: nothing to do"
    capsys.readouterr()
    assert main([*settings, "seed=1"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert str(simulated) in message
    assert "holds another set of scenes (seed was 0, is 1)" in message
    assert {path: path.stat().st_mtime_ns for path in simulated.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_jobs_in_processes_and_archives_make_the_same_mixtures(
    simulated: Path, start: Callable[..., Command], tmp_path: Path
) -> None:
    """Two jobs at the same time, of which one is killed and given again; then a third share."""
    command = ["simulate", f"output={tmp_path / 'out'}", *SETTINGS, "format=tar"]
    tars = tmp_path / "out" / "shards"
    killed = start(*command, "shard=0/3", "num_workers=2")
    killed.wait_until(lambda: any((tmp_path / "out").glob(".shard-*/.*.tar.*")))
    other = start(*command, "shard=2/3", "num_workers=1")
    killed.kill()
    there = {path.name: path.stat().st_mtime_ns for path in tars.glob("*")}
    assert other.finish().code == 0
    assert main([*command, "shard=0/3"]) == 0
    assert all((tars / name).stat().st_mtime_ns == changed for name, changed in there.items())
    assert not (tmp_path / "out" / "scenes.jsonl").exists()
    assert main([*command, "shard=1/3"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {"simulation.json", "files", "scenes", "shards", "scenes.jsonl", "metadata.csv"}
    assert names == expected, "nothing left over"
    scenes = tmp_path / "out" / "scenes.jsonl"
    assert scenes.read_bytes() == (simulated / "scenes.jsonl").read_bytes()
    for path in tars.iterdir():
        with tarfile.open(path) as archive:
            for member in archive:
                id, _, name = member.name.partition(".")
                file = simulated / "audio" / id / ("labels.json" if name == "json" else name)
                content = archive.extractfile(member)
                assert content is not None
                assert content.read() == file.read_bytes(), member.name


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_process_that_is_lost_is_replaced(
    simulated: Path, start: Callable[..., Command], tmp_path: Path
) -> None:
    """As by a machine that runs out of memory."""
    output = tmp_path / "out"
    running = start("simulate", f"output={output}", *SETTINGS, "num_workers=2")
    running.wait_until(lambda: any(output.glob("audio/*")))
    workers = psutil.Process(running.process.pid).children(recursive=True)
    rendering = [w for w in workers if "spawn_main" in " ".join(w.cmdline())]
    rendering[0].kill()
    finished = running.finish()
    assert finished.code == 0, finished.err
    assert "a process was lost" in finished.err
    for path in simulated.rglob("*.*"):
        assert path.is_dir() or (output / path.relative_to(simulated)).read_bytes() == (
            path.read_bytes()
        )


@pytest.mark.slow
def test_a_full_disk_is_named_and_leaves_nothing_half(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    """The files of a mixture fit under the limit, an archive of two does not."""
    output = tmp_path / "out"
    limited = start(
        "simulate",
        f"output={output}",
        *SETTINGS,
        "format=tar",
        "num_workers=1",
        largest_file=300_000,
    ).finish()
    assert limited.code == 2
    tar = output / "shards" / "shard-000000.tar"
    assert f"{tar}: cannot be written (File too large)" in limited.err.replace("\n", " ")
    assert not list(output.glob(".*")), "nothing half is left"
    assert not list(output.glob("scenes/*"))
    assert not list(output.glob("shards/*"))


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_network_is_trained_on_mixtures_of_either_format(
    debug: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scenes = ["num_scenes=9", "seconds=3", "sample_rate=8000", "audio=true", "split=train"]
    corpus = debug[1:]
    runs = {}
    for format in ("tar", "folder"):
        output = tmp_path / format
        assert main(["simulate", f"output={output}", *scenes, *corpus, f"format={format}"]) == 0
        command = ["train", *debug, f"data.simulated={output}", f"output={tmp_path / 'run'}"]
        assert main([*command, "trainer.epochs=2", "evaluate=false"]) == 0
        weights = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
        runs[format] = {name: weight.numpy().tobytes() for name, weight in weights.items()}
        (tmp_path / "run").rename(tmp_path / f"run_{format}")
    assert runs["tar"] == runs["folder"], "the same mixtures, the same crops"
    capsys.readouterr()
    assert main([*command, "array=line4"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"data.simulated={output}: scene train-e000-000000: array 'circle4'" in message
    assert not (tmp_path / "run").exists(), "refused before training"


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_a_run_goes_on_with_the_mixtures_that_it_began_with(
    debug: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, run = tmp_path / "mixtures", tmp_path / "run"
    simulated = ["simulate", f"output={output}", "num_scenes=8", "seconds=2", "split=train"]
    simulated += ["sample_rate=8000", "audio=true", "format=tar", "shard_size=2", *debug[1:]]
    assert main([*simulated, "shard=0/2"]) == 0
    command = ["train", *debug, f"data.simulated={output}", f"output={run}", "evaluate=false"]
    command.append("trainer.epochs=1")
    assert main(command) == 0
    (run / "summary.json").unlink()  # as if it had been stopped at its end
    assert main(command) == 0
    (run / "summary.json").unlink()
    assert main(simulated) == 0
    capsys.readouterr()
    assert main(command) == 2
    assert "holds 8 mixtures, other ones than the 4 that" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("same_home")
def test_training_hears_stored_mixtures_in_all_poses(
    debug: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "mixtures"
    command = ["simulate", f"output={output}", "num_scenes=2", "seconds=2", "split=train"]
    command += ["sample_rate=8000", "audio=true", "format=tar", *debug[1:]]
    assert main([*command, "targets_at=symmetric"]) == 0
    turns = {}
    for use_symmetry in ("true", "false"):
        overrides = [f"data.simulated={output}", f"scene.use_symmetry={use_symmetry}"]
        config = parse(TrainConfig, compose("train", [*debug, *overrides]))
        array = config.array.build()
        corpus = open_corpus(config.corpus, config.sample_rate)
        examples: Any = open_examples(config, array, corpus).examples
        rooms = [examples.example(epoch, 0).scene.room for epoch in range(16)]
        turns[use_symmetry] = {(room.size, room.array_rotation) for room in rooms}
    assert len(turns["false"]) == 2, "as many as there are mixtures"
    assert turns["false"] < turns["true"]
    assert len(turns["true"]) > 4
