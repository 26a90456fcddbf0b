# SPDX-License-Identifier: Apache-2.0
"""The settings of an evaluation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from msdet.corpora import CorpusConfig
from msdet.metrics.signals.error_parts import WINDOW_MS
from msdet.parsing import MOST_WORKERS, Config
from msdet.parts import OwnPart


class EvaluationConfig(Config):
    """The systems that are evaluated, their scenes, and the results.

    Attributes:
        checkpoint: `model.ckpt` or `last.ckpt`, or a list of them to compare; null where estimates
            are scored, or the baselines alone.
        output: folder for the results.
        estimates: a folder of what any system made of the scenes, or several by name:
            {mine: FOLDER, theirs: FOLDER}; or null.
        scenes: the name of a benchmark or a file of scenes (`.jsonl`, `.jsonl.xz`); null: the
            scenes of the split as training drew them.
        moving: checkpoints follow people who walk, as with `msdet separate moving=true`.
        split: whose speakers and rooms.
        num_scenes: how many; null: as many as the training config says, or all of the file.
        corpus: where the speech is; null: the corpus of training; of a benchmark, and without a
            checkpoint, the bundled voices.
        systems: what is scored, the first model being the main one; null: the models and all
            baselines.
        metrics: some of [si_sdr, si_sdr_early, sdr, sir, sar, error_colour, error_reverberation,
            error_others, error_noise, error_varying, estoi, pesq_nb, pesq_wb, dnsmos, wer], and
            classes of your own, {_target_: mine.MyMetric}; null: all that are installed, without
            the last two and with PESQ as the sample rate allows.
        slow_metrics_of: systems that metrics that take long are computed of (all but SI-SDR, SDR
            and the parts of the error); null: the mixture, the models and `model+mvdr`.
        error_window_ms: windows that the parts of the error are told apart in, 16 to 512: longer
            ones hold more of a room, and leave fewer frames to tell by.
        recogniser: `module:function` of yours, from audio and sample rate to text; for
            `metrics=[wer]`.
        conditions: what scenes are grouped by; null: the usual ones.
        num_workers: processes; null takes one per core.
        pictures: how many scenes to show, evenly from the best to the worst.
        cache: folder of room responses, as in `data`.
        trust: import and run classes outside msdet that a checkpoint names; only for checkpoints
            of people whom you trust.
    """

    checkpoint: str | tuple[str, ...] | None = None
    output: str = "outputs/evaluation"
    estimates: str | dict[str, str] | None = None
    scenes: str | None = None
    moving: bool = False
    split: Literal["valid", "test"] = "test"
    num_scenes: int | None = Field(default=None, ge=1, le=10**6)
    corpus: CorpusConfig | None = None
    systems: tuple[str, ...] | None = None
    metrics: tuple[str | OwnPart, ...] | None = None
    slow_metrics_of: tuple[str, ...] | None = None
    error_window_ms: float = Field(default=WINDOW_MS, ge=16, le=512)
    recogniser: str | None = None
    conditions: tuple[str, ...] | None = None
    num_workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    pictures: int = Field(default=3, ge=0, le=10**6)
    cache: str | None = None
    trust: bool = False
