# SPDX-License-Identifier: Apache-2.0
"""The settings of an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from msdet.corpora import CorpusConfig
from msdet.parsing import MOST_WORKERS, Config
from msdet.parts import OwnPart


class EvaluationConfig(Config):
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
        metrics: names, and classes of your own (``_target_`` with arguments); null takes all that
            are installed and need not be asked for.
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
    metrics: tuple[str | OwnPart, ...] | None = None
    slow_metrics_of: tuple[str, ...] | None = None
    recogniser: str | None = None
    conditions: tuple[str, ...] | None = None
    num_workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    pictures: int = Field(default=3, ge=0, le=10**6)
    cache: str | None = None
