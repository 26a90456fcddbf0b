# SPDX-License-Identifier: Apache-2.0
"""``trainer.precision: auto``: bfloat16 where it makes a step faster.

Processors with matrix units for it (AMX) train 1.6 to 2 times as fast in it as in float32, others
many times as slowly; which of them this is, a step tells.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Literal, cast, get_args

import torch
from rich.console import Console

from msdet.criteria import Criterion
from msdet.errors import InputError
from msdet.files import read_json, write_json
from msdet.models.msdet import MSDET
from msdet.training.config import TrainConfig
from msdet.training.module import forward, losses_of
from msdet.training.preflight import noise_batch

Precision = Literal["32-true", "16-mixed", "bf16-mixed"]

_NAME = "precision.json"
"""In a run's folder."""
_WORTH = 0.9
"""Share of float32's time that a step may take in bfloat16 to be worth its rounding."""

_STEPS = 3
"""Timed in turn; of each precision the fastest counts, since other work only makes them slower."""


def settled_precision(
    config: TrainConfig, model: MSDET, criterion: Criterion, folder: Path
) -> Precision:
    """Return the precision to train in: the one that is asked for, or, of `auto`, the faster one.

    What `auto` chose is kept in the run's folder, for a run that goes on.

    Raises:
        InputError: what is kept there cannot be read.
    """
    asked = config.trainer.precision
    if asked != "auto":
        return asked
    path, mend = folder / _NAME, "delete it, and the run chooses anew"
    if path.exists():
        kept = read_json(path, mend).get("precision")
        if kept not in get_args(Precision):
            raise InputError(f"{path}: precision={kept!r}: is not one of ours; {mend}")
        return cast(Precision, kept)
    chosen = _faster_precision(config, model, criterion)
    write_json(path, {"precision": chosen})
    return chosen


def _faster_precision(config: TrainConfig, model: MSDET, criterion: Criterion) -> Precision:
    """On a GPU that is bfloat16 where it has it; on a CPU steps with a copy of the network tell."""
    if config.trainer.accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    seconds = _step_seconds(config, model, criterion)
    chosen: Precision = "32-true"
    if seconds[torch.bfloat16] < _WORTH * seconds[torch.float32]:
        chosen = "bf16-mixed"
    Console(stderr=True).print(
        f"trainer.precision: {chosen}; a step on noise takes {seconds[torch.bfloat16]:.2g} s in "
        f"bfloat16, {seconds[torch.float32]:.2g} s in float32",
        soft_wrap=True,
        highlight=False,
    )
    return chosen


def _step_seconds(
    config: TrainConfig, model: MSDET, criterion: Criterion
) -> dict[torch.dtype, float]:
    """Return how long a step on noise takes in each precision."""
    seconds = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.random.fork_rng(devices=[]):
        model, criterion = copy.deepcopy(model), copy.deepcopy(criterion)
        batch = noise_batch(config, model)
        for _ in range(_STEPS):
            for dtype in seconds:
                start = time.perf_counter()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    output = forward(model, batch, criterion)
                    total = losses_of(criterion, model, output, batch).total
                torch.autograd.backward(total)
                seconds[dtype] = min(seconds[dtype], time.perf_counter() - start)
    return seconds
