# SPDX-License-Identifier: Apache-2.0
"""The process that separates: answers, refusals, time limit, death."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from msdet.errors import InputError
from msdet.inference.separator import Separator
from msdet.serve.worker import Worker


def count_outputs(separator: Separator, more: int) -> int:
    return separator.description.num_slots + more


def refuse(separator: Separator, what: str) -> None:
    raise InputError(f"{what}: is no good")


def fail(separator: Separator, what: str) -> None:
    raise ZeroDivisionError(what)


def hang(separator: Separator, seconds: float) -> None:
    time.sleep(seconds)


def die(separator: Separator, code: int) -> None:
    os._exit(code)


@pytest.fixture(scope="module")
def worker(saved: Path) -> Iterator[Worker]:
    made = Worker(saved, max_seconds=300.0)
    yield made
    made.close()


def test_it_works_and_goes_on_after_whatever_happens(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    assert worker.run(count_outputs, 1) == 3
    with pytest.raises(InputError, match=r"^a file: is no good$"):
        worker.run(refuse, "a file")
    with pytest.raises(InputError, match="went wrong in msdet itself"):
        worker.run(fail, "a bug")
    assert "ZeroDivisionError: a bug" in caplog.text
    assert worker.run(count_outputs, 2) == 4


def test_what_takes_too_long_is_given_up(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker, "_max_seconds", 0.1)
        with pytest.raises(InputError, match=r"more than 0\.1 s"):
            worker.run(hang, 1e6)
    assert worker.run(count_outputs, 0) == 2


def test_a_death_is_told_and_survived(worker: Worker) -> None:
    with pytest.raises(InputError, match="has died"):
        worker.run(die, 9)
    assert worker.run(count_outputs, 0) == 2
