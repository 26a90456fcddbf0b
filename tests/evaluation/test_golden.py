# SPDX-License-Identifier: Apache-2.0
"""An evaluation that was kept: the same scenes and systems go on giving the same numbers.

``golden/`` holds what ``planar-pairs`` and six classical systems scored on four scenes of
``bundled-easy``: the rows, and what is made of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from msdet.evaluation.config import EvaluationConfig
from msdet.evaluation.evaluate import evaluate
from msdet.evaluation.exports import csv_text
from msdet.evaluation.rows import read_rows
from msdet.metrics import compare_systems, score_table, summarise
from msdet.resources import models_dir

GOLDEN = Path(__file__).parent / "golden"
SYSTEMS = (
    "model",
    "model+srp_phat",
    "unprocessed",
    "srp_phat",
    "srp_mpdr",
    "delay_and_sum",
    "oracle_mask",
)


LAST_DIGIT = 1.1e-6
PROCESSORS = 1e-3
"""Of one and the same network on processors that sum in another order."""


def assert_same(found: Any, wanted: Any, where: str = "", tolerance: float = LAST_DIGIT) -> None:
    """Every value of ``wanted`` is there; floats to 1e-6 of their size, or to a tolerance."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in found, f"{where}.{key} is missing"
            assert_same(found[key], value, f"{where}.{key}", tolerance)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, other, f"{where}[{i}]", tolerance)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-6, abs=tolerance), where
    else:
        assert found == wanted, where


def test_rows_that_were_kept_are_summarised_as_they_were() -> None:
    wanted = json.loads((GOLDEN / "summary.json").read_text(encoding="utf-8"))
    rows = read_rows(GOLDEN)
    table = score_table(rows)
    for system, summary in wanted["systems"].items():
        assert_same(summarise(rows, system, table=table), summary, system)
    compared = [
        {"system": "model", "reference": system, **found}
        for system in SYSTEMS[1:]
        for found in compare_systems(table, "model", system)
    ]
    assert_same(compared, wanted["comparisons"])
    csv = (GOLDEN / "rows.csv").read_text(encoding="utf-8")
    assert csv_text(rows) == csv


@pytest.mark.slow
def test_an_evaluation_gives_what_it_gave(tmp_path: Path) -> None:
    for package in ("fast_bss_eval", "pystoi", "pesq"):
        pytest.importorskip(package)
    evaluate(
        EvaluationConfig(
            checkpoint=str(models_dir() / "planar-pairs.ckpt"),
            scenes="bundled-easy",
            num_scenes=4,
            systems=SYSTEMS,
            metrics=("si_sdr", "sdr", "sir", "sar", "estoi", "pesq_wb"),
            num_workers=1,
            pictures=0,
            output=str(tmp_path),
        )
    )
    wanted = json.loads((GOLDEN / "summary.json").read_text(encoding="utf-8"))
    found = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert_same(found, wanted, tolerance=PROCESSORS)
