# SPDX-License-Identifier: Apache-2.0
"""Classes of a user's own that break their Protocol are named before training, with their key."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from msdet.composing import compose
from msdet.errors import InputError
from msdet.models.encoders import Encoding
from msdet.parsing import parse
from msdet.training.checks import check
from msdet.training.config import TrainConfig
from msdet.training.preflight import preflight
from msdet.training.run import build_model


class Plain(nn.Module):
    """A right encoder; the others are this one with a fault."""

    def __init__(self, in_channels: int, num_freqs: int, width: int = 4) -> None:
        super().__init__()
        self.full_channels = self.bottom_channels = width
        self.layer = nn.Conv2d(in_channels, width, 1)

    def forward(self, features: Tensor) -> Any:
        x = self.layer(features)
        return Encoding(full=x, bottom=x)


class Transposed(Plain):
    def forward(self, features: Tensor) -> Any:
        x = self.layer(features).mT
        return Encoding(full=x, bottom=x)


class Bare(Plain):
    def forward(self, features: Tensor) -> Any:
        return self.layer(features)


class Nan(Plain):
    def forward(self, features: Tensor) -> Any:
        x = self.layer(features) / 0
        return Encoding(full=x * 0, bottom=x)


class Double(Plain):
    def forward(self, features: Tensor) -> Any:
        x = self.layer(features).double()
        return Encoding(full=x, bottom=x)


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * torch.nan


class NanGradient(Plain):
    def forward(self, features: Tensor) -> Any:
        x = _NanGradient.apply(self.layer(features))
        return Encoding(full=x, bottom=x)


class Detached(Plain):
    def forward(self, features: Tensor) -> Any:
        x = self.layer(features).detach()
        return Encoding(full=x, bottom=x)


class Raises(Plain):
    def forward(self, features: Tensor) -> Any:
        return Encoding(full=features @ features, bottom=features)


class Unsaid(nn.Module):
    def __init__(self, in_channels: int, num_freqs: int) -> None:
        super().__init__()


class Waits(Plain):
    def forward(self, features: Tensor) -> Any:
        x = self.layer(features)
        return Encoding(full=x, bottom=x * (x.abs().max().item() < 1e9))


class OneNumber:
    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        return (estimate - target).abs().mean()


class NanGradientOfLoss:
    def __call__(self, estimate: Tensor, target: Tensor) -> Tensor:
        found: Tensor = (estimate - target).abs().mean((-2, -1))
        return found + (found - found).sqrt()


class Twice:
    by_location = True
    needs = frozenset({"azimuth"})

    def __call__(self, labels: Any, losses: Any) -> Tensor:
        return torch.zeros(labels.azimuth.shape, dtype=torch.long)


class Higher(Twice):
    needs = frozenset({"elevation"})


class Aimless:
    def __call__(self, labels: Any, losses: Any) -> Tensor:
        return torch.zeros(labels.azimuth.shape, dtype=torch.long)


class RealSpeakers(nn.Module):
    def __init__(self, in_channels: int, num_slots: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, num_slots, 1)

    def forward(self, features: Tensor, spectra: Tensor, reference: int) -> Tensor:
        found: Tensor = self.layer(features)
        return found


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mine")
    for name, thing in list(globals().items()):
        if isinstance(thing, type) and thing.__module__ == __name__:
            setattr(module, name, thing)
    monkeypatch.setitem(sys.modules, "mine", module)


def fly(*overrides: str) -> None:
    config = parse(TrainConfig, compose("train", ["experiment=debug", *overrides]))
    array = config.array.build()
    criterion = check(config, array)
    preflight(config, build_model(config, array), criterion)


@pytest.mark.parametrize(
    "override",
    [
        "model.encoder={_target_: mine.Plain, width: 6}",
        "trainer.optimizer={_target_: torch.optim.SGD, momentum: 0.9}",
        "trainer.schedule={_target_: torch.optim.lr_scheduler.StepLR, step_size: 2}",
    ],
)
def test_what_keeps_its_protocol_passes(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    fly(override)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("model.encoder={_target_: mine.Transposed}", "as full, expected float32 [2, 4, "),
        ("model.encoder={_target_: mine.Bare}", "returned Tensor, expected"),
        ("model.encoder={_target_: mine.Nan}", "returned NaN or infinite numbers as full"),
        ("model.encoder={_target_: mine.Double}", "returned float64 [2, 4, "),
        ("model.encoder={_target_: mine.NanGradient}", "the gradient of layer.weight"),
        ("model.encoder={_target_: mine.Detached}", "no gradient reaches the weights"),
        ("model.encoder={_target_: mine.Raises}", "raised RuntimeError"),
        ("model.encoder={_target_: mine.Unsaid}", "must have full_channels"),
        ("model.encoder={_target_: mine.Nothing}", "Nothing"),
        ("model.encoder={_target_: no_such_module.Nothing}", "no_such_module"),
        ("model.encoder={_target_: mine.Plain, widht: 6}", "widht"),
        ("model.encoder={_target_: mine.OneNumber}", "OneNumber"),
        ("model.heads.separation={_target_: mine.RealSpeakers}", "expected complex64"),
        ("criterion.separation_loss={_target_: mine.OneNumber}", "as losses, expected float32"),
        ("criterion.separation_loss={_target_: mine.NanGradientOfLoss}", "is not finite"),
        ("criterion.assignment={_target_: mine.Twice}", "expected an order of 2 speakers"),
        ("criterion.assignment={_target_: mine.Higher}", "expected a set of labels, of targets"),
        ("criterion.assignment={_target_: mine.Aimless}", "no attribute 'by_location'"),
        ("trainer.optimizer={_target_: torch.optim.SGD, momentun: 0.9}", "momentun"),
        ("trainer.schedule={_target_: torch.optim.lr_scheduler.StepLR}", "step_size"),
    ],
)
def test_what_breaks_it_is_named_with_its_key(part: str, told: str) -> None:
    with pytest.raises(InputError) as raised:
        fly(part)
    message = str(raised.value)
    assert message.startswith(f"{part.partition('=')[0]}: ")
    assert told in message
    assert "\n" not in message


def test_who_makes_a_gpu_wait_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    fly("model.encoder={_target_: mine.Waits}")
    assert "model.encoder: mine.Waits reads a value on the host" in capsys.readouterr().err


def test_the_network_and_the_generators_are_left_as_they_were() -> None:
    config = parse(
        TrainConfig, compose("train", ["experiment=debug", "model.encoder={_target_: mine.Plain}"])
    )
    array = config.array.build()
    criterion, model = check(config, array), build_model(config, array)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    preflight(config, model, criterion)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
