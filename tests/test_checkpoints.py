# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what comes back, what is refused, and what a failed write leaves."""

from __future__ import annotations

import errno
import os
import pickle
import random
import re
import resource
import struct
import subprocess
import sys
import zipfile
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
from msdet.criteria import Criterion, CriterionConfig
from msdet.errors import InputError
from msdet.models.msdet import MSDET
from msdet.training.config import TrainerConfig

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
    name = "separation_head.out.weight"
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


def test_loading_does_not_load_torch_s_compiler(saved: Path) -> None:
    """It would cost every command a second."""
    code = "import sys, msdet; msdet.load(sys.argv[1]); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, saved], check=False).returncode == 0


# --- init_from ----------------------------------------------------------------------------


def test_starting_from_another_model_s_weights(saved: Path, make_model: Make) -> None:
    model = make_model(seed=1)
    load_matching_weights(model, saved)
    for name, weight in make_model(seed=0).state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert all(weight.requires_grad for weight in model.parameters())


def test_weights_of_one_array_start_a_model_for_another(saved: Path, make_model: Make) -> None:
    load_matching_weights(make_model("circle6"), saved)


def test_a_model_for_lines_starts_from_one_for_planar_arrays(
    make_model: Make, describe: Callable[..., Description], tmp_path: Path
) -> None:
    planar = make_model(directions=14)
    save_portable(tmp_path / "planar.ckpt", planar, describe(planar))
    line = make_model("line4", directions=8, seed=1)
    load_matching_weights(line, tmp_path / "planar.ckpt")
    first = "encoder.down.0.0.weight"
    before, after = planar.state_dict()[first], line.state_dict()[first]
    torch.testing.assert_close(after[:, 0], before[:, 0])
    torch.testing.assert_close(after[:, 1], before[:, 1] + before[:, 13])
    for other in (make_model("line4", directions=12), make_model("line4", slots=3, directions=8)):
        with pytest.raises(InputError, match="another model"):
            load_matching_weights(other, tmp_path / "planar.ckpt")


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


def test_starting_from_parts_of_another_model(saved: Path, make_model: Make) -> None:
    model, source = make_model(beamformer="none", seed=1), make_model(seed=0)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    load_matching_weights(model, saved, ["encoder", "fine_head"])
    for name, weight in model.state_dict().items():
        taken = name.split(".")[0] in ("encoder", "fine_head")
        assert torch.equal(weight, source.state_dict()[name] if taken else before[name]), name


def test_parts_of_another_size_are_told(saved: Path, make_model: Make) -> None:
    with pytest.raises(InputError, match=r"init_from=.*another model.*'encoder"):
        load_matching_weights(make_model(channels=9), saved, ["encoder"])


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


# --- damage, and what is absurd -----------------------------------------------------------


def same(one: Any, other: Any) -> bool:
    """Whether two contents of checkpoints are the same to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("place", ["records", "their headers", "the list of them"])
def test_a_flipped_bit_is_found_or_of_no_matter(saved: Path, tmp_path: Path, place: str) -> None:
    whole, rng = saved.read_bytes(), random.Random(place)
    with zipfile.ZipFile(saved) as archive:
        records, end = archive.infolist(), archive.start_dir
    damaged, said = tmp_path / "damaged.ckpt", set()
    good = load_checkpoint(saved)
    for _ in range(40):
        offset = {
            "records": rng.randrange(end),
            "their headers": rng.choice(records).header_offset + rng.randrange(60),
            "the list of them": rng.randrange(end, len(whole)),
        }[place]
        content = bytearray(whole)
        content[offset] ^= 1 << rng.randrange(8)
        damaged.write_bytes(content)
        try:
            found = load_checkpoint(damaged)
        except InputError as error:
            said.add(re.split(r" \(|: |, ", str(error).partition(": ")[2])[0])
            continue
        assert found.description == good.description
        assert same(found.model.state_dict(), good.model.state_dict())
    assert said
    assert said <= {"is cut or damaged", "is not a checkpoint that can be loaded safely"}


def test_every_weight_s_bits_are_checked(saved: Path, tmp_path: Path) -> None:
    """Flips of a weight's mantissa, which neither a shape nor a range tells."""
    whole = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        weights = [record for record in archive.infolist() if "/data/" in record.filename]
    for record in weights[:: max(1, len(weights) // 20)]:
        header = record.header_offset
        lengths = struct.unpack("<HH", whole[header + 26 : header + 30])  # of name and extra
        place = header + 30 + sum(lengths)
        content = bytearray(whole)
        content[place] ^= 1
        (tmp_path / "damaged.ckpt").write_bytes(content)
        assert "checksum" in refusal(tmp_path / "damaged.ckpt")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("as_training_state", [False, True])
def test_a_weight_that_is_no_number(
    content: dict[str, Any], tmp_path: Path, number: float, as_training_state: bool
) -> None:
    content["weights"]["separation_head.out.weight"][1, 0, 0, 0] = number
    if as_training_state:
        weights = content.pop("weights")
        content["state_dict"] = {f"model.{name}": value for name, value in weights.items()}
    torch.save(content, tmp_path / "diverged.ckpt")
    assert "separation_head.out.weight" in refusal(tmp_path / "diverged.ckpt")


def put(content: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
    content[last] = value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_slots", 10**6),
        ("num_slots", 0),
        ("num_slots", 31),  # within bounds, but its weights are not those of the file
        ("sample_rate", 0),
        ("sample_rate", 10**9),
        ("reference_mic", 99),
        ("reference_mic", -1),
        ("weight", float("nan")),
        ("model.encoder.blocks", [100_000]),
        ("model.encoder.channels", [10**6]),
        ("model.encoder.channels", [4096]),
        ("model.encoder.full_channels", 10**9),
        ("model.encoder.dilations", [10**12]),
        ("model.stft", {"window": 2**40, "hop": 2}),
        ("model.frontend.directions", 10**9),
        ("model.frontend.elevations", [0.0] * 10_000),
        ("model.heads.resolution", 1e-9),
        ("model.heads.mask_channels", 4000),
        ("model.heads.refinements", 10**9),
        ("array.positions", [[i / 1000, i % 7, 0.0] for i in range(5000)]),
        ("array.positions", [[0.0, 0.0, 0.0], [1e300, 0.0, 0.0], [0.0, 1e300, 0.0]]),
        ("config", []),
        ("config.scene", 5),
        ("config.scene.num_speakers", "two"),
        ("config.scene.num_speakers", [2, 2, 2]),
        ("config.scene.num_speakers", [5, 2]),
        ("config.scene.num_speakers", [2, 99]),
        ("config.scene.speaker.min_angle", "wide"),
        ("config.data", "text"),
        ("config.data.simulated", {}),
        ("config.data.arrays", 3),
        ("config.data.arrays.shapes", 3),
        ("config.data.arrays.shapes", [{"shape": "sphere"}]),
        ("config.data.arrays.drawn", "many"),
        ("metrics", {"si_sdr": "good"}),
        ("training", {"examples": []}),
        ("versions", {"torch": 2}),
        ("git_commit", 5),
    ],
)
def test_absurd_descriptions_are_refused_before_memory_is_taken(
    content: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    value: object,
) -> None:
    put(content[DESCRIPTION_KEY], key, value)
    torch.save(content, tmp_path / "odd.ckpt")

    def build(self: Description) -> MSDET:
        assert torch.empty(0).device.type == "meta", "weights were made in memory"
        return real(self)

    real = Description.build
    monkeypatch.setattr(Description, "build", build)
    named = (key.split(".")[-1], "microphones", "weights do not fit")
    assert any(name in refusal(tmp_path / "odd.ckpt") for name in named)


def test_weights_that_claim_more_than_the_file_holds(
    content: dict[str, Any], tmp_path: Path
) -> None:
    """One number, repeated by its strides."""
    weights = content["weights"]
    name = "separation_head.out.weight"
    weights[name] = torch.zeros(1).expand(weights[name].shape)
    torch.save(content, tmp_path / "odd.ckpt")
    assert f"{name} holds fewer numbers" in refusal(tmp_path / "odd.ckpt")
