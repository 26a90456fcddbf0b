# SPDX-License-Identifier: Apache-2.0
"""``msdet``, which also writes down which examples each process was given, to the file RECORD.

The trainer starts its further processes with the program that it was started with: this one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from msdet.cli import main
from msdet.datasets import Batch
from msdet.training.module import Training


def recorded(name: str) -> Callable[[Training, Batch, int], Any]:
    step = getattr(Training, name)

    def recording_step(self: Training, batch: Batch, index: int) -> Any:
        row = {"step": name, "rank": self.global_rank, "epoch": self.current_epoch}
        with open(os.environ["RECORD"], "a") as file:
            file.write(json.dumps(row | {"examples": batch.index.tolist()}) + "\n")
        return step(self, batch, index)

    return recording_step


if __name__ == "__main__":
    for name in ("training_step", "validation_step"):
        setattr(Training, name, recorded(name))
    sys.exit(main())
