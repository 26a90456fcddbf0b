# SPDX-License-Identifier: Apache-2.0
"""Examples are pure functions of their numbers, however many processes and devices make them."""

from __future__ import annotations

import functools
import pickle
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from msdet.corpora import Corpus, Utterance
from msdet.corpora.corpus import make_corpus
from msdet.datasets import (
    Batch,
    DataConfig,
    ExampleSampler,
    FixedScenes,
    SimulatedMixtures,
)
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    Example,
    RirBank,
    RoomSet,
    SceneConfig,
    fixed_scenes,
    rirs_folder,
)
from msdet.training import data as data_module
from msdet.training.data import MixtureData

RATE = 8000
SAMPLES = 3000
SCENE = SceneConfig.model_validate(
    {
        "room": {"length": (4, 5), "width": (4, 5), "height": (2.5, 2.6)},
        "t60": (0.15, 0.18),
        "speaker": {"distance": (0.7, 1.2)},
    }
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three voices to train on and two to validate with, a file of 2 s each."""
    root = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(5):
        loudness = np.abs(np.sin(np.arange(2 * RATE) * (5 + number) / RATE))
        soundfile.write(
            root / f"{number}.wav", 0.1 * rng.standard_normal(2 * RATE) * loudness, RATE
        )
        rows.append(
            Utterance(
                id=f"u{number}",
                speaker=f"s{number}",
                split="train" if number < 3 else "valid",
                path=f"{number}.wav",
                duration=2.0,
                sample_rate=RATE,
                bandwidth_hz=4000,
                num_bytes=(root / f"{number}.wav").stat().st_size,
            )
        )
    return make_corpus("tiny", root, rows, RATE)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, MicrophoneArray]) -> RirBank:
    return RirBank(tmp_path_factory.mktemp("rirs"), arrays["circle4"], RATE)


def training(corpus: Corpus, bank: RirBank, **changes: Any) -> SimulatedMixtures:
    keys: dict[str, Any] = {"seed": 0, "length": 6, "rooms": 4} | changes
    rooms = keys.pop("rooms", 4)
    if rooms is not None:
        rooms = RoomSet(SCENE, bank.array, keys.get("seed", 0), "train", rooms)
    return SimulatedMixtures(
        corpus, bank.array, SCENE, num_samples=SAMPLES, rooms=rooms, bank=bank, **keys
    )


def valid(corpus: Corpus, bank: RirBank, count: int = 3) -> FixedScenes:
    part = corpus.split("valid")
    scenes = fixed_scenes(
        SCENE, bank.array, part, seed=0, split="valid", count=count, sample_rate=RATE, seconds=0.4
    )
    return FixedScenes(scenes, part, bank)


def same(a: Example, b: Example) -> bool:
    names = ("mixture", "targets", "azimuth", "elevation", "distance", "drr_db")
    return a.scene == b.scene and all(
        np.array_equal(getattr(a, name), getattr(b, name)) for name in names
    )


# --- examples -----------------------------------------------------------------------------


@pytest.mark.parametrize("rooms", [4, None])
def test_an_example_depends_on_its_numbers_alone(
    corpus: Corpus, bank: RirBank, tmp_path: Path, rooms: int | None
) -> None:
    examples = training(corpus, bank, rooms=rooms)
    expected = [examples.example(0, i) for i in range(3)]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    fresh = training(corpus, RirBank(tmp_path, bank.array, RATE), rooms=rooms)
    for index in (2, 0, 1):
        assert same(fresh.example(0, index), expected[index])


def test_drawing_examples_leaves_the_global_generators_alone(corpus: Corpus, bank: RirBank) -> None:
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    random.seed(5)
    numbers = np.random.random(), torch.rand(1).item(), random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    random.seed(5)
    training(corpus, bank).example(0, 0)
    assert (np.random.random(), torch.rand(1).item(), random.random()) == numbers  # noqa: NPY002


def test_epoch_index_and_seed_each_change_the_example(corpus: Corpus, bank: RirBank) -> None:
    examples = training(corpus, bank)
    plain = examples.example(0, 0)
    others = (
        examples.example(1, 0),
        examples.example(0, 1),
        training(corpus, bank, seed=1).example(0, 0),
    )
    for other in others:
        assert not np.array_equal(other.mixture, plain.mixture)
        assert other.scene.speech != plain.scene.speech


def test_a_dataset_travels_to_another_process(corpus: Corpus, bank: RirBank) -> None:
    examples = training(corpus, bank)
    travelled = pickle.loads(pickle.dumps(examples))
    assert same(travelled.example(2, 3), examples.example(2, 3))


def test_shared_and_fresh_rooms_are_mixed(corpus: Corpus, bank: RirBank) -> None:
    examples = training(corpus, bank, length=100, rooms=4, fresh_rooms=0.3)
    shared = [examples.shares_room(0, index) for index in range(100)]
    assert 15 <= shared.count(False) <= 45
    assert examples.rooms is not None
    pool = {room.size for room in examples.rooms}
    for index in range(10):
        scene = examples.draw(0, index)
        assert (scene.room.size in pool) == shared[index]
        assert same(examples.example(0, index), examples.example(0, index))
    again = training(corpus, bank, length=100, rooms=4, fresh_rooms=0.3)
    assert [again.shares_room(0, index) for index in range(100)] == shared
    assert [again.shares_room(1, index) for index in range(100)] != shared


@pytest.mark.parametrize(("length", "rooms"), [(6, 4), (4, 4), (3, 7)])
def test_every_room_comes_once_before_any_comes_again(
    corpus: Corpus, bank: RirBank, length: int, rooms: int
) -> None:
    """Across epochs, and in another order each time."""
    examples = training(corpus, bank, length=length, rooms=rooms)
    positions = 3 * rooms
    epochs = -(-positions // length)
    sizes = [examples.draw(e, i).room.size for e in range(epochs) for i in range(length)]
    laps = [sizes[n * rooms : (n + 1) * rooms] for n in range(3)]
    assert all(len(set(lap)) == rooms for lap in laps)
    assert set(laps[0]) == set(laps[1]) == set(laps[2]) == {r.size for r in examples.rooms or ()}
    assert len({tuple(lap) for lap in laps}) > 1


def test_valid_scenes_are_the_same_in_every_epoch_and_for_any_count(
    corpus: Corpus, bank: RirBank
) -> None:
    three, five = valid(corpus, bank, 3), valid(corpus, bank, 5)
    assert five.scenes[:3] == three.scenes
    assert same(three[1], three[1])
    assert len({scene.room.size for scene in five.scenes}) == 5


def test_training_and_validation_share_no_speaker_and_no_room(
    corpus: Corpus, bank: RirBank
) -> None:
    examples, scenes = training(corpus, bank), valid(corpus, bank).scenes
    drawn = [examples.draw(0, index) for index in range(6)]
    heard = [{c.utterance for s in part for c in s.speech} for part in (drawn, scenes)]
    assert not heard[0] & heard[1]
    assert not {s.room.size for s in drawn} & {s.room.size for s in scenes}


# --- samplers -----------------------------------------------------------------------------


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("length", [1, 5, 6, 12])
def test_no_device_trains_on_another_s_example(length: int, size: int, world: int) -> None:
    samplers = [ExampleSampler(length, size, rank, world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(3)
    shares = [list(sampler) for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert len({len(share) for share in shares}) == 1, "devices step together"
    seen = Counter(number for share in shares for number in share)
    assert max(seen.values(), default=1) == 1
    assert set(seen) <= {3 * length + index for index in range(length)}
    assert len(seen) > length - world * size, "at most a remainder is left out"


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_every_valid_scene_is_scored_exactly_once(
    length: int, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes: Any = range(length)
    seen = []
    for rank in range(world):
        monkeypatch.setattr(MixtureData, "_place", lambda self, rank=rank: (rank, world))
        seen += list(MixtureData(DataConfig(), 2, scenes, scenes).val_dataloader().sampler)
    assert sorted(seen) == list(range(length))


def test_a_batch_is_the_same_on_one_device_and_on_many() -> None:
    def batches(world: int) -> set[tuple[int, ...]]:
        shares = (list(ExampleSampler(12, 2, rank, world)) for rank in range(world))
        return {tuple(s[i : i + 2]) for s in shares for i in range(0, len(s), 2)}

    assert batches(1) == batches(2) == batches(3)


# --- batches and loaders ------------------------------------------------------------------


def test_a_batch_keeps_examples_and_speakers_in_order(corpus: Corpus, bank: RirBank) -> None:
    examples = [training(corpus, bank).example(0, index) for index in (4, 1, 2)]
    batch = Batch.stack(examples)
    assert batch.mixture.shape == (3, 4, SAMPLES)
    assert batch.targets.shape == (3, 2, SAMPLES)
    assert batch.azimuth.shape == batch.elevation.shape == batch.distance.shape == (3, 2)
    assert batch.index.tolist() == [4, 1, 2]
    assert {x.dtype for x in (batch.mixture, batch.targets, batch.azimuth)} == {torch.float32}
    for row, example in enumerate(examples):
        np.testing.assert_array_equal(batch.targets[row], example.targets)
        np.testing.assert_array_equal(batch.azimuth[row], example.azimuth)
        np.testing.assert_array_equal(batch.distance[row], example.distance)
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.index, batch.index)


def mixture_data(corpus: Corpus, bank: RirBank, workers: int) -> MixtureData:
    config = DataConfig(
        crop_seconds=SAMPLES / RATE,
        eval_seconds=0.4,
        batch_size=2,
        examples_per_epoch=6,
        train_rooms=4,
        valid_scenes=3,
        test_scenes=1,
        eval_seed=0,
        num_workers=workers,
        prefetch=2,
        cache=None,
    )
    return MixtureData(config, 2, training(corpus, bank), valid(corpus, bank))


def batches(data: MixtureData) -> list[Batch]:
    """Two epochs of training from one loader, as Lightning does it, then validation."""
    loader: Any = data.train_dataloader()
    found = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found + list(data.val_dataloader())


def test_the_same_batches_with_and_without_workers(
    corpus: Corpus, bank: RirBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked here, which takes no time to start; that data sets can be sent is tested above."""
    real = data_module.DataLoader

    @functools.wraps(real)
    def forking(*arguments: Any, **keys: Any) -> Any:
        return real(*arguments, **keys | {"multiprocessing_context": "fork"})

    expected = batches(mixture_data(corpus, bank, 0))
    monkeypatch.setattr(data_module, "DataLoader", forking)
    found = batches(mixture_data(corpus, bank, 2))
    assert len(found) == len(expected) == 3 + 3 + 2
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.mixture, b.mixture)
        assert torch.equal(a.targets, b.targets)
    assert not torch.equal(expected[0].mixture, expected[3].mixture), "epochs differ"
    assert [len(batch.index) for batch in expected[-2:]] == [2, 1], "no valid scene is dropped"


# --- where responses are kept -------------------------------------------------------------


def test_responses_are_kept_where_asked_or_in_the_user_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rirs_folder("here") == Path("here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert rirs_folder(None) == tmp_path / "msdet" / "rirs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert rirs_folder(None) == tmp_path / ".cache" / "msdet" / "rirs"


def test_what_workers_import_needs_no_trainer(corpus: Corpus, bank: RirBank) -> None:
    """Lightning takes 180 MB and two seconds in every process."""
    loader = mixture_data(corpus, bank, 1).train_dataloader()
    sent = (loader.dataset, loader.collate_fn, loader.worker_init_fn, loader.sampler)
    modules = {getattr(part, "__module__", type(part).__module__) for part in sent}
    code = f"import sys, {', '.join(sorted(modules))}; assert 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
