# SPDX-License-Identifier: Apache-2.0
"""``msdet train`` with recordings of which only some labels are known, alone and among others."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from msdet.cli import main
from msdet.composing import compose
from msdet.corpora import open_corpus
from msdet.datasets import ALL_LABELS, MixedExamples
from msdet.datasets.labelled import LabelledExamples
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.training.config import TrainConfig
from msdet.training.data import open_examples

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("same_home")]


@pytest.fixture(scope="module")
def recordings(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of simulated mixtures as if they were recordings: some with directions only."""
    folder = tmp_path_factory.mktemp("recordings")
    rows = []
    for number, mixture in enumerate(sorted((simulated / "audio").iterdir())[:4]):
        shutil.copytree(mixture, folder / mixture.name)
        speakers = json.loads((mixture / "labels.json").read_text())["speakers"]
        row: dict[str, object] = {"mixture": f"{mixture.name}/mixture.wav"}
        if number != 0:
            row["azimuth"] = [speaker["azimuth"] for speaker in speakers]
        if number != 1:
            row["targets"] = [f"{mixture.name}/{speaker['file']}" for speaker in speakers]
        rows.append(row)
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def config(debug: tuple[str, ...], recordings: Path) -> Callable[..., TrainConfig]:
    def made(*overrides: str) -> TrainConfig:
        command = [*debug, f"data.labelled={recordings}", *overrides]
        return parse(TrainConfig, compose("train", command))

    return made


@pytest.mark.slow
def test_training_goes_over_recordings_and_simulated_mixtures(
    debug: tuple[str, ...], recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    settings = (f"data.labelled={recordings}", "criterion.assignment=joint_pit", "evaluate=false")
    assert main(["train", *debug, *settings, f"output={run}"]) == 0
    assert "4 recordings to train on (3 with azimuth, 3 with targets)" in capsys.readouterr().err
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert rows
    assert all(abs(row["train_loss"]) < 100 for row in rows)


def test_what_examples_may_lack_is_known_before_training(
    config: Callable[..., TrainConfig],
) -> None:
    mixed = config()
    array = mixed.array.build()
    corpus = open_corpus(mixed.corpus, mixed.sample_rate)
    some = open_examples(mixed, array, corpus).examples
    assert some.labels == frozenset()
    assert some.any_labels == ALL_LABELS
    only = open_examples(config("data.labelled_share=1"), array, corpus)
    assert only.examples.labels == frozenset()
    assert only.examples.any_labels == {"azimuth", "targets"}
    assert not only.banks
    simulated = open_examples(config("data.labelled=null"), array, corpus).examples
    assert simulated.labels == simulated.any_labels == ALL_LABELS


def test_a_share_of_one_takes_recordings_alone(config: Callable[..., TrainConfig]) -> None:
    for share, kind in (("1", LabelledExamples), ("0.4", MixedExamples)):
        chosen = config(f"data.labelled_share={share}")
        array = chosen.array.build()
        corpus = open_corpus(chosen.corpus, chosen.sample_rate)
        examples = open_examples(chosen, array, corpus).examples
        assert isinstance(examples, kind)
        assert len(examples) == chosen.data.examples_per_epoch
        assert examples.example(0, 0).mixture.shape[0] == array.num_mics


@pytest.mark.parametrize(
    "override", ["data.simulated=somewhere", "data.bank=somewhere", "data.fresh_rooms=0.5"]
)
def test_what_a_share_of_one_never_uses_is_refused(
    config: Callable[..., TrainConfig], override: str
) -> None:
    chosen = config("data.labelled_share=1", override)
    with pytest.raises(InputError, match=rf"{override}: is never used with data.labelled_share=1"):
        open_examples(chosen, chosen.array.build(), open_corpus(chosen.corpus, 8000))


@pytest.mark.parametrize("share", ["0", "1.5", "-0.1"])
def test_other_shares_are_refused(config: Callable[..., TrainConfig], share: str) -> None:
    with pytest.raises(InputError, match=rf"data\.labelled_share={share}"):
        config(f"data.labelled_share={share}")


def test_a_bad_list_stops_training_before_it_begins(
    debug: tuple[str, ...], recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recordings.parent / "bad.jsonl"
    path.write_text(recordings.read_text() + '{"mixture": "gone.wav", "azimuth": [1, 2]}\n')
    run = tmp_path / "run"
    assert main(["train", *debug, f"data.labelled={path}", f"output={run}"]) == 2
    line = capsys.readouterr().err.rstrip("\n")
    assert line == f"msdet train: {path}:5: mixture: {path.parent / 'gone.wav'}: no such file"
    assert not run.exists()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["criterion.assignment=azimuth"],
            r"criterion\.assignment='azimuth': needs every example's azimuth, .* joint_pit",
        ),
        (["criterion.assignment=nearest_gap"], "azimuth and distance"),
        (["criterion.assignment=pit"], "needs every example's targets"),
        (
            [
                "data.labelled_share=1",
                "criterion.assignment=joint_pit",
                "model.heads.distance=regression",
                "criterion.distance_weight=0.1",
            ],
            r"criterion\.distance_weight=0\.1: trains distance, but no example has distance",
        ),
    ],
)
def test_a_criterion_that_needs_what_examples_lack_is_refused(
    debug: tuple[str, ...],
    recordings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    says: str,
) -> None:
    run = tmp_path / "run"
    command = ["train", *debug, f"data.labelled={recordings}", *overrides, f"output={run}"]
    assert main(command) == 2
    assert re.search(says, capsys.readouterr().err)
    assert not run.exists()


@pytest.mark.slow
def test_a_stopped_run_does_not_go_on_with_another_list(
    start: Callable[..., Any], debug: tuple[str, ...], recordings: Path, tmp_path: Path
) -> None:
    path = recordings.parent / "changing.jsonl"
    path.write_text(recordings.read_text())
    settings = (f"data.labelled={path}", "criterion.assignment=joint_pit", "evaluate=false")
    command = ("train", *debug, *settings, f"output={tmp_path / 'run'}")
    stopped = start(*command)
    stopped.wait_until(lambda: (tmp_path / "run" / "last.ckpt").exists())
    stopped.kill()
    path.write_text("\n".join(recordings.read_text().splitlines()[:3]))
    refused = start(*command).finish()
    assert refused.code == 2, refused.err
    assert "holds 3 mixtures, other ones than the 4" in refused.err
