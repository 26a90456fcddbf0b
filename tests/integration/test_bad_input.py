# SPDX-License-Identifier: Apache-2.0
"""What bad input gets: one line that names it, exit code 2, and nothing written.

Commands are called as functions here, which an unexpected error would leave with its traceback;
`test_messages_reach_a_shell` sees that processes behave alike.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from msdet.cli import main

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("same_home")]

RATE = 8000


def tree(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused; returns its one line."""

    def message(*arguments: str) -> str:
        before = tree(tmp_path)
        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert shown.err.count("\n") == 1, shown.err
        assert shown.out == ""
        assert tree(tmp_path) == before, "something was written"
        line = shown.err.rstrip("\n")
        assert line.startswith(f"msdet {arguments[0]}: ")
        assert len(line) < 500
        return line

    return message


def write_speech(path: Path, seconds: float = 2.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * RATE)), RATE)


def write_recording(path: Path, audio: np.ndarray) -> Path:
    """``[mic, sample]`` to a file."""
    soundfile.write(path, audio.T, RATE, subtype="FLOAT")
    return path


def noise(num_mics: int = 4, num_samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((num_mics, num_samples))


# --- configs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainer.epoch=3", "trainer.epoch"),
        ("trainer.epochs=many", "trainer.epochs='many'"),
        ("trainer.epochs=0", "trainer.epochs=0"),
        ("criterion.assignment=azimut", "criterion.assignment='azimut'"),
        ("criterion.weight=1.5", "criterion.weight=1.5"),
        ("experiment=quikstart", "quikstart"),
        ("array=circle5", "circle5"),
        ("sample_rate=[1", "sample_rate"),
        ("output", "'output'"),
        ("scene.t60=[.5,.2]", "scene.t60=[0.5, 0.2]"),
        ("scene.t60=[.05,.05]", "scene.t60=[0.05, 0.05]"),
        ("scene.speaker.min_angle=200", "scene.speaker.min_angle=200"),
        ("scene.speaker.distance=[9,10]", "scene.speaker.distance=[9.0, 10.0]"),
        ("scene.reference_mic=4", "scene.reference_mic=4"),
        ("data.batch_size=100", "data.batch_size=100"),
        ("data.crop_seconds=.01", "data.crop_seconds=0.01"),
        ("trainer.freeze=[encodr]", "trainer.freeze: there is no part 'encodr'"),
    ],
)
def test_config(refused: Callable[..., str], tmp_path: Path, override: str, named: str) -> None:
    line = refused("train", "experiment=debug", f"output={tmp_path / 'run'}", override)
    assert named in line


def test_missing_setting(refused: Callable[..., str]) -> None:
    assert "checkpoint=VALUE" in refused("evaluate")


# --- folders ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "evaluate", "simulate", "separate"])
def test_output_is_a_file(
    refused: Callable[..., str], trained: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "out").write_text("precious")
    settings = {
        "train": ["experiment=debug"],
        "evaluate": [f"checkpoint={trained / 'model.ckpt'}"],
        "simulate": [],
        "separate": [f"checkpoint={trained / 'model.ckpt'}", "recording=x.wav"],
    }
    line = refused(command, *settings[command], f"output={tmp_path / 'out'}")
    assert f"output={tmp_path / 'out'}: is a file" in line


@pytest.mark.parametrize("command", ["train", "simulate", "separate"])
def test_output_holds_something_else(
    refused: Callable[..., str], trained: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    settings = {
        "train": ["experiment=debug"],
        "simulate": [],
        "separate": [f"checkpoint={trained / 'model.ckpt'}", "recording=x.wav"],
    }
    line = refused(command, *settings[command], f"output={tmp_path}")
    assert f"output={tmp_path}: is not empty" in line


def test_output_cannot_be_made(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    for command in (("train", "experiment=debug"), ("simulate",)):
        assert str(tmp_path / "file") in refused(*command, f"output={tmp_path / 'file' / 'run'}")


def test_rows_of_another_checkpoint(
    refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    for name in ("rows.jsonl", "rows.meta.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    line = refused(
        "evaluate", f"checkpoint={trained / 'last.ckpt'}", f"output={tmp_path}", "num_scenes=1"
    )
    assert "holds rows of another evaluation" in line


# --- corpora ------------------------------------------------------------------------------


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Six speakers, two recordings each."""
    folder = tmp_path / "voices"
    for speaker in "abcdef":
        for take in "12":
            write_speech(folder / speaker / f"{take}.wav")
    return folder


@pytest.fixture
def refused_corpus(refused: Callable[..., str], voices: Path, tmp_path: Path) -> Callable[[], str]:
    def message() -> str:
        return refused(
            "train",
            "experiment=debug",
            "corpus=folder",
            f"corpus.path={voices}",
            f"output={tmp_path / 'run'}",
        )

    return message


def test_corpus_with_one_speaker(refused_corpus: Callable[[], str], voices: Path) -> None:
    for speaker in "bcdef":
        (voices / speaker).rename(voices / "a" / speaker)
    line = refused_corpus()
    assert str(voices) in line
    assert "1 speakers" in line


def test_text_in_a_wav(refused_corpus: Callable[[], str], voices: Path) -> None:
    (voices / "c" / "3.wav").write_text("Dear diary")
    assert f"{voices / 'c' / '3.wav'}: cannot be read as audio" in refused_corpus()


def test_silent_recording_in_a_corpus(refused_corpus: Callable[[], str], voices: Path) -> None:
    soundfile.write(voices / "c" / "3.wav", np.zeros(2 * RATE), RATE)
    assert f"{voices / 'c' / '3.wav'}: is silent" in refused_corpus()


def test_empty_corpus(refused_corpus: Callable[[], str], voices: Path) -> None:
    for path in voices.rglob("*.wav"):
        path.unlink()
    assert f"{voices}: no audio" in refused_corpus()


def test_missing_corpus(refused: Callable[..., str], tmp_path: Path) -> None:
    settings = ("corpus=folder", f"corpus.path={tmp_path / 'nowhere'}")
    line = refused("train", "experiment=debug", *settings, f"output={tmp_path / 'run'}")
    assert f"corpus.path: {tmp_path / 'nowhere'} does not exist" in line


# --- checkpoints --------------------------------------------------------------------------


@pytest.fixture
def bad_checkpoint(trained: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(kind: str) -> Path:
        path = tmp_path / f"{kind}.ckpt"
        content = (trained / "model.ckpt").read_bytes()
        match kind:
            case "half":
                path.write_bytes(content[: len(content) // 2])
            case "empty":
                path.write_bytes(b"")
            case "text":
                path.write_text("not a checkpoint")
            case "foreign":
                torch.save({"state_dict": {"weight": torch.zeros(3)}}, path)
            case "tensor":
                torch.save(torch.zeros(3), path)
            case "pickle":
                torch.save({"msdet": Path("x")}, path)
            case "newer":
                whole = torch.load(trained / "model.ckpt", weights_only=True)
                whole["msdet"]["format"] = 99
                torch.save(whole, path)
            case "lacking":
                whole = torch.load(trained / "model.ckpt", weights_only=True)
                whole["weights"].pop(next(iter(whole["weights"])))
                torch.save(whole, path)
        return path

    return make


@pytest.mark.parametrize(
    "kind", ["missing", "half", "empty", "text", "foreign", "tensor", "pickle", "newer", "lacking"]
)
def test_checkpoint(
    refused: Callable[..., str], bad_checkpoint: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    path = bad_checkpoint(kind)
    assert str(path) in refused("evaluate", f"checkpoint={path}", f"output={tmp_path / 'new'}")


def test_cut_checkpoint_is_refused_by_every_command(
    refused: Callable[..., str], bad_checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = bad_checkpoint("half")
    recording = write_recording(tmp_path / "recording.wav", noise())
    output = f"output={tmp_path / 'new'}"
    for command in (
        ("train", "experiment=debug", f"init_from={path}"),
        ("separate", f"checkpoint={path}", f"recording={recording}"),
    ):
        assert f"{path}: is cut or damaged" in refused(*command, output)


def test_training_state_cut_in_half(
    refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    """An unfinished run whose `last.ckpt` was damaged."""
    folder = tmp_path / "run"
    folder.mkdir()
    config = (trained / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace(str(trained), str(folder)))
    content = (trained / "last.ckpt").read_bytes()
    (folder / "last.ckpt").write_bytes(content[: len(content) // 2])
    assert main(["train", "experiment=debug", f"output={folder}"]) == 2
    assert (folder / "last.ckpt").read_bytes() == content[: len(content) // 2]


@pytest.mark.parametrize("content", ["", '{"examples": 1', "[1]", "[" * 100_000])
def test_what_a_trained_run_measured_is_damaged(
    trained: Path,
    debug: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    (folder / "summary.json").unlink()
    (folder / "trained.json").write_text(content)
    assert main(["train", *debug, f"output={folder}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"msdet train: {folder / 'trained.json'}: is damaged")
    assert "delete it; the same command makes it" in line


def test_a_corpus_that_is_elsewhere_now(
    refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    """Its path was relative to the folder that training was started in."""
    whole = torch.load(trained / "model.ckpt", weights_only=True)
    whole["msdet"]["config"]["corpus"] = {"name": "folder", "path": "my-voices"}
    torch.save(whole, tmp_path / "model.ckpt")
    line = refused("evaluate", f"checkpoint={tmp_path / 'model.ckpt'}", f"output={tmp_path / 'x'}")
    assert f"checkpoint={tmp_path / 'model.ckpt'}: the corpus of its training" in line
    assert "my-voices does not exist" in line
    assert "give corpus=folder corpus.path=FOLDER" in line


def test_weights_of_another_model(
    refused: Callable[..., str], trained: Path, tmp_path: Path
) -> None:
    line = refused(
        "train",
        "experiment=debug",
        f"output={tmp_path / 'run'}",
        "model.encoder.channels=[12]",
        f"init_from={trained / 'model.ckpt'}",
    )
    assert f"init_from={trained / 'model.ckpt'}: is from another model" in line
    assert "encoder" in line


# --- scenes -------------------------------------------------------------------------------


def test_scenes_that_are_none(refused: Callable[..., str], trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "scenes.jsonl"
    settings = ("evaluate", f"checkpoint={trained / 'model.ckpt'}", f"scenes={path}")
    output = f"output={tmp_path / 'new'}"
    assert str(path) in refused(*settings, output)
    path.write_text("{}\n")
    assert f"{path}:1" in refused(*settings, output)


def test_scenes_of_another_corpus(
    refused: Callable[..., str], trained: Path, simulated: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scenes.jsonl"
    text = (simulated / "scenes.jsonl").read_text()
    row = text.splitlines()[0]
    fingerprint = row[row.index('"corpus":"') + 10 :].split('"')[0]
    path.write_text(text.replace(fingerprint, "0" * len(fingerprint)))
    line = refused(
        "evaluate",
        f"checkpoint={trained / 'model.ckpt'}",
        f"scenes={path}",
        f"output={tmp_path / 'new'}",
    )
    assert "drawn from corpus" in line


def test_scenes_that_cannot_be(refused: Callable[..., str], tmp_path: Path) -> None:
    output = f"output={tmp_path / 'new'}"
    assert "seconds=1e-05" in refused("simulate", output, "seconds=1e-5")
    assert "scene.num_speakers" in refused("simulate", output, "scene.num_speakers=[2,9]")
    assert "scene.t60=[3.0, 2.0]" in refused("simulate", output, "scene.t60=[3,2]")


# --- recordings ---------------------------------------------------------------------------


def with_nan() -> np.ndarray:
    audio = noise()
    audio[2, 100] = np.nan
    return audio


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        (with_nan(), "holds NaN"),
        (noise(num_mics=2), "2 channels, but the array 'circle4' has 4 microphones"),
        (noise(num_mics=1), "is mono"),
        (noise(num_mics=5), "5 channels"),
        (noise(num_samples=100), "too short"),
        (noise(num_samples=0), "holds no samples"),
        (np.zeros((4, RATE)), "silent"),
    ],
    ids=["nan", "two channels", "mono", "five channels", "short", "empty", "silent"],
)
def test_recording(
    refused: Callable[..., str], trained: Path, tmp_path: Path, audio: np.ndarray, said: str
) -> None:
    path = write_recording(tmp_path / "recording.wav", audio)
    line = refused(
        "separate",
        f"recording={path}",
        f"checkpoint={trained / 'model.ckpt'}",
        f"output={tmp_path / 'new'}",
    )
    assert str(path) in line
    assert said in line


def test_recording_that_is_none(refused: Callable[..., str], trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "recording.wav"
    settings = ("separate", f"recording={path}", f"checkpoint={trained / 'model.ckpt'}")
    output = f"output={tmp_path / 'new'}"
    assert f"{path}: no such file" in refused(*settings, output)
    path.write_text("Dear diary")
    assert f"{path}: cannot be read as audio" in refused(*settings, output)


# --- disks and shells ---------------------------------------------------------------------


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Let writing beyond so many bytes fail, here and in processes that are started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_while_simulating(
    largest_file: Callable[[int], None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "scenes"
    settings = ("sample_rate=8000", "num_scenes=2", "seconds=8", "audio=true", "num_workers=1")
    largest_file(900_000)
    assert main(["simulate", f"output={folder}", *settings]) == 2
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith(f"msdet simulate: {folder}: cannot be written")
    assert "goes on from here" in shown
    assert not [path for path in folder.glob("audio/*") if not path.name.startswith(".")]


def test_messages_reach_a_shell(start: Callable[..., Any], tmp_path: Path) -> None:
    result = start("train", "experiment=debug", f"output={tmp_path / 'run'}", "trainr=3").finish()
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "trainr" in result.err
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "checkpoint=nowhere.ckpt", "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-1] == "msdet evaluate: checkpoint=nowhere.ckpt: no such file"
