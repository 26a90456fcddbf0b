# SPDX-License-Identifier: Apache-2.0
"""The benchmarks are what their manifest says, what their script draws, and what they are named."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

import msdet.benchmarks
from msdet.benchmarks import benchmark_names, benchmark_path, benchmarks, scenes_file
from msdet.composing import compose
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.datasets.many_arrays import build_arrays
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.parsing import parse
from msdet.resources import benchmarks_dir
from msdet.simulation import Scene, check_corpus, compute_rirs, read_scenes, render
from msdet.simulation.chosen_scenes import to_seam, widest_angle
from msdet.simulation.scene_files import rows_of
from msdet.training.config import TrainConfig

NAMES = (
    "bundled-easy",
    "bundled-hard",
    "bundled-seam",
    "bundled-opposite",
    "bundled-three",
    "bundled-unseen-array",
    "bundled-one",
    "bundled-line",
    "bundled-conversation",
    "bundled-moving",
)
COUNTS = dict.fromkeys(NAMES, 200) | {"bundled-conversation": 20, "bundled-moving": 100}
SCRIPT = Path(__file__).parents[1] / "scripts" / "build_benchmarks.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_benchmarks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_benchmarks"] = module  # dataclasses look up annotations there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return open_corpus(BundledConfig(), 16000).split("test")


@pytest.fixture(scope="module")
def scenes() -> dict[str, tuple[Scene, ...]]:
    return {name: read_scenes(benchmark_path(name)) for name in NAMES}


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The benchmarks in a folder of the test, which is then the installed one."""
    folder = tmp_path / "benchmarks"
    shutil.copytree(benchmarks_dir(), folder)
    monkeypatch.setattr(msdet.benchmarks, "benchmarks_dir", lambda: folder)
    return folder


def test_they_are_all_there() -> None:
    assert benchmark_names() == NAMES
    listed = {benchmark.file for benchmark in benchmarks().values()} | {"benchmarks.json"}
    assert {path.name for path in benchmarks_dir().iterdir()} == listed
    assert sum(path.stat().st_size for path in benchmarks_dir().iterdir()) < 400_000


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_is_true(
    name: str, scenes: dict[str, tuple[Scene, ...]], corpus: Corpus
) -> None:
    said, held = benchmarks()[name], scenes[name]
    content = (benchmarks_dir() / said.file).read_bytes()
    assert hashlib.sha256(content).hexdigest() == said.sha256
    assert len(held) == said.num_scenes == COUNTS[name]
    assert {scene.corpus for scene in held} == {said.corpus} == {corpus.fingerprint}
    assert {scene.sample_rate for scene in held} == {said.sample_rate} == {16000}
    assert {scene.num_samples for scene in held} == {round(said.seconds * said.sample_rate)}
    assert {scene.split for scene in held} == {"test"}
    assert [scene.index for scene in held] == list(range(COUNTS[name]))
    check_corpus(held, corpus)


@pytest.mark.parametrize("name", NAMES)
def test_the_script_draws_the_same_scenes(
    name: str, script: ModuleType, corpus: Corpus, scenes: dict[str, tuple[Scene, ...]]
) -> None:
    (recipe,) = (recipe for recipe in script.RECIPES if recipe.name == name)
    assert list(rows_of(script.draw(recipe, corpus, 4))) == list(rows_of(scenes[name][:4]))
    settings = benchmarks()[name].settings
    assert settings["scene"] == recipe.scene.model_dump(mode="json")
    assert settings["arrays"] == [array.model_dump(mode="json") for array in recipe.arrays]


def test_the_script_writes_files_and_manifest(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tuple(replace(recipe, count=2) for recipe in script.RECIPES)
    monkeypatch.setattr(script, "RECIPES", few)
    written = []
    for name in ("once", "again"):
        assert script.main(["--output", str(tmp_path / name)]) == 0
        files = sorted((tmp_path / name).iterdir())
        written.append([(path.name, path.read_bytes()) for path in files])
    assert written[0] == written[1]
    assert len(written[0]) == 1 + len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_scenes_are_within_their_ranges(name: str, scenes: dict[str, tuple[Scene, ...]]) -> None:
    hard = name == "bundled-hard"
    t60, farthest, angle = ((0.3, 0.7), 3.0, 5.0) if hard else ((0.15, 0.35), 2.5, 15.0)
    counts = {"bundled-three": {3}, "bundled-one": {1}, "bundled-conversation": {2, 3, 4}}
    noise = {"bundled-hard": (5, 15), "bundled-one": (5, 20), "bundled-conversation": (10, 20)}
    for scene in scenes[name]:
        speakers = scene.room.speakers
        assert len(speakers) == len({crop.utterance for crop in scene.speech})
        count = len(speakers)
        assert count in counts.get(name, {2})
        assert t60[0] <= scene.room.t60 <= t60[1]
        for speaker in speakers:
            assert 0.7 - 1e-5 <= speaker.distance <= farthest + 1e-5
            assert 0 <= speaker.azimuth <= (180 if name == "bundled-line" else 360)
        azimuths = np.array([s.azimuth for s in speakers])
        apart = np.abs((azimuths[:, None] - azimuths + 180) % 360 - 180)[~np.eye(count, dtype=bool)]
        assert apart.min(initial=180) >= angle - 1e-5
        if name in noise:
            assert scene.background is not None
            assert scene.background.kind == "diffuse"
            assert noise[name][0] <= scene.background.snr_db <= noise[name][1]
        else:
            assert scene.background is None
        assert scene.room.rirs == ("hybrid" if name == "bundled-moving" else "exact")
        assert len(scene.paths) == (2 if name == "bundled-moving" else 0)


def test_each_one_is_what_it_is_called(scenes: dict[str, tuple[Scene, ...]]) -> None:
    assert all(
        sorted(angle < 15 for angle in to_seam(s.room)) == [False, True]
        for s in scenes["bundled-seam"]
    )
    assert all(widest_angle(s.room) > 165 for s in scenes["bundled-opposite"])
    unseen = [s.microphone_array() for s in scenes["bundled-unseen-array"]]
    assert [array.name for array in unseen] == ["l5", "triangle3"] * 100
    sides = np.linalg.norm(unseen[1].as_array() - np.roll(unseen[1].as_array(), 1, 0), axis=1)
    np.testing.assert_allclose(sides, 0.06, atol=1e-6)
    np.testing.assert_allclose(unseen[0].aperture, 0.08 * np.sqrt(2), atol=1e-9)
    assert {s.array.name for s in scenes["bundled-line"]} == {"line4"}
    named = {"bundled-unseen-array", "bundled-line"}
    rest = (s for name in NAMES if name not in named for s in scenes[name])
    assert {s.array.name for s in rest} == {"circle4"}
    talks = scenes["bundled-conversation"]
    assert all(s.is_conversation and len(s.heard) == len(s.room.speakers) for s in talks)
    assert {len(s.heard) for s in talks} == {2, 3, 4}
    seconds = np.arange(0, 8, 0.1)
    walks = [np.unwrap(s.azimuths(seconds), period=360) for s in scenes["bundled-moving"]]
    assert np.median(np.ptp(walks, axis=-1)) > 90


def test_training_on_many_arrays_has_none_of_the_unseen_shapes(
    scenes: dict[str, tuple[Scene, ...]],
) -> None:
    config = parse(TrainConfig, compose("train", ["experiment=planar_pairs"]))
    trained = build_arrays(config.data.arrays, config.array.build(), config.seed)
    for unseen in {s.microphone_array() for s in scenes["bundled-unseen-array"]}:
        same_size = [array for array in trained if array.num_mics == unseen.num_mics]
        apart = [np.abs(gaps(array) - gaps(unseen)).max() for array in same_size]
        assert len(apart) > 3
        assert min(apart) > 2e-3, "metres, between the gaps of two arrays"


def gaps(array: MicrophoneArray) -> NDArray[np.float64]:
    """All gaps between microphones, which no rotation and no numbering changes."""
    return np.asarray(np.sort(pdist(array.as_array())))


def test_no_two_scenes_share_speech_or_id(scenes: dict[str, tuple[Scene, ...]]) -> None:
    every = [scene for held in scenes.values() for scene in held]
    assert len({scene.id for scene in every}) == len({scene.speech for scene in every}) == 1720


def test_full_band_speakers_alone(scenes: dict[str, tuple[Scene, ...]], corpus: Corpus) -> None:
    heard = {crop.utterance for held in scenes.values() for s in held for crop in s.speech}
    assert {corpus.by_id(utterance).bandwidth_hz for utterance in heard} == {8000}
    assert len(heard) == len(corpus.speakers) == 5
    narrow = set(open_corpus(BundledConfig(), 8000).split("test").speakers) - set(corpus.speakers)
    assert len(narrow) == 3, "docs/benchmarks.md counts them"


@pytest.mark.parametrize(
    "name",
    [
        "bundled-hard",
        "bundled-unseen-array",
        "bundled-line",
        "bundled-conversation",
        "bundled-moving",
    ],
)
def test_they_can_be_rendered(
    name: str, scenes: dict[str, tuple[Scene, ...]], corpus: Corpus
) -> None:
    scene = scenes[name][0]
    array = scene.microphone_array()
    example = render(scene, corpus, compute_rirs(scene.room, array, scene.sample_rate))
    assert example.mixture.shape == (array.num_mics, 16000 * benchmarks()[name].seconds)
    assert np.isfinite(example.mixture).all()


# --- names and files ----------------------------------------------------------------------


def test_a_name_or_a_path_is_a_file_of_scenes(tmp_path: Path) -> None:
    assert scenes_file("bundled-easy") == benchmark_path("bundled-easy")
    path = tmp_path / "mine.jsonl"
    path.write_text("{}")
    assert scenes_file(str(path)) == path


@pytest.mark.parametrize("name", ["bundled-esay", "gone.jsonl", "."])
def test_what_is_neither_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^scenes=.* nor is it a benchmark \(bundled-easy, bund"):
        scenes_file(name)
    with pytest.raises(InputError, match=r"is no benchmark; there are bundled-easy, bundled-hard"):
        benchmark_path(name)


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("bundled-easy.jsonl.xz", lambda p: p.write_bytes(p.read_bytes() + b"x"), "was changed"),
        ("bundled-easy.jsonl.xz", lambda p: p.unlink(), r"benchmark 'bundled-easy' cannot be read"),
        ("benchmarks.json", lambda p: p.unlink(), "cannot be read"),
        ("benchmarks.json", lambda p: p.write_text("{"), "no JSON"),
        ("benchmarks.json", lambda p: p.write_text("{}"), "benchmarks: Field required"),
    ],
)
def test_damage_is_named(
    file: str, spoil: Callable[[Path], object], message: str, copied: Path
) -> None:
    spoil(copied / file)
    with pytest.raises(InputError, match=f"{file}: .*{message}.*install msdet again") as caught:
        scenes_file("bundled-easy")
    assert "\n" not in str(caught.value)
