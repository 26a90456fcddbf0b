# SPDX-License-Identifier: Apache-2.0
"""Configs: every file composes, every key is read, and mistakes are named in one line."""

from __future__ import annotations

import ast
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import msdet
from msdet.commands.bank import BankConfig
from msdet.commands.import_scenes import ImportConfig
from msdet.commands.simulate import SimulateConfig
from msdet.composing import compose
from msdet.errors import InputError
from msdet.evaluation.config import EvaluationConfig
from msdet.geometry import DEFAULT_ARRAY
from msdet.inference.config import ExportConfig, SeparateConfig
from msdet.parsing import parse
from msdet.parts import OwnPart
from msdet.resources import configs_dir
from msdet.serve.config import ServeConfig
from msdet.simulation import check_scene_config
from msdet.training.checks import check
from msdet.training.config import TrainConfig
from msdet.training.run import build_model

COMMANDS: dict[str, type[BaseModel]] = {
    "train": TrainConfig,
    "simulate": SimulateConfig,
    "evaluate": EvaluationConfig,
    "separate": SeparateConfig,
    "serve": ServeConfig,
    "bank": BankConfig,
    "import": ImportConfig,
    "export": ExportConfig,
}
NEEDED = {
    "train": [],
    "simulate": ["output=somewhere"],
    "evaluate": ["checkpoint=model.ckpt"],
    "separate": ["recording=a.wav", "checkpoint=model.ckpt"],
    "serve": [],
    "bank": ["output=somewhere"],
    "import": ["scenes=a.json", "output=b"],
    "export": ["checkpoint=model.ckpt", "output=model.onnx"],
}
ASKED_FOR = {
    ("array", "positions"): ["array.positions=[[0,0,0],[0.05,0,0],[0,0.05,0]]"],
    ("corpus", "folder"): ["corpus.path=speech"],
    ("corpus", "librispeech"): ["corpus.path=speech"],
    ("corpus", "metadata"): [
        "corpus.path=speech",
        "corpus.train=[a.csv]",
        "corpus.valid=[b.csv]",
        "corpus.test=[c.csv]",
    ],
    ("corpus", "vctk"): ["corpus.path=speech"],
    ("corpus", "wsj0"): ["corpus.path=speech"],
}
"""What some options leave to the user (???)."""

ELSEWHERE = {"study", "sweep"}
"""Folders of configs that are not groups of a command; tests/study and tests/sweeps read them."""

OPTIONS = sorted(
    (f.parent.name, f.stem)
    for f in configs_dir().glob("*/*.yaml")
    if f.parent.name not in ELSEWHERE
)
OPTIONS += [key for key in ASKED_FOR if key[0] == "corpus"]


def train_config(*overrides: str) -> TrainConfig:
    return parse(TrainConfig, compose("train", list(overrides)))


def prepare(*overrides: str) -> None:
    """What a training run does before it touches any file."""
    config = train_config(*overrides)
    array = config.array.build()
    check(config, array)
    build_model(config, array)


def mistake(*overrides: str) -> str:
    """What a training config with a mistake says, before any work: one line."""
    with pytest.raises(InputError) as caught:
        prepare(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_composes_to_the_defaults_of_its_class(command: str) -> None:
    config = parse(COMMANDS[command], compose(command, NEEDED[command]))
    given = dict(setting.split("=") for setting in NEEDED[command])
    assert config == COMMANDS[command](**given)


def test_the_default_array_is_its_file() -> None:
    assert train_config("array=circle4").array == DEFAULT_ARRAY


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str) -> None:
    config = train_config(f"{group}={option}", *ASKED_FOR.get((group, option), []))
    if group == "array":
        array = config.array.build()
        check_scene_config(config.scene, array)
    if group in ("experiment", "model"):
        check(config, config.array.build())


@pytest.mark.parametrize(
    ("command", "overrides"),
    [
        ("simulate", ["array=line4", "corpus=folder", "corpus.path=speech"]),
        ("evaluate", ["corpus=folder", "corpus.path=speech"]),
        ("separate", ["array=respeaker6"]),
    ],
)
def test_other_commands_take_the_groups(command: str, overrides: list[str]) -> None:
    parse(COMMANDS[command], compose(command, [*NEEDED[command], *overrides]))


def test_the_quickstart_is_the_task_that_its_figures_are_for() -> None:
    config = train_config("experiment=quickstart")
    scene = config.scene
    assert config.sample_rate == 8000
    assert config.array.build().num_mics == 4
    assert config.array.build().aperture == pytest.approx(0.1)
    assert (scene.room.length, scene.room.width, scene.room.height) == ((4, 8), (4, 8), (2.5, 3.5))
    assert (scene.t60, scene.num_speakers) == ((0.15, 0.35), (2, 2))
    assert (scene.speaker.distance, scene.speaker.height_offset) == ((0.7, 2.5), (-0.2, 0.2))
    assert (scene.speaker.azimuth, scene.speaker.min_angle) == ((0, 360), 15)
    assert (scene.level_db, scene.snr_db, scene.overlap) == ((-5, 5), (20, 30), (1, 1))
    assert (scene.target, scene.rirs) == ("direct", "exact")
    assert (config.data.test_scenes, config.data.eval_seconds) == (200, 4)
    assert config.evaluate
    assert config.init_from is None


# --- keys ---------------------------------------------------------------------------------


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The config classes that a field's type mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_in(field.annotation)
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation):
        for part in typing.get_args(annotation):
            yield from models_in(part)


CLASSES = sorted({c for m in COMMANDS.values() for c in models_in(m)}, key=lambda c: c.__name__)


def attributes_read() -> set[str]:
    """Names after a dot anywhere in the package, but for those that are written to."""
    found = set()
    for file in Path(msdet.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
    return found


@pytest.fixture(scope="module")
def names_read() -> set[str]:
    return attributes_read()


def test_the_search_finds_the_config_classes() -> None:
    names = {c.__name__ for c in CLASSES}
    assert {"TrainConfig", "UNetConfig", "StftConfig", "SpeakerRanges", "Circle"} <= names


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_every_key_is_read_somewhere(model: type[BaseModel], names_read: set[str]) -> None:
    dead = [name for name in model.model_fields if name not in names_read]
    assert dead == []


@pytest.mark.parametrize("model", CLASSES, ids=lambda model: model.__name__)
def test_configs_are_frozen_and_take_no_other_keys(model: type[BaseModel]) -> None:
    assert model.model_config.get("frozen") is True
    own = issubclass(model, OwnPart)  # whose keys are the arguments of its class
    assert model.model_config.get("extra") == ("allow" if own else "forbid")


# --- mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer.epochz=3"], "epochz"),
        (["trainr.epochs=3"], "trainr"),
        (["+trainer.epochz=3"], "epochz"),
        (["+scene.speaker.near=1"], "near"),
        (["array=circle5"], "circle5"),
        (["experiment=slowstart"], "slowstart"),
        (["corpus=folder"], "corpus.path"),
        (["array=positions"], "array.positions"),
        (["trainer.epochs=many"], "trainer.epochs"),
        (["trainer.epochs=0"], "trainer.epochs"),
        (["trainer.epochs=2.5"], "trainer.epochs"),
        (["trainer.learning_rate=-1"], "trainer.learning_rate"),
        (["trainer.precision=8bit"], "trainer.precision"),
        (["trainer.devices=some"], "trainer.devices"),
        (["trainer.ema_decay=1.0"], "trainer.ema_decay"),
        (["criterion.weight=1.2"], "criterion.weight"),
        (["criterion.assignment=alphabet"], "criterion.assignment"),
        (["criterion.assignment=pit", "criterion.weight=0"], "pit"),
        (["criterion.assignment=cyclic", "array=line4"], "cyclic"),
        (["criterion.assignment=pit", "model.heads.guidance=oracle"], "pit"),
        (["criterion.assignment=joint_pit", "model.heads.guidance=oracle"], "joint_pit"),
        (["criterion.assignment=doa_pit", "criterion.weight=1"], "doa_pit"),
        (["sample_rate=100"], "sample_rate"),
        (["seed=-1"], "seed"),
        (["data.batch_size=0"], "data.batch_size"),
        (["data.batch_size=9", "data.examples_per_epoch=8"], "data.examples_per_epoch"),
        (["data.crop_seconds=0.001"], "data.crop_seconds"),
        (["data.eval_seconds=0.001"], "data.eval_seconds"),
        (["data.crop_seconds=inf"], "data.crop_seconds"),
        (["array.num_mics=2"], "array.circle.num_mics"),
        (["array.radius=0"], "array.circle.radius"),
        (["array=l5", "array.num_mics=4"], "array.num_mics"),
        (["model.stft.hop=1000"], "model.stft"),
        (["model.frontend.name=magic"], "model.frontend"),
        (["model.heads.resolution=7"], "resolution"),
        (["model.encoder.blocks=[1]"], "blocks"),
        (["model.encoder.channels=[0,8]"], "channels"),
        (["model.encoder.dilations=[0]"], "dilations"),
        (["scene.t60=[0.35,0.15]"], "scene.t60"),
        (["scene.t60=0.3"], "scene.t60"),
        (["scene.reference_mic=4"], "scene.reference_mic"),
        (["scene.num_speakers=[0,2]"], "scene.num_speakers"),
        (["scene.num_speakers=[1,1]"], "scene.num_speakers=[1, 1]: training needs"),
        (["scene.num_speakers=[2,6]"], "scene.num_speakers"),
        (["scene.conversation={most_heard: 1}"], "scene.conversation.most_heard=1: training needs"),
        (
            ["scene.movement={}", "scene.rirs=hybrid"],
            "scene.movement: who walks has no one direction",
        ),
        (
            [
                "scene.movement={}",
                "scene.rirs=hybrid",
                "model.heads.span=1",
                "model.heads.guidance=oracle",
            ],
            "scene.movement: model.heads.guidance=oracle",
        ),
        (["model.heads.span=1", "criterion.weight=1"], "model.heads.span=1: criterion.weight=1"),
        (["model.heads.span=0"], "model.heads.span"),
        (["model.heads.span=30"], "model.heads.span=30: is not shorter than data.crop_seconds"),
        (["criterion.label_width=-1"], "criterion.label_width"),
        (["criterion.balancing=magic"], "criterion.balancing"),
        (["criterion.balancing=dwa", "criterion.weight=1"], "criterion.balancing='dwa'"),
        (
            [
                "criterion.balancing=anneal",
                "criterion.weight=0",
                "criterion.distance_weight=0.1",
                "model.heads.distance=classes",
            ],
            "criterion.balancing='anneal' without separation",
        ),
        (["criterion.balancing=upgrad", "trainer.devices=2"], "criterion.balancing='upgrad'"),
        (["criterion.balancing=upgrad", "trainer.precision=bf16-mixed"], "trainer.precision"),
        (["criterion.balancing=upgrad", "model.sharing=none"], "model.sharing='none'"),
        (["criterion.balancing=upgrad", "trainer.freeze=[encoder]"], "trainer.freeze"),
        (["model.sharing=soft", "criterion.weight=0"], "model.sharing='soft'"),
        (["criterion.sharing_strength=1"], "criterion.sharing_strength=1"),
        (["model.heads.distance=classes"], "criterion.distance_weight=0"),
        (["criterion.distance_weight=0.1"], "model.heads.distance='none'"),
        (["scene.speaker.min_angle=200"], "scene.speaker.min_angle"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_named_before_any_work(overrides: list[str], says: str) -> None:
    assert says in mistake(*overrides)


def test_several_mistakes_are_counted() -> None:
    message = mistake("trainer.epochs=0", "criterion.weight=2")
    assert "and 1 more" in message


def test_a_mistake_shows_what_was_given() -> None:
    assert "1.2" in mistake("criterion.weight=1.2")
    assert "'8bit'" in mistake("trainer.precision=8bit")


@pytest.mark.parametrize("name", ["2024", "a b=c.ckpt"])
def test_folders_and_files_have_any_name(name: str) -> None:
    config = train_config(f"output={name}", f"init_from={name}")
    assert (config.output, config.init_from) == (name, name)
