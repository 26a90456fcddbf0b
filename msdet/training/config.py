# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from msdet.corpora import BundledConfig, CorpusConfig
from msdet.criteria import CriterionConfig
from msdet.datasets import DataConfig
from msdet.geometry import DEFAULT_ARRAY, ArrayConfig
from msdet.models.config import ModelConfig
from msdet.parsing import Config, SampleRate, Seed
from msdet.parts import NameOrOwn
from msdet.simulation import SceneConfig


class TrainerConfig(Config):
    """Optimiser, schedule and where it runs.

    Attributes:
        epochs: in all.
        minutes: of training, validation included, at most; null: as long as the epochs take. The
            run ends after the step that passes them, and `warmup_cosine` reaches zero by then. A
            resumed run counts what it took before.
        optimizer: `adamw`, or a class such as `torch.optim.SGD`, which gets the weights and the
            learning rate (unless it has an `lr` of its own).
        learning_rate, weight_decay: of the optimiser.
        schedule: of the learning rate: it rises, then falls to zero along a cosine over all steps
            (`warmup_cosine`); or a class of `torch.optim.lr_scheduler`, which gets the optimiser
            and moves by the step.
        warmup_steps: of `warmup_cosine`, while it rises from zero.
        gradient_clip: largest norm of the gradient.
        ema_decay: decay of averaged weights, which are validated and kept, such as 0.999; null
            averages none.
        early_stop: epochs without improvement on the valid scenes; null stops at the last.
        precision: `32-true`, `16-mixed` or `bf16-mixed`, as in Lightning's Trainer; `auto`:
            `bf16-mixed` where a step on this machine is faster in it, `32-true` elsewhere.
        accelerator, devices, num_nodes, strategy: as in Lightning's Trainer.
        compile: compile the network by `torch.compile`.
        freeze: parts of the network that keep their weights, such as [encoder].
        gradient_interval: steps between measurements of the tasks' gradients on the shared encoder
            (their norms and the cosine between them), such as 20. Each takes two passes back
            through the network; null, or `compile`, measures none.
    """

    epochs: int = Field(default=40, ge=1, le=10**6)
    minutes: float | None = Field(default=None, gt=0, le=10**6)
    optimizer: NameOrOwn[Literal["adamw"]] = "adamw"
    learning_rate: float = Field(default=2e-3, gt=0, le=1e30)
    weight_decay: float = Field(default=1e-2, ge=0, le=1000)
    schedule: NameOrOwn[Literal["warmup_cosine"]] = "warmup_cosine"
    warmup_steps: int = Field(default=100, ge=0, le=10**9)
    gradient_clip: float = Field(default=5.0, gt=0, le=1e9)
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    early_stop: int | None = Field(default=None, ge=1, le=10**6)
    precision: Literal["32-true", "16-mixed", "bf16-mixed", "auto"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    num_nodes: int = Field(default=1, ge=1, le=10_000)
    strategy: Literal["auto", "ddp"] = "auto"
    compile: bool = False
    freeze: tuple[str, ...] = ()
    gradient_interval: int | None = Field(default=None, ge=1, le=10**9)


class LoggerConfig(Config):
    """Where the course of training is written, besides TensorBoard's files.

    Attributes:
        wandb_project: of Weights & Biases (`pip install '.[wandb]'`); null writes nothing there.
    """

    wandb_project: str | None = None


class TrainConfig(Config):
    """Everything about a training run.

    Attributes:
        name: of the run.
        output: its folder; `${name}` stands for the name.
        seed: of everything that is drawn, and of the network's first weights.
        sample_rate: hertz, of audio and model.
        init_from: checkpoint whose weights to start from (same sizes; the array may differ; a line
            with N look directions starts from planar arrays with 2 (N - 1)); null: random ones.
        init_parts: parts of the network that start from it, such as [encoder]; none: all.
        evaluate: score the test scenes when training is done.
    """

    name: str = "msdet"
    output: str = Field(default="outputs/${name}", validate_default=True)
    seed: Seed = 0
    sample_rate: SampleRate = 16000
    init_from: str | None = None
    init_parts: tuple[str, ...] = ()
    evaluate: bool = True
    corpus: CorpusConfig = BundledConfig()
    scene: SceneConfig = SceneConfig()
    array: ArrayConfig = DEFAULT_ARRAY
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    criterion: CriterionConfig = CriterionConfig()
    trainer: TrainerConfig = TrainerConfig()
    logger: LoggerConfig = LoggerConfig()

    @field_validator("output")
    @classmethod
    def _of_this_name(cls, output: str, others: ValidationInfo) -> str:
        return output.replace("${name}", others.data.get("name", ""))

    @property
    def num_slots(self) -> int:
        """Return how many speakers the network puts out."""
        return self.model.slots or self.scene.heard_speakers[1]

    @property
    def empty_slots(self) -> bool:
        """Return whether scenes may have fewer speakers than the network has slots."""
        return self.scene.heard_speakers[0] < self.num_slots
