# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what comes back, what is refused, and what a failed write leaves."""

from __future__ import annotations

import errno
import os
import pickle
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from msdet.checkpoints import (
    DESCRIPTION_KEY,
    FORMAT,
    Description,
    load_checkpoint,
    load_matching_weights,
    save_atomically,
    save_portable,
)
from msdet.config import TrainerConfig
from msdet.criteria import Criterion, CriterionConfig
from msdet.errors import InputError
from msdet.models.msdet import MSDET

Make = Callable[..., MSDET]
Describe = Callable[..., Description]


def refusal(path: Path) -> str:
    """What loading says; always one line that names the file."""
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    return message


@pytest.fixture
def content(saved: Path) -> dict[str, Any]:
    """What a whole portable checkpoint holds."""
    return dict(torch.load(saved, weights_only=True))


# --- there and back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"array": "line4", "beamformer": "none"},
        {"frontend": "ri", "guidance": "none"},
        {"slots": 3, "array": "respeaker4", "reference_mic": 2},
    ],
)
def test_a_model_comes_back_weight_for_weight(
    make_model: Make, describe: Describe, tmp_path: Path, kind: dict[str, Any]
) -> None:
    model = make_model(**kind)
    with torch.no_grad():
        model.train()(torch.randn(2, model.array.num_mics, 1000))  # moves the running statistics
    model.eval()
    save_portable(tmp_path / "model.ckpt", model, describe(model))
    loaded = load_checkpoint(tmp_path / "model.ckpt")

    weights = loaded.model.state_dict()
    assert weights.keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weights[name], weight), name
    mixture = torch.randn(1, model.array.num_mics, 1000)
    with torch.no_grad():
        expected, found = model(mixture), loaded.model(mixture)
    torch.testing.assert_close(found.audio, expected.audio, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.azimuth_logits, expected.azimuth_logits)


def test_a_loaded_model_is_ready_for_use(saved: Path) -> None:
    model = load_checkpoint(saved).model
    assert not any(part.training for part in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_the_description_comes_back(make_model: Make, describe: Describe, tmp_path: Path) -> None:
    model = make_model("respeaker4", slots=3, reference_mic=1)
    given = describe(
        model,
        assignment="cyclic",
        weight=0.5,
        target="early",
        training={"examples": 7},
        config={"a": [1, None, {"b": 2.5}]},
        git_commit="0123abc",
    )
    save_portable(tmp_path / "model.ckpt", model, given)
    found = load_checkpoint(tmp_path / "model.ckpt").description
    assert found.model_dump(exclude={"array"}) == given.model_dump(exclude={"array"})
    assert found.array.channels == (1, 2, 3, 4)
    assert found.array.file_channels == 6
    assert found.array.name == "respeaker4"


def test_the_array_comes_back_exactly(saved: Path, make_model: Make) -> None:
    """A frontend that is bound to one array compares positions with it."""
    assert load_checkpoint(saved).description.array == make_model().array


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod."])
def test_a_training_checkpoint_loads_like_a_portable_one(
    content: dict[str, Any], tmp_path: Path, saved: Path, prefix: str
) -> None:
    weights = content.pop("weights")
    content["state_dict"] = {prefix + name: value for name, value in weights.items()}
    content |= {"epoch": 3, "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}}]}
    torch.save(content, tmp_path / "last.ckpt")
    loaded = load_checkpoint(tmp_path / "last.ckpt").model.state_dict()
    expected = load_checkpoint(saved).model.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("compiled", [False, True])
def test_the_state_of_the_lightning_module_loads(
    make_model: Make, describe: Describe, tmp_path: Path, compiled: bool
) -> None:
    """What Lightning writes into last.ckpt is the module's own state; nothing compiles here."""
    from msdet.training.module import Training

    model = make_model()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    settings = TrainerConfig(
        epochs=1,
        learning_rate=1e-3,
        weight_decay=0,
        warmup_steps=0,
        gradient_clip=5,
        ema_decay=None,
        early_stop=None,
        precision="32-true",
        accelerator="cpu",
        devices=1,
        num_nodes=1,
        strategy="auto",
        compile=compiled,
        freeze=(),
    )
    criterion = Criterion(CriterionConfig(assignment="azimuth", weight=0.9), linear_array=False)
    state = Training(model, criterion, settings).state_dict()
    described = describe(model).model_dump(mode="json")
    torch.save({DESCRIPTION_KEY: described, "state_dict": state}, tmp_path / "last.ckpt")
    loaded = load_checkpoint(tmp_path / "last.ckpt").model.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in weights.items())


# --- what is refused ----------------------------------------------------------------------


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.ckpt")
    with pytest.raises(InputError, match="is a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut(saved: Path, tmp_path: Path, kept: float) -> None:
    whole = saved.read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: int(kept * len(whole))])
    assert "cut or damaged" in refusal(tmp_path / "cut.ckpt")


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes(tmp_path: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(256, (4096,), dtype=torch.uint8, generator=generator)
    (tmp_path / "noise.ckpt").write_bytes(noise.numpy().tobytes())
    assert "cut or damaged" in refusal(tmp_path / "noise.ckpt")


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "notes.ckpt").write_text("not a checkpoint\n" * 50)
    refusal(tmp_path / "notes.ckpt")


@pytest.mark.parametrize(
    "other",
    [
        {"state_dict": {"weight": torch.zeros(3)}},
        [torch.zeros(3)],
        torch.zeros(3),
        {},
        {DESCRIPTION_KEY: 5},
    ],
)
def test_another_project_s_checkpoint(tmp_path: Path, other: object) -> None:
    torch.save(other, tmp_path / "other.ckpt")
    assert "not a checkpoint of msdet" in refusal(tmp_path / "other.ckpt")


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.crater),)


@pytest.mark.parametrize("by", ["torch", "torch, old format", "pickle"])
def test_code_inside_a_checkpoint_does_not_run(
    content: dict[str, Any], tmp_path: Path, by: str
) -> None:
    crater, path = tmp_path / "crater", tmp_path / "bomb.ckpt"
    content["extra"] = Bomb(crater)
    if by == "pickle":
        path.write_bytes(
            pickle.dumps({DESCRIPTION_KEY: content[DESCRIPTION_KEY], "x": Bomb(crater)})
        )
    else:
        torch.save(content, path, _use_new_zipfile_serialization=by == "torch")
    refusal(path)
    assert not crater.exists()


def test_a_checkpoint_of_a_newer_version(content: dict[str, Any], tmp_path: Path) -> None:
    content[DESCRIPTION_KEY] |= {"format": FORMAT + 1, "a_key_of_the_future": 1}
    torch.save(content, tmp_path / "new.ckpt")
    assert "newer" in refusal(tmp_path / "new.ckpt")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sample_rate": "fast"}, "sample_rate"),
        ({"model": {}}, "model"),
        ({"array": {"name": "a", "positions": [[0, 0, 0]]}}, "microphones"),
        ({"mystery": 1}, "mystery"),
        ({"format": "1.0-beta"}, "format"),
    ],
)
def test_a_description_that_cannot_be(
    content: dict[str, Any], tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    content[DESCRIPTION_KEY] |= changes
    torch.save(content, tmp_path / "odd.ckpt")
    assert says in refusal(tmp_path / "odd.ckpt")


@pytest.mark.parametrize("broken", ["missing", "short", "reshaped", "no dict", "none"])
def test_weights_that_do_not_fit_the_description(
    content: dict[str, Any], tmp_path: Path, broken: str
) -> None:
    weights: dict[str, Any] = content["weights"]
    name = "mask_head.out.weight"
    if broken == "missing":
        del content["weights"]
    elif broken == "short":
        del weights[name]
    elif broken == "reshaped":
        weights[name] = weights[name][:1]
    elif broken == "no dict":
        content["weights"] = 5
    else:
        weights[name] = None
    torch.save(content, tmp_path / "odd.ckpt")
    assert "weights" in refusal(tmp_path / "odd.ckpt")


# --- init_from ----------------------------------------------------------------------------


def test_starting_from_another_model_s_weights(saved: Path, make_model: Make) -> None:
    model = make_model(seed=1)
    load_matching_weights(model, saved)
    for name, weight in make_model(seed=0).state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert all(weight.requires_grad for weight in model.parameters())


def test_weights_of_one_array_start_a_model_for_another(saved: Path, make_model: Make) -> None:
    load_matching_weights(make_model("circle6"), saved)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ({"slots": 3}, "coarse_head.out"),
        ({"channels": 9}, "encoder"),
        ({"frontend": "ri"}, "encoder"),
    ],
)
def test_starting_from_a_model_of_another_size(
    saved: Path, make_model: Make, kind: dict[str, Any], says: str
) -> None:
    model = make_model(**kind)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(InputError, match=rf"init_from=.*another model.*{says}") as caught:
        load_matching_weights(model, saved)
    assert "\n" not in str(caught.value)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), "nothing is half loaded"


def test_starting_from_a_model_with_parts_that_this_one_lacks(
    saved: Path, make_model: Make
) -> None:
    with pytest.raises(InputError, match="init_from"):
        load_matching_weights(make_model(beamformer="none"), saved)


# --- writing ------------------------------------------------------------------------------


class Unwritable:
    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("cannot be pickled")


def fail_midway(kind: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Content whose writing fails, or a disk that does."""
    content: dict[str, Any] = {"weights": torch.ones(50_000), "number": 2}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    if kind == "cannot be pickled":
        content["later"] = Unwritable()
    elif kind == "full at the flush":
        monkeypatch.setattr(os, "fsync", full)
    elif kind == "full at the rename":
        monkeypatch.setattr(os, "replace", full)
    elif kind == "Ctrl-C":
        monkeypatch.setattr(os, "fsync", stopped)
    return content


@pytest.mark.parametrize(
    "kind", ["cannot be pickled", "full at the flush", "full at the rename", "Ctrl-C"]
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "last.ckpt"
    save_atomically({"number": 1}, path)
    content = fail_midway(kind, monkeypatch)
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        save_atomically(content, path)
    monkeypatch.undo()
    if kind.startswith("full"):
        assert isinstance(caught.value, InputError)
        assert "No space left" in str(caught.value)
        assert "last.ckpt" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert torch.load(path, weights_only=True) == {"number": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_disk_that_fills_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_atomically({"number": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"last\.ckpt: cannot be written.*is whole"):
            save_atomically({"weights": torch.ones(50_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.load(path, weights_only=True) == {"number": 1}
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(InputError, match=r"run/model\.ckpt: cannot be written"):
        save_atomically({"number": 1}, tmp_path / "run" / "model.ckpt")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_new_file_replaces_the_old_one_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run" / "last.ckpt"
    for number in (1, 2):
        save_atomically({"number": number}, path)
    assert torch.load(path, weights_only=True) == {"number": 2}
    assert os.listdir(path.parent) == ["last.ckpt"]
