# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves beside scores: times that no stop loses, what a model learned from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from msdet.evaluation import evaluate
from msdet.evaluation.times import SceneTime, Times


def time(index: int, seconds: float) -> SceneTime:
    return SceneTime(index=index, audio_seconds=2.0, seconds={"model": seconds})


def test_times_go_on_with_those_of_the_rows_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "times.jsonl"
    times = Times(path, ())
    for index in range(3):
        times.add(time(index, 1.0))
    with path.open("a") as file:
        file.write('{"index": 3, "audio_sec')  # a kill while it was written
    again = Times(path, {0, 1})  # and before the row of the third scene
    assert again.real_time_factor("model") == 0.5
    again.add(time(2, 4.0))
    assert again.real_time_factor("model") == 1.0
    assert Times(path, {0, 1, 2}).real_time_factor("model") == 1.0
    assert Times(path, ()).real_time_factor("model") is None


def test_the_first_scene_of_a_process_is_done_before_time_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[tuple[str, Any]] = []

    class Recorded:
        def __init__(self, task: object) -> None:
            pass

        def do(self, scene: object) -> None:
            done.append(("do", scene))

        def score(self, scene: object) -> None:
            done.append(("score", scene))

    monkeypatch.setattr(evaluate, "SceneScorer", Recorded)
    score: Any = evaluate._scorer(None)  # type: ignore[arg-type]
    for scene in ("first", "second"):
        score(scene)
    assert done == [("do", "first"), ("score", "first"), ("score", "second")]


@pytest.mark.parametrize("labelled", [None, "list.jsonl"])
def test_a_model_that_learned_from_recordings_says_so(labelled: str | None) -> None:
    data = {"labelled": labelled, "labelled_share": 0.3}
    description = SimpleNamespace(training={"train_seconds": 9.0}, config={"data": data})
    prepared: Any = SimpleNamespace(
        checkpoints={"model": SimpleNamespace(description=description)}, main="model"
    )
    found = evaluate._measured(prepared, None, 1.0)
    wanted = {"data.labelled": "list.jsonl", "data.labelled_share": 0.3} if labelled else {}
    memory = {"peak_rss_gb": 1.0, "evaluation_peak_rss_gb": 1.0}
    assert found == {"train_seconds": 9.0, **memory, **wanted}
