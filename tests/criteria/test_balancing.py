# SPDX-License-Identifier: Apache-2.0
"""Balancing against closed forms, and gradients of real networks against plain ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchjd.aggregation import Sum

from msdet.criteria import upgrad
from msdet.criteria.balancing import LossBalance
from msdet.criteria.config import Balancing
from msdet.criteria.losses import distance_loss, spectral_l1
from msdet.models.msdet import MSDET, Output
from msdet.tasks import Task

TASKS: tuple[Task, ...] = ("separation", "direction", "distance")
WEIGHTS: dict[Task, float] = {"separation": 0.97, "direction": 0.03}


def losses_of(model: MSDET, output: Output) -> dict[Task, Tensor]:
    """Losses of some targets that have nothing to do with the mixture."""
    generator = torch.Generator().manual_seed(5)
    targets = torch.randn(output.audio.shape, generator=generator)
    azimuth = 360.0 * torch.rand(output.audio.shape[:2], generator=generator)
    spectra = model.stft(targets)
    losses: dict[Task, Tensor] = {
        "separation": torch.stack([spectral_l1(x, spectra).mean() for x in output.stages]).mean()
    }
    assert output.azimuth_logits is not None
    assert output.coarse_logits is not None
    fine = F.cross_entropy(output.azimuth_logits.mT, model.grid.index(azimuth))
    coarse = F.cross_entropy(output.coarse_logits.mT, model.look_grid.index(azimuth))
    losses["direction"] = (fine + coarse) / 2
    if model.distance_head is not None:
        assert output.distance is not None
        losses["distance"] = distance_loss(output.distance, azimuth / 100 + 0.5).mean()
    return losses


def forward(model: MSDET) -> tuple[dict[Task, Tensor], list[Tensor]]:
    """Losses and features of one fixed mixture."""
    mixture = torch.randn(2, 4, 1600, generator=torch.Generator().manual_seed(6))
    output = model(mixture)
    return losses_of(model, output), [output.encoding.full, output.encoding.bottom]


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {
        name: None if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }


def assert_same(found: Mapping[str, Tensor | None], expected: Mapping[str, Tensor | None]) -> None:
    """Every weight's gradient: none where none is expected, else equal up to rounding.

    A bias before a normalisation has a gradient of rounding errors alone, so that what is
    negligible is told from the largest of the network.
    """
    assert {name for name in found if found[name] is None} == {
        name for name in expected if expected[name] is None
    }
    largest = max(float(g.abs().max()) for g in expected.values() if g is not None)
    assert largest > 0
    for name, gradient in expected.items():
        one = found[name]
        if one is not None and gradient is not None:
            close = torch.allclose(one, gradient, rtol=1e-3, atol=1e-5 * largest)
            assert close, f"{name}: off by {(one - gradient).abs().max()} of {largest}"


@pytest.mark.parametrize("guidance", ["none", "estimated"])
@pytest.mark.parametrize("changes", [{}, {"distance": "classes"}, {"frontend": "ri"}])
@pytest.mark.parametrize("freeze", [[], ["encoder"], ["coarse_head", "refinement_head"]])
def test_aggregated_by_a_sum_every_gradient_is_the_plain_one(
    make_model: Callable[..., MSDET],
    monkeypatch: pytest.MonkeyPatch,
    guidance: str,
    changes: dict[str, str],
    freeze: list[str],
) -> None:
    monkeypatch.setattr(upgrad, "UPGrad", lambda *_: Sum())
    model = make_model(guidance=guidance, **changes).train()
    for part in freeze:
        getattr(model, part).requires_grad_(False)
    losses, _ = forward(model)
    torch.stack(list(losses.values())).sum().backward()
    expected = gradients(model)
    model.zero_grad()
    losses, features = forward(model)
    upgrad.backward(list(losses.values()), features)
    assert_same(gradients(model), expected)
    assert not any(hasattr(weight, "jac") for weight in model.parameters())


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_a_real_network_takes_projected_gradients_where_its_tasks_share_weights(
    make_model: Callable[..., MSDET], direction: float
) -> None:
    """A loss and its negative conflict for certain; with itself it does not."""
    model = make_model().train()
    encoder = dict(model.encoder.named_parameters(prefix="encoder"))
    losses, features = forward(model)
    # of two conflicting gradients each is projected, of two that agree none is
    losses["direction"] = losses["direction"] + direction * 10 * losses["separation"]
    kept = {"retain_graph": True, "allow_unused": True}
    weighted = [WEIGHTS[task] * loss for task, loss in losses.items()]
    rows = [torch.autograd.grad(loss, list(encoder.values()), **kept) for loss in weighted]
    one, other = (torch.cat([g.flatten() for g in row]) for row in rows)
    assert (torch.dot(one, other) < 0) == (direction < 0)
    shared = torch.cat([g.flatten() for g in two_projected(one, other)[None]])
    parts = shared.split([weight.numel() for weight in encoder.values()])
    expected = {
        name: part.reshape(weight.shape)
        for (name, weight), part in zip(encoder.items(), parts, strict=True)
    }
    torch.stack(weighted).sum().backward(retain_graph=True)
    plain = gradients(model)
    model.zero_grad()
    upgrad.backward(LossBalance("upgrad", WEIGHTS).weighted(losses), features)
    assert_same(gradients(model), plain | expected)


def test_annealed_weights_fall_with_what_is_left_of_the_training() -> None:
    balance = LossBalance("anneal", {"separation": 0.9, "direction": 0.1})
    losses: dict[Task, Tensor] = {"separation": torch.tensor(2.0), "direction": torch.tensor(30.0)}
    totals = []
    for left in (1.0, 0.5, 0.0):
        balance.left = left
        assert balance.current() == {"separation": 0.9, "direction": 0.1 * left}
        totals.append(float(balance.total(losses)))
    assert totals == pytest.approx([4.8, 3.3, 1.8])


def test_gradients_are_added_to_those_that_are_there() -> None:
    losses, features, shared, _ = conflict(torch.eye(2))
    shared.grad = torch.tensor([10.0, 20.0])
    upgrad.backward(list(losses.values()), features)
    torch.testing.assert_close(shared.grad, torch.tensor([11.0, 21.0]))


def two_projected(one: Tensor, other: Tensor) -> Tensor:
    """Yu et al., algorithm 1, for two tasks."""
    product = torch.dot(one, other)
    if product >= 0:
        return one + other
    return one - product / other.square().sum() * other + other - product / one.square().sum() * one


def dual_cone_projection(vector: Tensor, rows: Tensor) -> Tensor:
    """The nearest x with rows @ x >= 0, by Dykstra's alternating projections."""
    x, corrections = vector.double(), torch.zeros_like(rows, dtype=torch.float64)
    for _ in range(20000):
        before = x
        for i, row in enumerate(rows.double()):
            y = x + corrections[i]
            x = y - torch.dot(row, y).clamp_max(0.0) / row.square().sum() * row
            corrections[i] = y - x
        if torch.equal(x, before):
            break
    return x


def conflict(
    rows: Tensor, scale: float = 1.0
) -> tuple[dict[Task, Tensor], list[Tensor], nn.Parameter, nn.Parameter]:
    """Losses whose gradients on shared weights are rows, and 1, 2, ... on a weight of all heads."""
    shared = nn.Parameter(torch.linspace(0.2, 0.7, rows.shape[1]))
    head = nn.Parameter(torch.tensor(0.0))
    feature = 1.0 * shared
    losses = {
        task: scale * (torch.dot(row, feature) + (i + 1) * head)
        for i, (task, row) in enumerate(zip(TASKS, rows, strict=False))
    }
    return losses, [feature], shared, head


def update(rows: Tensor, weights: list[float], scale: float = 1.0) -> Tensor:
    """What it makes of gradients; the heads' is checked to be the weighted sum."""
    losses, features, shared, head = conflict(rows, scale)
    balance = LossBalance("upgrad", dict(zip(TASKS, weights, strict=False)))
    upgrad.backward(balance.weighted(losses), features)
    assert head.grad is not None
    plain = scale * sum(weight * (i + 1) for i, weight in enumerate(weights))
    assert float(head.grad) == pytest.approx(plain, rel=1e-5)
    assert shared.grad is not None
    return shared.grad


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.0], [-1.0, 1.0]],
        [[4.0, 1.0], [-2.0, 0.1]],
        [[1.0, 2.0], [2.0, 1.0]],  # no conflict
        [[1.0, 2.0], [-1.0, -2.0]],  # nothing but conflict
        [[1.0, 2.0], [0.0, 0.0]],  # a batch without one task's labels
        [[0.0, 0.0], [0.0, 0.0]],
        [[1.0, 2.0], [-1e-4, 1e-6]],
    ],
)
def test_two_tasks_by_the_formula(rows: list[list[float]]) -> None:
    """That of PCGrad: the projection onto the dual cone of two gradients is the same."""
    given, weights = torch.tensor(rows), torch.tensor([0.97, 0.03])
    one, other = weights[:, None] * given
    expected = one + other if not given.any(dim=1).all() else two_projected(one, other)
    found = update(given, weights.tolist())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


_GRADIENTS = st.lists(
    st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), min_size=3, max_size=3
)


@settings(max_examples=30, deadline=None)
@given(_GRADIENTS)
def test_upgrad_of_three_tasks_adds_up_projections_onto_the_dual_cone(
    rows: list[list[float]],
) -> None:
    given = torch.tensor(rows)
    assume(np.linalg.cond(given.numpy()) < 20)
    weights = [0.5, 0.3, 0.2]
    found = update(given, weights).double()
    weighted = torch.tensor(weights)[:, None] * given
    expected = torch.stack([dual_cone_projection(row, weighted) for row in weighted]).sum(0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert (given.double() @ found).min() > -1e-4  # no task's loss rises


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_what_becomes_of_gradients_does_not_depend_on_their_scale(
    scale: float,
) -> None:
    rows = torch.tensor([[1.0, 0.5, 0.0], [-0.3, 1.0, 0.2], [-0.5, -0.4, 0.1]])
    found = update(rows, [0.5, 0.3, 0.2], scale)
    expected = update(rows, [0.5, 0.3, 0.2])
    torch.testing.assert_close(found / scale, expected, rtol=1e-4, atol=1e-5)


def test_a_gradient_that_is_not_a_number_stays_one() -> None:
    found = update(torch.tensor([[1.0, float("nan")], [-1.0, 1.0]]), [0.5, 0.5])
    assert found.isnan().any()


@pytest.mark.parametrize("method", ["fixed", "upgrad"])
def test_the_fixed_weights_stay_what_is_logged(method: Balancing) -> None:
    balance = LossBalance(method, WEIGHTS)
    losses: dict[Task, Tensor] = {"separation": torch.tensor(0.4), "direction": torch.tensor(3.0)}
    assert float(balance.total(losses)) == pytest.approx(0.97 * 0.4 + 0.03 * 3.0)
    balance.close_epoch()
    assert balance.current() == WEIGHTS
    assert not list(balance.parameters())


def test_fixed_weights_leave_nothing_in_a_checkpoint() -> None:
    assert LossBalance("fixed", WEIGHTS).state_dict() == {}


def scalars(*values: float) -> dict[Task, Tensor]:
    return {task: torch.tensor(value) for task, value in zip(TASKS, values, strict=False)}


def test_uncertainty_starts_at_the_fixed_weights_and_ends_where_its_likelihood_is_largest() -> None:
    balance = LossBalance("uncertainty", {**WEIGHTS, "distance": 0.1})
    assert balance.current() == pytest.approx({**WEIGHTS, "distance": 0.1})
    optimiser = torch.optim.LBFGS(balance.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        total = balance.total(scalars(0.25, 1.6, 0.8))
        total.backward()
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    # of Laplace -log p = loss / b + log(b): b = loss; of the others loss / v + log(v) / 2
    expected = {"separation": 1 / 0.25, "direction": 1 / (2 * 1.6), "distance": 1 / (2 * 0.8)}
    assert balance.current() == pytest.approx(expected, rel=1e-3)


def test_uncertainty_weighs_gradients_by_what_it_says() -> None:
    balance = LossBalance("uncertainty", WEIGHTS)
    losses = {task: loss.requires_grad_() for task, loss in scalars(0.4, 3.0).items()}
    balance.total(losses).backward()
    assert {t: float(x.grad) for t, x in losses.items()} == pytest.approx(balance.current())  # type: ignore[arg-type]


def test_uncertainty_learns_nothing_from_a_batch_without_labels() -> None:
    balance = LossBalance("uncertainty", WEIGHTS)
    balance.total(scalars(0.4, 0.0)).backward()
    assert balance.log_scales.grad is not None
    assert balance.log_scales.grad[0] != 0
    assert balance.log_scales.grad[1] == 0


EPOCHS = [[(0.5, 3.0), (0.3, 5.0)], [(0.2, 3.0), (0.4, 3.0)], [(0.3, 1.0), (0.1, 2.0)]]


def train_epoch(balance: LossBalance, steps: list[tuple[float, ...]]) -> list[float]:
    totals = [float(balance.total(scalars(*step))) for step in steps]
    balance.close_epoch()
    return totals


def test_dwa_by_hand() -> None:
    balance = LossBalance("dwa", WEIGHTS)
    for epoch in EPOCHS[:2]:
        expected = [0.97 * sep + 0.03 * direction for sep, direction in epoch]
        assert balance.current() == pytest.approx(WEIGHTS)
        assert train_epoch(balance, epoch) == pytest.approx(expected)
    rates = np.array([0.3 / 0.4, 3.0 / 4.0])
    factors = 2 * np.exp(rates / 2) / np.exp(rates / 2).sum()
    assert list(balance.current().values()) == pytest.approx(factors * [0.97, 0.03])
    weights = list(balance.current().values())
    expected = [weights[0] * sep + weights[1] * direction for sep, direction in EPOCHS[2]]
    assert train_epoch(balance, EPOCHS[2]) == pytest.approx(expected)
    rates = np.array([0.2 / 0.3, 1.5 / 3.0])
    factors = 2 * np.exp(rates / 2) / np.exp(rates / 2).sum()
    assert list(balance.current().values()) == pytest.approx(factors * [0.97, 0.03])
    assert factors[0] > 1 > factors[1]  # separation fell less


_LOSS = st.floats(0.0625, 16, width=32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(_LOSS, _LOSS, _LOSS), min_size=3, max_size=6), st.floats(0.01, 100))
def test_dwa_factors_add_up_to_the_tasks_and_know_no_scale(
    epochs: list[tuple[float, ...]], scale: float
) -> None:
    weights: dict[Task, float] = dict(zip(TASKS, (0.5, 0.3, 0.2), strict=True))
    balance, scaled = LossBalance("dwa", weights), LossBalance("dwa", weights)
    for epoch in epochs:
        train_epoch(balance, [epoch])
        train_epoch(scaled, [(epoch[0] * scale, *epoch[1:])])
        factors = {task: value / weights[task] for task, value in balance.current().items()}
        assert sum(factors.values()) == pytest.approx(3, rel=1e-5)
        assert scaled.current() == pytest.approx(balance.current(), rel=1e-4)


def test_dwa_resumes_within_an_epoch_and_between_them() -> None:
    whole = LossBalance("dwa", WEIGHTS)
    expected = [train_epoch(whole, epoch) for epoch in EPOCHS]
    for stop in range(1, 7):  # a checkpoint may be written before its epoch is closed
        balance, totals = LossBalance("dwa", WEIGHTS), []
        for step, losses in enumerate(losses for epoch in EPOCHS for losses in epoch):
            totals.append(float(balance.total(scalars(*losses))))
            if step + 1 == stop:
                state, balance = balance.state_dict(), LossBalance("dwa", WEIGHTS)
                balance.load_state_dict(state)
            if step % 2 == 1:
                balance.close_epoch()
        assert totals == [total for epoch in expected for total in epoch]
        assert balance.current() == whole.current()


def test_dwa_counts_neither_validation_nor_batches_without_labels() -> None:
    plain, disturbed = LossBalance("dwa", WEIGHTS), LossBalance("dwa", WEIGHTS)
    for losses in ((0.5, 3.0), (0.4, 1.0)):
        train_epoch(plain, [losses])
        disturbed.total(scalars(*losses))
        disturbed.total(scalars(losses[0], 0.0))
        disturbed.eval()
        disturbed.total(scalars(9.0, 9.0))
        disturbed.train()
        disturbed.close_epoch()
        disturbed.close_epoch()  # without a batch since: nothing
    assert disturbed.current() == plain.current() != pytest.approx(WEIGHTS)


def test_dwa_of_a_task_without_labels_for_an_epoch_keeps_what_it_knew() -> None:
    balance = LossBalance("dwa", WEIGHTS)
    for losses in ((0.5, 3.0), (0.25, 0.0)):
        train_epoch(balance, [losses])
    factors = 2 * np.exp([0.25, 0.5]) / np.exp([0.25, 0.5]).sum()
    assert list(balance.current().values()) == pytest.approx(factors * [0.97, 0.03])


class _Step(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.balance = nn.Parameter(torch.ones(2)), LossBalance("dwa", WEIGHTS)

    def forward(self, losses: Tensor) -> Tensor:
        return self.balance.total(dict(zip(WEIGHTS, losses * self.weight, strict=True)))


def _distributed_epochs(rank: int, folder: str) -> LossBalance:
    """One of two processes under DDP, which copies the first one's buffers at every step."""
    store = torch.distributed.FileStore(f"{folder}/store", 2)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120)
    )
    try:
        step = _Step()
        parallel = nn.parallel.DistributedDataParallel(step)
        for epoch in EPOCHS:
            for losses in epoch:
                parallel(torch.tensor(losses) * (1.0 + rank)).backward()
            step.balance.close_epoch()
        torch.save(step.balance.state_dict(), f"{folder}/{rank}.pt")
        return step.balance
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.integration
def test_dwa_takes_the_mean_of_all_processes(tmp_path: Path) -> None:
    context = torch.multiprocessing.get_context("spawn")
    other = context.Process(target=_distributed_epochs, args=(1, str(tmp_path)))
    other.start()
    state = _distributed_epochs(0, str(tmp_path)).state_dict()
    other.join(60)
    assert other.exitcode == 0
    its = torch.load(tmp_path / "1.pt", weights_only=True)
    assert all(torch.equal(state[name], its[name]) for name in ("history", "sums", "counts"))
    expected = torch.tensor(EPOCHS[1:]).mean(dim=1) * 1.5  # the processes' losses are 1 and 2 fold
    torch.testing.assert_close(state["history"], expected)
