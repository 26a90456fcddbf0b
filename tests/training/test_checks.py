# SPDX-License-Identifier: Apache-2.0
"""Whatever passes the checks before training trains every part of its network."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from msdet.composing import compose
from msdet.criteria import Criterion, Labels
from msdet.datasets import Batch
from msdet.errors import InputError
from msdet.parsing import parse
from msdet.training.checks import check
from msdet.training.config import TrainConfig
from msdet.training.module import losses_of
from msdet.training.run import build_model

SAMPLES = 2000
CASES = list(
    product(
        ("criterion.weight=1", "criterion.weight=0.9", "criterion.weight=0"),
        ("hard", "detached", "soft", "none"),
        ("none", "estimated", "oracle"),
        (False, True),
        ("[2,2]", "[1,3]"),
    )
)


def batch(present: torch.Tensor) -> Batch:
    size, speakers = present.shape
    generator = torch.Generator().manual_seed(0)
    return Batch(
        mixture=torch.randn(size, 4, SAMPLES, generator=generator),
        targets=torch.randn(size, speakers, SAMPLES, generator=generator) * present[..., None],
        azimuth=torch.rand(size, speakers, generator=generator) * 360,
        elevation=torch.zeros(size, speakers),
        distance=0.7 + torch.rand(size, speakers, generator=generator),
        present=present,
        index=torch.arange(size),
    )


@pytest.mark.parametrize(("weight", "sharing", "guidance", "distance", "speakers"), CASES)
def test_every_part_is_trained_or_the_config_is_refused(
    weight: str, sharing: str, guidance: str, distance: bool, speakers: str
) -> None:
    overrides = [weight, f"model.sharing={sharing}", f"model.heads.guidance={guidance}"]
    if distance:
        overrides += ["criterion.distance_weight=0.1", "model.heads.distance=regression"]
    overrides += [f"scene.num_speakers={speakers}", "experiment=debug"]
    config = parse(TrainConfig, compose("train", overrides))
    array = config.array.build()
    if sharing != "hard" and weight != "criterion.weight=0.9":
        with pytest.raises(InputError, match=f"model.sharing='{sharing}'"):
            check(config, array)
        return
    check(config, array)
    model, criterion = build_model(config, array), Criterion(config.criterion, False)
    most = config.scene.num_speakers[1]
    there = batch(torch.arange(most) < torch.tensor([[most], [config.scene.num_speakers[0]]]))
    azimuth = None
    if guidance == "oracle":
        order = criterion.location_order(Labels.of(there))
        assert order is not None
        known = there.azimuth.masked_fill(~there.present, torch.nan)
        azimuth = torch.take_along_dim(known, order, 1)
    losses_of(criterion, model, model(there.mixture, azimuth=azimuth), there).total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert [name for name, g in gradients.items() if g is None] == []
    assert all(torch.isfinite(g).all() for g in gradients.values() if g is not None)


@pytest.mark.parametrize("key", ["beamformer=steered", "dereverberations=2"])
def test_nothing_is_steered_to_directions_that_nothing_trains(key: str) -> None:
    overrides = ["experiment=debug", "criterion.weight=1", f"model.heads.{key}"]
    config = parse(TrainConfig, compose("train", overrides))
    told = key.replace("steered", "'steered'")
    with pytest.raises(InputError, match=rf"model\.heads\.{told} with criterion\.weight=1"):
        check(config, config.array.build())


def test_a_combiner_of_nothing_is_refused() -> None:
    overrides = ["experiment=debug", "model.heads.combiner_blocks=2"]
    config = parse(TrainConfig, compose("train", overrides))
    with pytest.raises(InputError, match=r"combiner_blocks=2 with .*dereverberations=0"):
        check(config, config.array.build())


def test_fewer_slots_than_speakers_are_refused() -> None:
    overrides = ["experiment=debug", "scene.num_speakers=[2,3]", "model.slots=2"]
    config = parse(TrainConfig, compose("train", overrides))
    with pytest.raises(InputError, match=r"model\.slots=2: fewer .*scene\.num_speakers=\[2, 3\]"):
        check(config, config.array.build())
