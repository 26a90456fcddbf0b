# SPDX-License-Identifier: Apache-2.0
"""``msdet evaluate``: what training reported, and what a kill does not change."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msdet.checkpoints import load_checkpoint
from msdet.cli import main

pytestmark = pytest.mark.integration


def test_valid_scenes_score_as_training_reported(
    trained: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    """By the script, which is the same command."""
    checkpoint = trained / "model.ckpt"
    run(
        f"checkpoint={checkpoint}",
        f"output={tmp_path / 'valid'}",
        "split=valid",
        "pictures=0",
        "metrics=[si_sdr]",
        "num_workers=1",
        script=Path(__file__).parents[2] / "scripts/evaluate.py",
    )
    found = json.loads((tmp_path / "valid" / "summary.json").read_text())
    reported = load_checkpoint(checkpoint).description.metrics
    assert found["num_scenes"] == reported["num_scenes"] == 5
    assert found["si_sdr_improvement_db"] == pytest.approx(
        reported["si_sdr_improvement_db"], abs=1e-3
    )
    assert found["azimuth_error_median_deg"] == pytest.approx(
        reported["azimuth_error_median_deg"], abs=0.01
    )
    history = [json.loads(line) for line in (trained / "history.jsonl").open()]
    best = max(row["valid_si_sdr_improvement_db"] for row in history)
    assert found["si_sdr_improvement_db"] == pytest.approx(best, abs=1e-3)


@pytest.mark.usefixtures("same_home")
def test_killed_evaluation_goes_on_to_the_rows_that_training_wrote(
    trained: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    wanted = (trained / "rows.jsonl").read_bytes()
    count = wanted.count(b"\n")
    rows = tmp_path / "killed" / "rows.jsonl"
    command = [
        "evaluate",
        f"checkpoint={trained / 'model.ckpt'}",
        f"output={rows.parent}",
        "pictures=0",
        "num_workers=1",
    ]
    killed = start(*command)
    killed.wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") >= 3)
    killed.kill()
    assert 3 <= rows.read_bytes().count(b"\n") < count
    assert not (rows.parent / "summary.json").exists()

    assert main(command) == 0
    indices = [json.loads(line)["index"] for line in rows.read_text().splitlines()]
    assert indices == list(range(count))
    assert rows.read_bytes() == wanted
    summaries = [
        json.loads((folder / "summary.json").read_text()) for folder in (rows.parent, trained)
    ]
    for key in ("si_sdr_improvement_db", "azimuth_error_median_deg", "num_scenes", "intervals"):
        assert summaries[0][key] == summaries[1][key], key
