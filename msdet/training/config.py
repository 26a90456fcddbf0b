# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from msdet.corpora import CorpusConfig
from msdet.criteria import CriterionConfig
from msdet.datasets import DataConfig
from msdet.geometry import ArrayConfig
from msdet.models.msdet import ModelConfig
from msdet.parsing import Config, SampleRate, Seed
from msdet.parts import NameOrOwn
from msdet.simulation import SceneConfig


class TrainerConfig(Config):
    """Optimiser, schedule and where it runs.

    Attributes:
        epochs: epochs in all.
        optimizer: `adamw`, or a class such as ``torch.optim.SGD``, which gets the weights and the
            learning rate (unless it has an ``lr`` of its own).
        learning_rate, weight_decay: of the optimiser.
        schedule: of the learning rate: a linear rise and then a cosine to zero
            (`warmup_cosine`), or a class of ``torch.optim.lr_scheduler``, which gets the optimiser
            and moves by the step.
        warmup_steps: linear rise from zero, of `warmup_cosine`.
        gradient_clip: largest norm of the gradient. ema_decay: decay of averaged weights, or null.
        early_stop: epochs without improvement before stopping, or null.
        precision, accelerator, devices, num_nodes, strategy: as in Lightning's Trainer.
        compile: torch.compile the network.
        freeze: parts of the network that keep their weights, such as [encoder].
        gradient_interval: steps between measurements of the tasks' gradients on the shared
            encoder (their norms and the cosine between them); null, or compile, measures none.
    """

    epochs: int = Field(ge=1, le=10**6)
    optimizer: NameOrOwn[Literal["adamw"]] = "adamw"
    learning_rate: float = Field(gt=0, le=1e30)
    weight_decay: float = Field(ge=0, le=1000)
    schedule: NameOrOwn[Literal["warmup_cosine"]] = "warmup_cosine"
    warmup_steps: int = Field(ge=0, le=10**9)
    gradient_clip: float = Field(gt=0, le=1e9)
    ema_decay: float | None = Field(gt=0, lt=1)
    early_stop: int | None = Field(ge=1, le=10**6)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"]
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"]
    num_nodes: int = Field(ge=1, le=10_000)
    strategy: Literal["auto", "ddp"]
    compile: bool
    freeze: tuple[str, ...]
    gradient_interval: int | None = Field(default=None, ge=1, le=10**9)


class LoggerConfig(Config):
    """TensorBoard is always on; a project name adds Weights & Biases."""

    wandb_project: str | None


class TrainConfig(Config):
    """Everything about a training run.

    Attributes:
        name: of the run. output: its folder. seed: of everything that is drawn.
        sample_rate: hertz, of audio and model.
        init_from: a checkpoint whose weights to start from, or null.
        evaluate: score the test scenes when training is done.
    """

    name: str
    output: str
    seed: Seed
    sample_rate: SampleRate
    init_from: str | None
    evaluate: bool
    corpus: CorpusConfig
    scene: SceneConfig
    array: ArrayConfig
    data: DataConfig
    model: ModelConfig
    criterion: CriterionConfig
    trainer: TrainerConfig
    logger: LoggerConfig

    @property
    def num_slots(self) -> int:
        """How many speakers the network puts out."""
        return self.model.slots or self.scene.num_speakers[1]

    @property
    def empty_slots(self) -> bool:
        """Whether scenes may have fewer speakers than the network has slots."""
        return self.scene.num_speakers[0] < self.num_slots
