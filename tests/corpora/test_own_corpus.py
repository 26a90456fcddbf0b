# SPDX-License-Identifier: Apache-2.0
"""A corpus and noise of the user's own, from the page that tells how: outside the package."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from msdet.commands.simulate import SimulateConfig, simulate
from msdet.composing import compose
from msdet.corpora import open_corpus
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.parts import OwnPart
from msdet.simulation import compute_rirs, read_scenes, render
from msdet.simulation.config import BackgroundRanges
from msdet.simulation.noise_sources import open_noise
from msdet.training.config import TrainConfig

PAGE = (Path(__file__).parents[2] / "docs" / "own-corpus.md").read_text(encoding="utf-8")
RATE = 8000
HUM = {"_target_": "mine.Hum", "pitch": 50}

BROKEN = '''

class Broken(Clips):
    """With one thing that is wrong."""

    def __init__(self, folder, sample_rate, **wrong):
        super().__init__(folder, sample_rate)
        self.wrong = wrong
        self.opened = open(__file__) if wrong.get("opened") else None
        self.fingerprint = wrong.get("fingerprint", self.fingerprint)

    def utterances(self):
        for number, row in enumerate(super().utterances()):
            yield row | self.wrong.get("row", {}) if number == 1 else row

    def read(self, id, start, stop):
        audio = super().read(id, start, stop)
        match self.wrong.get("audio"):
            case "nan":
                audio[5] = np.nan
            case "stereo":
                audio = np.stack([audio, audio], axis=1)
            case "short":
                audio = audio[:-1]
            case "integers":
                audio = (audio * 32767).astype(np.int16)
            case "silent":
                audio = 0 * audio
            case "list":
                audio = audio.tolist()
            case "fails":
                raise OSError("the disk is gone")
        return audio


class BrokenHum(Hum):
    def __init__(self, pitch, sample_rate, nan=False, **wrong):
        super().__init__(pitch, sample_rate)
        self.nan = nan
        vars(self).update(wrong)

    def read(self, name, offset, num_samples):
        audio = super().read(name, offset, num_samples)
        return audio * np.nan if self.nan else audio[:-1]
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user types: with ``mine.py`` of the page, and speech."""
    module, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.py").write_text(module + BROKEN)
    (tmp_path / "speech").mkdir()
    rng = np.random.default_rng(0)
    for number, speaker in enumerate(("ann", "abe", "bob", "bea", "cid", "cat")):
        time = np.arange(3 * RATE) / RATE
        audio = 0.1 * rng.standard_normal(len(time)) * np.abs(np.sin((3 + number) * time))
        soundfile.write(tmp_path / "speech" / f"{speaker}-1.wav", audio, RATE, subtype="FLOAT")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def corpus_of_page() -> dict[str, Any]:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def asked(corpus: dict[str, Any], **changes: Any) -> SimulateConfig:
    values = compose("simulate", ["output=out", f"sample_rate={RATE}", "seconds=1"])
    background = {"kinds": ["diffuse", "point"], "source": HUM}
    values["scene"]["background"] |= changes.pop("background", background)
    return parse(SimulateConfig, values | {"corpus": corpus, "num_scenes": 2} | changes)


def test_simulate_takes_both(folder: Path) -> None:
    simulate(asked(corpus_of_page(), audio=True, num_workers=1))
    scenes = read_scenes("out/scenes.jsonl", [OwnPart(**HUM)])
    corpus = open_corpus(OwnPart(**corpus_of_page()), RATE)
    for scene in scenes:
        assert {corpus.by_id(crop.utterance).speaker for crop in scene.speech} == {"cid", "cat"}
        assert scene.background is not None
        assert scene.background.recordings_fingerprint == "hum at 50 Hz"
        rirs = compute_rirs(scene.room, scene.microphone_array(), RATE)
        example = render(scene, corpus, rirs)
        scale = json.loads(Path("out", "audio", scene.id, "labels.json").read_text())["scale"]
        written, _ = soundfile.read(f"out/audio/{scene.id}/mixture.wav", dtype="float32")
        np.testing.assert_array_equal(written.T, example.mixture * np.float32(scale))


def test_a_file_of_scenes_runs_nobody_s_code(folder: Path) -> None:
    simulate(asked(corpus_of_page()))
    with pytest.raises(InputError, match=r"scenes\.jsonl:1: background: is of .* mine\.Hum"):
        read_scenes("out/scenes.jsonl")
    again = {"scenes": "out/scenes.jsonl", "output": "again", "num_scenes": None}
    other = {"source": HUM | {"pitch": 60}, "kinds": ["diffuse"]}
    for background in ({}, other):
        with pytest.raises(InputError, match="not that of this command"):
            simulate(asked(corpus_of_page(), background=background, **again))
    simulate(asked(corpus_of_page(), **again))
    assert Path("again/scenes.jsonl").read_bytes() == Path("out/scenes.jsonl").read_bytes()


def test_training_draws_from_them(folder: Path) -> None:
    values = compose("train", ["name=a", f"sample_rate={RATE}"])
    values["scene"]["background"] |= {"kinds": ["diffuse"], "source": HUM}
    config = parse(TrainConfig, values | {"corpus": corpus_of_page()})
    assert config.model_dump(mode="json")["corpus"] == corpus_of_page(), "as checkpoints keep it"
    _, code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    example = names["example"]
    assert example.mixture.shape == (4, 8000)
    assert {crop.utterance for crop in example.scene.speech} == {"ann-1", "abe-1"}
    assert example.scene.background.recordings_folder == OwnPart(**HUM)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"_target_": "no_such_module.Clips"}, "no_such_module"),
        ({"_target_": "mine.NoSuch"}, "NoSuch"),
        ({"_target_": "mine.Clips"}, "folder"),
        ({"pitch": 3}, "pitch"),
        ({"_target_": "fractions.Fraction"}, "Fraction cannot be made"),
        ({"_target_": "mine.Broken", "fingerprint": 3}, "fingerprint=3: expected a text"),
        ({"_target_": "mine.Broken", "row": {"split": "dev"}}, r"utterances\(\)\[1\]: split='dev'"),
        ({"_target_": "mine.Broken", "row": {"num_samples": 0}}, r"\[1\]: num_samples=0"),
        ({"_target_": "mine.Broken", "opened": True}, "does not pickle, .* cannot pickle"),
        ({"_target_": "mine.Broken", "row": 3}, r"utterances\(\): TypeError: unsupported operand"),
        ({"_target_": "mine.Broken", "row": {"id": "abe-1"}}, "id 'abe-1' comes twice"),
        (
            {"_target_": "mine.Broken", "row": {"speaker": "bob"}},
            "'bob' is in .* and in .*; splits must share no speaker",
        ),
        ({"_target_": "mine.Broken", "audio": "nan"}, "read.*: holds NaN"),
        ({"_target_": "mine.Broken", "audio": "stereo"}, r"expected shape \(24000,\), got"),
        ({"_target_": "mine.Broken", "audio": "short"}, r"shape \(24000,\), got \(23999,\)"),
        ({"_target_": "mine.Broken", "audio": "integers"}, "expected an array of float32, got int"),
        ({"_target_": "mine.Broken", "audio": "list"}, "expected an array of float32, got list"),
        ({"_target_": "mine.Broken", "audio": "silent"}, "is silent"),
        ({"_target_": "mine.Broken", "audio": "fails"}, "OSError: the disk is gone"),
    ],
)
def test_a_corpus_that_is_none_is_told_before_any_work(
    folder: Path, values: dict[str, Any], told: str
) -> None:
    given = corpus_of_page() | values
    if values == {"_target_": "mine.Clips"}:
        del given["folder"]
    with pytest.raises(InputError, match=told) as raised:
        simulate(asked(given))
    assert str(raised.value).startswith("corpus: ")
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"_target_": "mine.NoNoise"}, "NoNoise"),
        ({"_target_": "mine.Hum", "loudness": 3}, "loudness"),
        ({"nan": True}, "holds NaN"),
        ({"nan": False}, "expected shape"),
        ({"fingerprint": ""}, "fingerprint='': expected a text"),
        ({"lengths": {}}, "expected names with numbers of samples"),
        ({"lengths": {"hum": "long"}}, "'hum': 'long': expected a name with a number"),
        ({"lengths": {"hum": 4000}, "nan": False}, "expected shape|no recording is as long"),
    ],
)
def test_noise_that_is_none_is_told_before_any_work(
    folder: Path, values: dict[str, Any], told: str
) -> None:
    source = {"_target_": "mine.BrokenHum", "pitch": 50} | values
    with pytest.raises(InputError, match=told) as raised:
        simulate(asked(corpus_of_page(), background={"kinds": ["diffuse"], "source": source}))
    assert str(raised.value).startswith("scene.background.source: ")
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()


def test_noise_that_is_shorter_than_scenes_is_told_too(folder: Path) -> None:
    source = OwnPart(_target_="mine.Hum", pitch=50)
    noise = open_noise(BackgroundRanges(kinds=("diffuse",), source=source), RATE)
    assert noise is not None
    with pytest.raises(InputError, match="no recording is as long as a scene of 601 s"):
        noise.at_least(601 * RATE)
