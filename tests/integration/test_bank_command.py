# SPDX-License-Identifier: Apache-2.0
"""``msdet bank``: killed and damaged it becomes whole, and trainings with any seed share it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msdet.cli import main

if TYPE_CHECKING:
    from tests.integration.conftest import Command

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROOMS = ("sample_rate=8000", "scene.rirs=hybrid", "scene.t60=[0.3,0.5]")


def responses(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.rirs")}


def test_a_killed_bank_is_made_complete(start: Callable[..., Command], tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start("bank", f"output={whole}", "num_rooms=60", *ROOMS).finish().code == 0
    expected = responses(whole)
    assert len(expected) == 60

    command = start("bank", f"output={killed}", "num_rooms=60", "num_workers=1", *ROOMS)
    command.wait_until(lambda: len(list(killed.glob("*.rirs"))) >= 5)
    command.kill()
    kept = responses(killed)
    assert 5 <= len(kept) < 60
    assert kept.items() <= expected.items(), "a file that is there is whole"
    first, second = sorted(kept)[:2]
    (killed / first).write_bytes(kept[first][:1000])
    (killed / second).write_bytes(b"")

    together = [start("bank", f"output={killed}", "num_rooms=60", *ROOMS) for _ in range(2)]
    results = [one.finish() for one in together]
    assert 0 in [r.code for r in results], results
    for refused in (r for r in results if r.code):  # the other took longer than it waits
        assert refused.code == 2, refused
        assert "is writing there; wait for its end" in refused.err, refused
    assert responses(killed) == expected


def test_training_shares_a_bank(
    start: Callable[..., Command],
    debug: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bank = tmp_path / "bank"
    assert start("bank", f"output={bank}", "num_rooms=10", *ROOMS).finish().code == 0
    before = responses(bank)
    settings = [*debug, *ROOMS, "trainer.epochs=1", "evaluate=false", f"data.bank={bank}"]
    for seed in (1, 2):
        run = start(
            "train", *settings, f"output={tmp_path / str(seed)}", f"seed={seed}",
            "data.fresh_rooms=0.3",
        ).finish()  # fmt: skip
        assert run.code == 0, run.err
        assert json.loads((tmp_path / str(seed) / "summary.json").read_text())["valid"]
    assert responses(bank) == before

    capsys.readouterr()
    assert main(["train", *settings, "array=line4", f"output={tmp_path / 'line'}"]) == 2
    assert f"data.bank={bank}: was made for array" in capsys.readouterr().err
    assert main(["train", *settings, "scene.t60=[0.3,0.4]", f"output={tmp_path / 't60'}"]) == 2
    assert "scene.t60 was [0.3, 0.5], is [0.3, 0.4] here" in capsys.readouterr().err
    assert not (tmp_path / "line").exists()
