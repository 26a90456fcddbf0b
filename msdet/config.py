# SPDX-License-Identifier: Apache-2.0
"""Configs: Hydra composes them from ``configs/``, pydantic checks every key and value."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from msdet.corpora import CorpusConfig
from msdet.criteria import CriterionConfig
from msdet.datasets import DataConfig
from msdet.geometry import ArrayConfig
from msdet.models.msdet import ModelConfig
from msdet.parsing import MOST_WORKERS, SampleRate, Seed
from msdet.parsing import parse as parse
from msdet.simulation import SceneConfig
from msdet.simulation.layouts import Format
from msdet.simulation.symmetry import TargetsAt


class _Config(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )


class TrainerConfig(_Config):
    """Optimiser, schedule and where it runs.

    Attributes:
        epochs: epochs in all; the learning rate falls to zero along a cosine over them.
        learning_rate, weight_decay: AdamW. warmup_steps: linear rise from zero.
        gradient_clip: largest norm of the gradient. ema_decay: decay of averaged weights, or null.
        early_stop: epochs without improvement before stopping, or null.
        precision, accelerator, devices, num_nodes, strategy: as in Lightning's Trainer.
        compile: torch.compile the network.
        freeze: parts of the network that keep their weights, such as [encoder].
        gradient_interval: steps between measurements of the tasks' gradients on the shared
            encoder (their norms and the cosine between them); null, or compile, measures none.
    """

    epochs: int = Field(ge=1, le=10**6)
    learning_rate: float = Field(gt=0, le=1e30)
    weight_decay: float = Field(ge=0, le=1000)
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


class LoggerConfig(_Config):
    """TensorBoard is always on; a project name adds Weights & Biases."""

    wandb_project: str | None


class TrainConfig(_Config):
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


class SimulateConfig(_Config):
    """Scenes in shards, and on request their audio.

    Attributes:
        output: folder. split: whose speakers.
        num_scenes: how many to draw, or the first of the file's; null draws 10, or takes all.
        seconds: how long; null takes whole utterances, a mixture is as long as its longest.
        scenes: a benchmark or file of scenes to render, in place of drawing; it decides on what
            they are.
        audio: render them too. format: a folder a scene, or a tar archive a shard.
        targets_at: the reference microphone, or all that a symmetry of the array makes it.
        shard_size: scenes in a shard; null takes a sixteenth of all, at most 100.
        shard: ``i/n`` makes the shards k with k % n == i only; null makes all.
        engine: what makes them: processes of this machine, or Ray's workers.
        num_workers: processes; null takes one per core.
    """

    output: str
    seed: Seed
    sample_rate: SampleRate
    split: Literal["train", "valid", "test"]
    num_scenes: int | None = Field(ge=1, le=10**7)
    seconds: float | None = Field(gt=0, le=3600)
    scenes: str | None
    audio: bool
    format: Format
    targets_at: TargetsAt = "reference"
    shard_size: int | None = Field(ge=1, le=10**7)
    shard: str | None
    engine: Literal["local", "ray"]
    num_workers: int | None = Field(ge=1, le=MOST_WORKERS)
    corpus: CorpusConfig
    scene: SceneConfig
    array: ArrayConfig


class BankConfig(_Config):
    """Rooms whose responses are made ahead of training.

    Attributes:
        output: folder of the bank. split: what the rooms are for. num_rooms: how many.
        num_workers: rooms at a time; null takes one per core.
    """

    output: str
    seed: Seed
    sample_rate: SampleRate
    split: Literal["train", "valid", "test"]
    num_rooms: int = Field(ge=1, le=10**6)
    num_workers: int | None = Field(ge=1, le=MOST_WORKERS)
    scene: SceneConfig
    array: ArrayConfig


class EvaluationConfig(_Config):
    """What is evaluated, on what, and what comes of it.

    Attributes:
        checkpoint: ``model.ckpt`` or ``last.ckpt``, or several; null where estimates are scored.
        estimates: a folder of WAVs and directions that any system made of the scenes, or several
            by the names of their systems; or null.
        output: folder for the results.
        scenes: a scenes file (JSONL) or the name of a benchmark; null draws the split's scenes as
            training did.
        split: whose speakers and rooms.
        num_scenes: how many scenes; null takes as many as the training config says, or all.
        corpus: where the speech is; null takes the corpus of training, or the bundled voices of a
            benchmark.
        systems: what is scored; null takes the models and all baselines.
        metrics: names; null takes all that are installed and need not be asked for.
        slow_metrics_of: systems that the metrics that take long are computed of; null takes the
            mixture, the models, and the beamformers behind them.
        recogniser: ``module:function``, of the word error rate.
        conditions: what scenes are grouped by; null takes those of the summary's own.
        num_workers: processes; null takes one per core.
        pictures: for how many scenes to keep pictures and audio.
        cache: folder of room responses; null takes the user's cache folder.
    """

    checkpoint: str | tuple[str, ...] | None
    output: str
    estimates: str | dict[str, str] | None = None
    scenes: str | None = None
    split: Literal["valid", "test"] = "test"
    num_scenes: int | None = Field(default=None, ge=1, le=10**6)
    corpus: CorpusConfig | None = None
    systems: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    slow_metrics_of: tuple[str, ...] | None = None
    recogniser: str | None = None
    conditions: tuple[str, ...] | None = None
    num_workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    pictures: int = Field(default=3, ge=0, le=10**6)
    cache: str | None = None


class ImportConfig(_Config):
    """Scenes made elsewhere, to be made scenes of ours.

    Attributes:
        scenes: the JSON file that describes them. output: folder for the scenes and their corpus.
        split: what the scenes and their speakers are for; of SMS-WSJ, which data set.
        snr_db, target, reference_mic: of scenes that do not say.
        rirs: how room responses are computed; a T60 of 0 is anechoic in any case.
    """

    scenes: str
    output: str
    sample_rate: SampleRate
    split: Literal["train", "valid", "test"]
    snr_db: float
    target: Literal["direct", "early", "image"]
    reference_mic: int = Field(ge=0)
    rirs: Literal["exact", "hybrid"]


class ExportConfig(_Config):
    """A model to write as ONNX.

    Attributes:
        checkpoint: the model. output: the file.
        array: the microphones whose number the file is for; null takes the array of training.
    """

    checkpoint: str
    output: str
    array: ArrayConfig | None
