# SPDX-License-Identifier: Apache-2.0
"""Two training steps on noise, before a run whose config names classes of a user's own.

What breaks its Protocol is named here, with its key, and not after rooms were simulated.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from msdet.criteria import Criterion
from msdet.datasets import Batch
from msdet.errors import InputError, shortened
from msdet.models.msdet import MSDET
from msdet.parts import OwnPart, own_targets
from msdet.training.config import TrainConfig
from msdet.training.module import Training, forward, losses_of, optimizer_and_schedule

_SECONDS = 1.0
"""Longest mixture of noise: enough frames for any receptive field, and soon done."""

_WAITS = ("aten._local_scalar_dense", "aten.nonzero", "aten.is_nonzero")
"""Operators by which a value is read on the host; each makes a GPU wait."""


def preflight(config: TrainConfig, model: MSDET, criterion: Criterion) -> None:
    """Take two steps with a copy of the network, and see what its own classes return.

    Raises:
        InputError: a class returns another shape or type than its Protocol says, no finite
            number, or passes no gradient on; names the key and the class.
    """
    values = config.model_dump(mode="json")
    if not any(own_targets([values["model"], values["criterion"], values["trainer"]])):
        return
    keys = _Keys(config)
    with torch.random.fork_rng(devices=[]):
        model, criterion = copy.deepcopy(model), copy.deepcopy(criterion)
        module = Training(model, criterion, config.trainer)
        keys.watch(model, criterion)
        with keys.told("trainer.optimizer"):
            optimizer, schedule = optimizer_and_schedule(config.trainer, model, criterion, 2)
        batch = noise_batch(config, model)
        for _ in range(2):
            with keys.told(None), keys.waits:
                output = forward(model, batch, criterion)
                total = losses_of(criterion, model, output, batch).total
                penalty = module.penalty()
                total = total if penalty is None else total + penalty
            if not torch.isfinite(total):
                raise InputError(
                    f"criterion: the loss of noise is {total.item()}, no finite number"
                )
            if not total.requires_grad:
                raise InputError("criterion: no gradient goes from the loss to the network")
            with keys.told(None):
                torch.autograd.backward(total)
            _check_gradients(model, keys)
            with keys.told("trainer.optimizer"):
                optimizer.step()
                optimizer.zero_grad()
            with keys.told("trainer.schedule"):
                schedule.step()
    for key in sorted(keys.waits.found):
        Console(stderr=True).print(
            f"{key}: {keys.targets[key]} reads a value on the host in each step (item, nonzero, "
            "indexing by a mask, ...), for which a GPU has to wait",
            soft_wrap=True,
        )


class _Keys:
    """The classes of a config by their keys, and the one that is at work."""

    def __init__(self, config: TrainConfig) -> None:
        model, criterion, trainer = config.model, config.criterion, config.trainer
        parts = {
            "model.frontend": model.frontend,
            "model.encoder": model.encoder,
            "model.heads.separation": model.heads.separation,
            "criterion.separation_loss": criterion.separation_loss,
            "criterion.direction_loss": criterion.direction_loss,
            "criterion.assignment": criterion.assignment,
            "trainer.optimizer": trainer.optimizer,
            "trainer.schedule": trainer.schedule,
        }
        self.targets = {key: p.target for key, p in parts.items() if isinstance(p, OwnPart)}
        self._slots, self.at_work = config.num_slots, list[str]()
        self.modules: dict[str, nn.Module] = {}
        self.waits = _Waits(self.at_work)

    def watch(self, model: MSDET, criterion: Criterion) -> None:
        """Check what each class returns, from now on."""
        checked_modules: tuple[tuple[str, Any, Callable[..., str]], ...] = (
            ("model.frontend", model.frontend, self._features),
            ("model.encoder", model.encoder, self._encoding),
            ("model.heads.separation", model.separation_head, self._speakers),
        )
        for key, module, check in checked_modules:
            if key in self.targets:
                self.modules[key] = module
                module.forward = self._checked(key, module.forward, check, module)
        for name in ("separation_loss", "direction_loss"):
            if (key := f"criterion.{name}") in self.targets:
                loss = getattr(criterion, name)
                # Losses may be modules, which only a module can take the place of.
                vars(criterion).get("_modules", {}).pop(name, None)
                checked: Any = self._watched(key, self._checked(key, loss, self._losses))
                checked.domain = getattr(loss, "domain", "spectrum")
                setattr(criterion, name, checked)
        if (key := "criterion.assignment") in self.targets:
            rule = criterion.assign
            ordered: Any = self._checked(key, rule, self._order)
            ordered.by_location, ordered.needs = rule.by_location, rule.needs
            vars(criterion).get("_modules", {}).pop("assign", None)
            criterion.assign = ordered

    def _checked(
        self, key: str, act: Callable[..., Any], check: Callable[..., str], *more: Any
    ) -> Callable[..., Any]:
        def acting(*arguments: Any, **keywords: Any) -> Any:
            self.at_work.append(key)
            found = act(*arguments, **keywords)
            self.at_work.pop()
            if wrong := check(found, *more, *arguments):
                raise InputError(f"{key}: {self.targets[key]} {wrong}")
            return found

        return acting

    def _watched(self, key: str, loss: Callable[..., Any]) -> Callable[..., Any]:
        """Return a loss whose gradient is checked before it goes on into the network."""

        def check(gradient: Tensor) -> None:
            if not bool(torch.isfinite(gradient).all()):
                raise InputError(f"{key}: the gradient of {self.targets[key]} is not finite")

        def acting(estimate: Tensor, *arguments: Any) -> Any:
            if estimate.requires_grad:
                estimate = estimate.view_as(estimate)  # others' gradients do not pass here
                estimate.register_hook(check)  # type: ignore[no-untyped-call]
            return loss(estimate, *arguments)

        return acting

    @contextmanager
    def told(self, key: str | None) -> Iterator[None]:
        """Say of what goes wrong which class it happened in.

        Args:
            key: of the class; None: of the one that is at work.
        """
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # whatever a class of the user's raises
            key = key or (self.at_work[-1] if self.at_work else None)
            if key not in self.targets:
                raise
            why = shortened(str(error) or type(error).__name__, 240)
            raise InputError(
                f"{key}: {self.targets[key]} raised {type(error).__name__}: {why}"
            ) from error

    def _features(self, found: Any, module: Any, spectra: Tensor, *_: Any) -> str:
        batch, _mics, freqs, frames = spectra.shape
        return _misfit("features", found, (batch, module.out_channels, freqs, frames))

    def _encoding(self, found: Any, module: Any, features: Tensor) -> str:
        full, bottom = getattr(found, "full", None), getattr(found, "bottom", None)
        if full is None or bottom is None:
            return (
                f"returned {type(found).__name__}, expected msdet.models.encoders.Encoding(full, "
                "bottom)"
            )
        batch, _channels, freqs, frames = features.shape
        return _misfit("full", full, (batch, module.full_channels, freqs, frames)) or _misfit(
            "bottom", bottom, (batch, module.bottom_channels, None, frames)
        )

    def _speakers(self, found: Any, module: Any, features: Tensor, spectra: Tensor, _: int) -> str:
        batch, _mics, freqs, frames = spectra.shape
        wanted = (batch, self._slots, freqs, frames)
        return _misfit("speakers", found, wanted, torch.complex64)

    def _losses(self, found: Any, one: Tensor, other: Tensor, *_: Any) -> str:
        shape = (one + other).shape
        real = isinstance(found, Tensor) and found.is_floating_point()
        dtype = found.dtype if real else torch.float32  # a sum of them may be in any
        return _misfit("losses", found, tuple(shape[: -2 if one.is_complex() else -1]), dtype)

    def _order(self, found: Any, labels: Any, _: Any) -> str:
        speakers = labels.num_speakers
        if not isinstance(found, Tensor) or found.dtype != torch.long:
            return f"returned {_described(found)}, expected an order, int64 [batch, slot]"
        if found.shape[1:] != (speakers,) or not bool(
            (found.sort(dim=1).values == torch.arange(speakers)).all()
        ):
            return f"returned {found[0].tolist()}, expected an order of {speakers} speakers"
        return ""


class _Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the classes that read a value on the host while they are at work."""

    def __init__(self, at_work: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.at_work, self.found = at_work, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.at_work and str(func).startswith(_WAITS):
            self.found.add(self.at_work[-1])
        return func(*args, **(kwargs or {}))


def noise_batch(config: TrainConfig, model: MSDET) -> Batch:
    """Return two mixtures of noise of up to a second, with all labels."""
    crop = max(config.model.stft.window, round(config.sample_rate * _SECONDS))
    samples = min(round(config.data.crop_seconds * config.sample_rate), crop)
    slots, mics = model.num_slots, model.array.num_mics
    targets = torch.randn(2, slots, samples) / math.sqrt(slots)
    azimuth = torch.linspace(10.0, 170.0, slots).expand(2, -1)
    return Batch(
        mixture=targets.sum(1, keepdim=True) + 0.1 * torch.randn(2, mics, samples),
        targets=targets,
        azimuth=azimuth,
        elevation=torch.zeros_like(azimuth),
        distance=torch.linspace(1.0, 2.0, slots).expand(2, -1),
        present=torch.ones_like(azimuth, dtype=torch.bool),
        index=torch.arange(2),
    )


def _misfit(
    what: str, found: Any, wanted: tuple[int | None, ...], dtype: torch.dtype = torch.float32
) -> str:
    """Say how a result differs from what is wanted, None being any length; empty if it does not."""
    shape = "[" + ", ".join("any" if n is None else str(n) for n in wanted) + "]"
    fits = (
        isinstance(found, Tensor)
        and found.dtype == dtype
        and len(found.shape) == len(wanted)
        and all(n is None or n == m for n, m in zip(wanted, found.shape, strict=False))
    )
    if not fits:
        kind = str(dtype).removeprefix("torch.")
        return f"returned {_described(found)} as {what}, expected {kind} {shape}"
    if not bool(torch.isfinite(found).all()):
        return f"returned NaN or infinite numbers as {what}"
    return ""


def _described(found: Any) -> str:
    if isinstance(found, Tensor):
        return f"{str(found.dtype).removeprefix('torch.')} {list(found.shape)}"
    return type(found).__name__


def _check_gradients(model: MSDET, keys: _Keys) -> None:
    """See that a finite gradient reaches each class that has weights to train, and the encoder."""
    parts = {"model.encoder": model.encoder, **keys.modules}
    for key, module in parts.items():
        weights = {n: w for n, w in module.named_parameters() if w.requires_grad}
        who = keys.targets.get(key, "the U-Net")
        if weights and all(weight.grad is None for weight in weights.values()):
            raise InputError(f"{key}: no gradient reaches the weights of {who} in a training step")
        for name, weight in weights.items():
            if weight.grad is not None and not bool(torch.isfinite(weight.grad).all()):
                raise InputError(f"{key}: the gradient of {name} in {who} is not finite")
