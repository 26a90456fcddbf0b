# SPDX-License-Identifier: Apache-2.0
"""Results of an evaluation beside its scores: times, and the recordings of a training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from msdet.evaluation import evaluate


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
