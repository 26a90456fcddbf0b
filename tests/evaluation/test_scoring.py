# SPDX-License-Identifier: Apache-2.0
"""Labels of rendered scenes, and rows that depend on their scene alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.corpora import BundledConfig, open_corpus
from msdet.evaluation.scoring import SceneScorer, Scoring
from msdet.evaluation.systems.names import DEFAULT
from msdet.metrics.choose import MATCHING
from msdet.metrics.conditions import LABELS
from msdet.metrics.summary import summarise
from msdet.simulation import Scene, fixed_scenes

RATE = 8000


@pytest.fixture(scope="module")
def scenes(arrays: dict[str, Any]) -> tuple[Scene, ...]:
    """Six anechoic scenes of a second, of two people and diffuse noise."""
    from msdet.composing import compose
    from msdet.parsing import parse
    from msdet.training.config import TrainConfig

    overrides = [
        "experiment=debug",
        "scene.rirs=anechoic",
        "scene.background.kinds=[diffuse]",
        "scene.overlap=[0.5,0.5]",
    ]
    config = parse(TrainConfig, compose("train", overrides))
    corpus = open_corpus(BundledConfig(), RATE).split("test")
    return fixed_scenes(
        config.scene,
        arrays["circle4"],
        corpus,
        seed=0,
        split="test",
        count=6,
        sample_rate=RATE,
        seconds=1.0,
    )


@pytest.fixture(scope="module")
def scorer(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> SceneScorer:
    folder = tmp_path_factory.mktemp("scoring")
    metrics = dict.fromkeys(DEFAULT, (MATCHING,))
    bank = folder / "rirs"
    return SceneScorer(
        Scoring({"model": saved}, BundledConfig(), RATE, "test", bank, DEFAULT, metrics)
    )


def test_labels_are_those_that_conditions_know(
    scorer: SceneScorer, scenes: tuple[Scene, ...]
) -> None:
    labels = scorer.score(scenes[0])[0].labels
    assert {*labels.scene, *labels.speaker} == set(LABELS)
    assert labels.scene["background"] == "diffuse"
    assert labels.scene["num_speakers"] == 2


def test_labels_say_what_was_drawn(scorer: SceneScorer, scenes: tuple[Scene, ...]) -> None:
    for scene in scenes:
        heard = scorer.do(scene).heard
        labels = scorer.score(scene)[0].labels
        reference = heard.reference_mic
        images, noise = heard.parts.images[:, reference], heard.parts.noise[reference]
        power = np.mean(np.square(images), axis=1)
        speech = np.mean(np.square(images.sum(axis=0)))
        snr = 10 * np.log10(speech / np.mean(np.square(noise)))
        assert labels.scene["snr_db"] == pytest.approx(snr, abs=0.5)  # of two noises that add up
        sir = 10 * np.log10(power[0] / power[1])
        assert labels.speaker["sir_db"] == pytest.approx((sir, -sir), abs=0.1)
        assert labels.scene["overlap"] == pytest.approx(0.5, abs=0.1)


def test_every_system_gives_a_score_of_every_scene(
    scorer: SceneScorer, scenes: tuple[Scene, ...]
) -> None:
    for row, taken in map(scorer.score, scenes):
        assert tuple(row.systems) == DEFAULT
        assert set(taken.seconds) == set(DEFAULT)
        assert taken.audio_seconds == 1.0
        unprocessed = row.systems["unprocessed"]
        for speaker in unprocessed.speakers:
            assert speaker.scores["si_sdr_improvement"] == 0.0
        music = row.systems["music"].speakers
        assert all(speaker.azimuth_error_best_matched is not None for speaker in music)
        assert not row.systems["oracle_mvdr"].failures


def test_nobody_is_found_where_nobody_speaks(
    scorer: SceneScorer, scenes: tuple[Scene, ...]
) -> None:
    speakers = scenes[0].speech[:1]
    background = scenes[0].background
    assert background is not None
    noise = background.model_copy(update={"talkers": speakers})
    row, _ = scorer.score(scenes[0].model_copy(update={"speech": (), "background": noise}))
    assert row.labels.scene["num_speakers"] == 0
    for system in DEFAULT:
        assert row.systems[system].speakers == ()
        assert not row.systems[system].failures
    assert row.systems["oracle_mask"].attenuation_db == ()
    summary = summarise([row, scorer.score(scenes[1])[0]], "model")
    assert (summary["num_scenes"], summary["num_speakers"]) == (2, 2)


def test_ceilings_are_above_what_is_told_less(
    scorer: SceneScorer, scenes: tuple[Scene, ...]
) -> None:
    def mean(system: str) -> float:
        rows = [scorer.score(scene)[0].systems[system] for scene in scenes]
        return float(np.mean([s.scores["si_sdr_improvement"] for r in rows for s in r.speakers]))

    told = {name: mean(name) for name in ("delay_and_sum", "oracle_mask", "oracle_mvdr")}
    assert 0 < told["delay_and_sum"] < told["oracle_mask"]
    assert told["delay_and_sum"] < told["oracle_mvdr"]


def test_rows_come_out_the_same_again(scorer: SceneScorer, scenes: tuple[Scene, ...]) -> None:
    first = [scorer.score(scene)[0] for scene in scenes]
    again = [scorer.score(scene)[0] for scene in reversed(scenes)]
    assert first == again[::-1]
    assert [scene.id for scene in scenes] == [row.id for row in first]
