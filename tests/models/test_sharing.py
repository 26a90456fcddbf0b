# SPDX-License-Identifier: Apache-2.0
"""An encoder for both tasks, or one for each: where gradients go, and the penalty between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from msdet.criteria.sharing import weight_distance, weight_magnitude
from msdet.models.msdet import MSDET, Output

Make = Callable[..., MSDET]


@pytest.fixture(scope="module")
def mixture() -> torch.Tensor:
    return torch.randn(2, 4, 2000, generator=torch.Generator().manual_seed(0))


def separation(output: Output) -> torch.Tensor:
    return sum((stage.abs().mean() for stage in output.stages), torch.zeros(()))


def direction(output: Output) -> torch.Tensor:
    assert output.azimuth_logits is not None
    assert output.coarse_logits is not None
    return output.azimuth_logits.square().mean() + output.coarse_logits.square().mean()


def reached(model: MSDET, loss: torch.Tensor) -> set[str]:
    """Parts of the network that a loss trains."""
    model.zero_grad()
    loss.backward()
    weights = model.named_parameters()
    moved = (name for name, w in weights if w.grad is not None and w.grad.abs().max() > 0)
    return {name.split(".")[0] for name in moved}


@pytest.mark.parametrize("guidance", ["none", "estimated"])
@pytest.mark.parametrize("sharing", ["soft", "none"])
def test_with_an_encoder_each_no_task_trains_the_other_s_parts(
    make_model: Make, mixture: torch.Tensor, sharing: str, guidance: str
) -> None:
    model = make_model(sharing=sharing, guidance=guidance)
    output = model(mixture)
    one = reached(model, separation(output))
    other = reached(model, direction(model(mixture)))
    assert one == {"encoder", "separation_head", "refinement_head"}
    assert other == {"direction_encoder", "coarse_head", "fine_head"}


@pytest.mark.parametrize("guidance", ["none", "estimated"])
def test_a_detached_direction_head_trains_itself_alone(
    make_model: Make, mixture: torch.Tensor, guidance: str
) -> None:
    """And says what it says with a shared encoder."""
    model, shared = (make_model(sharing=s, guidance=guidance) for s in ("detached", "hard"))
    one, other = model(mixture), shared(mixture)
    torch.testing.assert_close(one.audio, other.audio)
    torch.testing.assert_close(one.azimuth_logits, other.azimuth_logits)
    assert reached(model, direction(model(mixture))) == {"coarse_head", "fine_head"}
    assert reached(model, separation(model(mixture))) == {
        "encoder",
        "separation_head",
        "refinement_head",
    }


def test_a_shared_encoder_is_trained_by_both(make_model: Make, mixture: torch.Tensor) -> None:
    model = make_model(guidance="none")
    assert model.direction_encoder is None
    assert "encoder" in reached(model, separation(model(mixture)))
    assert "encoder" in reached(model, direction(model(mixture)))


def test_soft_and_none_are_one_network(make_model: Make, mixture: torch.Tensor) -> None:
    soft, none = make_model(sharing="soft").eval(), make_model(sharing="none").eval()
    weights = zip(soft.state_dict().items(), none.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in weights)
    assert torch.equal(soft(mixture).audio, none(mixture).audio)


def test_the_distance_between_encoders_is_the_mean_over_their_weights(make_model: Make) -> None:
    model = make_model(sharing="soft")
    assert model.direction_encoder is not None
    assert float(weight_distance(model.encoder, model.encoder)) == 0
    before = float(weight_distance(model.encoder, model.direction_encoder))
    assert before > 0
    model.direction_encoder.load_state_dict(model.encoder.state_dict())
    with torch.no_grad():
        for weight in model.direction_encoder.parameters():
            weight += 0.5
    assert float(weight_distance(model.encoder, model.direction_encoder)) == pytest.approx(0.25)


def test_descending_the_penalty_brings_encoders_together(make_model: Make) -> None:
    model = make_model(sharing="soft")
    assert model.direction_encoder is not None
    pair = (model.encoder, model.direction_encoder)
    optimiser = torch.optim.SGD(model.parameters(), lr=1000.0)
    distances = []
    for _ in range(5):
        loss = weight_distance(*pair)
        distances.append(float(loss))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert distances[-1] < 0.5 * distances[0]


def test_sparsity_counts_weights_and_not_biases() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.BatchNorm1d(1))
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[1.5, -2.0]]))
        layer[0].bias.fill_(100.0)
    assert float(weight_magnitude(layer)) == 3.5
