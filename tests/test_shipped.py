# SPDX-License-Identifier: Apache-2.0
"""Models that ship: found by name, listed, one of them the default."""

from __future__ import annotations

import json
import shutil
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import oaconvolve

import msdet
from msdet.benchmarks import benchmark_names, benchmark_path
from msdet.checkpoints import load_checkpoint
from msdet.cli import main
from msdet.corpora import BundledConfig, open_corpus
from msdet.datasets import SimulatedMixtures
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.shipped import default_model, shipped_models
from msdet.simulation import SceneConfig, compute_rirs, draw_room
from msdet.simulation.scene_files import read_scenes


@pytest.fixture
def bundle(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, the second in the alphabet being the default."""
    for name in ("large", "small"):
        shutil.copy(saved, tmp_path / f"{name}.ckpt")
    (tmp_path / "small.md").write_text("# small\n\nTwo voices around a table.\n")
    (tmp_path / "default").write_text("small\nlarge\n")
    monkeypatch.setattr("msdet.shipped.models_dir", lambda: tmp_path)
    return tmp_path


def test_a_model_has_a_name(bundle: Path) -> None:
    assert msdet.load("large").path == bundle / "large.ckpt"
    assert default_model().name == "small"
    assert default_model(linear=True).name == "large"
    (bundle / "default").write_text("small\n")
    assert default_model(linear=True).name == "small"


def test_an_unknown_name_is_answered_with_those_that_are_known(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint=smal: .*large, small; did you mean 'small'"):
        msdet.load("smal")


def test_a_folder_of_that_name_is_in_nobodys_way(
    bundle: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    Path("large").mkdir()
    assert msdet.load("large").path == bundle / "large.ckpt"
    with pytest.raises(InputError, match=r"is a folder; name the model\.ckpt in it"):
        msdet.load(Path.cwd())


def test_a_file_is_a_file(bundle: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.ckpt: no such file$"):
        msdet.load("gone.ckpt")


def test_models_are_listed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    large, small = capsys.readouterr().out.splitlines()
    assert large.startswith("large (default for lines): ")
    assert small.startswith("small (default): ")
    for shown in ("8000 Hz", "2 speakers", "circle4", "Two voices around a table."):
        assert shown in small


def test_without_any_the_error_says_what_to_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("msdet.shipped.models_dir", lambda: tmp_path)
    with pytest.raises(InputError, match="checkpoint=FILE"):
        default_model()


# --- what ships ---------------------------------------------------------------------------

MAX_BYTES = 12_000_000
ONLY = {"line-pairs": {"bundled-line"}}
"""The benchmarks of a model that is not for all of the others."""
RESULTS = Path(__file__).parents[1] / "docs" / "results" / "shipped.json"


def test_what_ships_is_small_and_has_a_card_and_results() -> None:
    models = shipped_models()
    assert default_model() in models
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert set(results) == {model.name for model in models}
    for model in models:
        assert model.path.stat().st_size <= MAX_BYTES
        assert model.summary
        others = set(benchmark_names()) - {"bundled-line"}
        assert set(results[model.name]) == ONLY.get(model.name, others)
        for name, summary in results[model.name].items():
            assert summary["num_scenes"] == len(read_scenes(benchmark_path(name)))
            assert f"checkpoint={model.name} scenes={name}" in summary["command"]


def test_a_model_that_ships_separates_on_an_array_by_name() -> None:
    separator = msdet.load(default_model().name)
    audio = np.random.default_rng(0).standard_normal((4, separator.description.sample_rate))
    result = separator.separate(audio, separator.description.sample_rate, "respeaker4")
    assert result.audio.shape[1] == audio.shape[1]
    assert np.isfinite(result.audio).all()
    assert result.num_speakers <= separator.description.trained_speakers[1]


@pytest.mark.parametrize("combined", [False, True])
def test_the_last_step_takes_reverberation_away(combined: bool) -> None:
    """Also as an average, without the weights that were fitted."""
    model = load_checkpoint(default_model().path).model
    if not combined:
        model.combiner = None
    corpus = open_corpus(BundledConfig(), model.sample_rate).split("valid")
    scene = SceneConfig.model_validate({"t60": [0.3, 0.5], "rirs": "hybrid"})
    mixtures = SimulatedMixtures(
        corpus, model.array, scene, length=2, num_samples=4 * model.sample_rate, split="valid"
    )
    gains = []
    for index in range(2):
        example = mixtures.example(0, index)
        heard = torch.from_numpy(example.mixture)[None]
        with torch.inference_mode():
            stages = model(heard / heard[:, 0].std()).stages
        before, after = (
            max(
                np.mean([si_sdr(audio[slot], target) for slot, target in pairs])
                for audio in [model.stft.inverse(stage[0], heard.shape[-1]).numpy()]
                for pairs in (
                    zip(order, example.targets, strict=True)
                    for order in permutations(range(model.num_slots), 2)
                )
            )
            for stage in stages[-2:]
        )
        gains.append(after - before)
    assert min(gains) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_one_voice_alone_is_one_speaker(seed: int) -> None:
    """Though it was trained on two people who speak at once."""
    separator = msdet.load(default_model().name)
    array, rate = separator.description.array, separator.description.sample_rate
    scene = SceneConfig.model_validate({"num_speakers": [1, 1], "t60": [0.2, 0.4]})
    room = draw_room(scene, array, np.random.default_rng(seed))
    corpus = open_corpus(BundledConfig(), rate).split("test")
    speech = corpus.read(max(corpus.utterances, key=lambda utterance: utterance.duration))
    image = compute_rirs(room, array, rate).image[0]
    audio = np.stack([oaconvolve(speech, response) for response in image])
    audio += 1e-3 * audio.std() * np.random.default_rng(1).standard_normal(audio.shape)
    result = separator.separate(audio, rate)
    assert result.num_speakers == 1
    assert angular_error(result.azimuth[0], room.speakers[0].azimuth) <= 5.0
