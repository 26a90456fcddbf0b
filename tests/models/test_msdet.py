# SPDX-License-Identifier: Apache-2.0
"""The whole network: shapes, extremes, what trains what, and what an array changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.criteria.losses import azimuth_targets, cross_entropy, spectral_l1
from msdet.errors import InputError
from msdet.geometry import AzimuthGrid, MicrophoneArray
from msdet.models.beamforming import DRY_SHARE, beamform
from msdet.models.msdet import MSDET, Output

Make = Callable[..., MSDET]
Arrays = dict[str, MicrophoneArray]

SAMPLES = 2000
PLAIN = {"guidance": "none", "beamformer": "none"}
KINDS: tuple[dict[str, object], ...] = (
    {},
    {"guidance": "estimated", "beamformer": "none"},
    {"guidance": "none", "beamformer": "mask"},
    PLAIN,
    {"frontend": "ri", "separation": "beams"},
    {"frontend": "ri", **PLAIN},
    {"beamformer": "convolutive", "refinements": 2},
    {"beamformer": "steered", "dereverberations": 2},
    {"beamformer": "steered", "dereverberations": 2, "combiner_blocks": 2},
)


@pytest.fixture(scope="module")
def mixture(recording: NDArray[np.float32]) -> torch.Tensor:
    """Two quarters of a second of two voices, ``[2, 4, sample]``."""
    parts = np.stack([recording[:, :SAMPLES], recording[:, SAMPLES : 2 * SAMPLES]])
    return torch.from_numpy(parts / parts[:, :1].std(axis=-1, keepdims=True))


def tensors(output: Output) -> tuple[torch.Tensor, ...]:
    spectra = tuple(torch.view_as_real(stage) for stage in output.stages)
    return output.audio, *spectra, output.azimuth_logits, output.coarse_logits


def separation_loss(model: MSDET, output: Output, mixture: torch.Tensor) -> torch.Tensor:
    """Against speakers that the mixture is an equal sum of: never at zero."""
    targets = model.stft(mixture[:, :1] * 0.3)
    return torch.stack([spectral_l1(stage, targets).mean() for stage in output.stages]).mean()


def direction_losses(
    logits: torch.Tensor | None, azimuth: torch.Tensor, grid: AzimuthGrid
) -> torch.Tensor:
    """Of hard labels, ``[batch, slot]``."""
    assert logits is not None
    present = torch.ones_like(azimuth, dtype=torch.bool)
    return cross_entropy(logits, azimuth_targets(azimuth, present, grid, grid.num_classes, 0.0))


def direction_loss(model: MSDET, output: Output) -> torch.Tensor:
    azimuth = torch.tensor([40.0, 160.0]).expand(len(output.audio), -1)
    fine = direction_losses(output.azimuth_logits, azimuth, model.grid)
    return (fine + direction_losses(output.coarse_logits, azimuth, model.look_grid)).mean()


def gradient(module: torch.nn.Module) -> float:
    """Largest gradient among a part's weights; 0 where none was reached."""
    found = [float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None]
    return max(found, default=0.0)


# --- shapes -------------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[-1:])
def test_shapes(make_model: Make, mixture: torch.Tensor, slots: int, kind: dict[str, str]) -> None:
    model = make_model(slots=slots, **kind).eval()
    output = model(mixture)
    assert output.audio.shape == (2, slots, SAMPLES)
    assert output.spectra.shape == (2, slots, 65, 32)
    assert output.azimuth_logits.shape == (2, slots, model.grid.num_classes) == (2, slots, 24)
    assert output.coarse_logits.shape == (2, slots, 13)
    assert output.stages[-1] is output.spectra
    again = model.stft.inverse(output.spectra, SAMPLES)
    torch.testing.assert_close(again, output.audio)


@pytest.mark.parametrize("samples", [128, 1999, 2049])
def test_any_length_comes_out_as_long(make_model: Make, samples: int) -> None:
    output = make_model().eval()(torch.randn(1, 4, samples))
    assert output.audio.shape == (1, 2, samples)


def test_a_linear_array_has_classes_from_0_to_180(make_model: Make) -> None:
    model = make_model("line4").eval()
    output = model(torch.randn(1, 4, SAMPLES))
    assert output.azimuth_logits.shape[-1] == 13
    decoded = model.grid.decode(output.azimuth_logits.softmax(-1))
    assert ((decoded >= 0) & (decoded <= 180)).all()


# --- extremes -----------------------------------------------------------------------------


def hostile(kind: str, mixture: torch.Tensor) -> torch.Tensor:
    if kind == "silence":
        return torch.zeros_like(mixture)
    if kind == "dead microphone":
        return mixture * torch.tensor([1.0, 1.0, 0.0, 1.0])[:, None]
    if kind == "dead reference":
        return mixture * torch.tensor([0.0, 1.0, 1.0, 1.0])[:, None]
    if kind == "one sound in all":
        return mixture[:, :1].expand_as(mixture)
    return mixture * (1e4 if kind == "loud" else 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sound",
    ["silence", "dead microphone", "dead reference", "one sound in all", "loud", "quiet"],
)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_finite(
    make_model: Make, mixture: torch.Tensor, kind: dict[str, str], sound: str, training: bool
) -> None:
    model = make_model(**kind).train(training)
    output = model(hostile(sound, mixture))
    assert all(torch.isfinite(x).all() for x in tensors(output))
    (separation_loss(model, output, mixture) + direction_loss(model, output)).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is None or torch.isfinite(weight.grad).all(), name


def test_silence_is_separated_into_silence(make_model: Make) -> None:
    assert make_model().eval()(torch.zeros(1, 4, SAMPLES)).audio.abs().max() < 1e-6


def test_directions_do_not_depend_on_the_recording_s_polarity(
    make_model: Make, mixture: torch.Tensor
) -> None:
    model = make_model().eval()
    plain, inverted = model(mixture), model(-mixture)
    torch.testing.assert_close(inverted.azimuth_logits, plain.azimuth_logits, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(inverted.audio, -plain.audio, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_does_not_hear_its_neighbours(
    make_model: Make, mixture: torch.Tensor, kind: dict[str, str]
) -> None:
    model = make_model(**kind).eval()
    # slots of random weights are nearly alike: equations that tell them apart raise rounding
    solves = kind.get("beamformer") == "convolutive" or "dereverberations" in kind
    atol = 2e-2 if solves else 1e-4
    with torch.no_grad():
        together, alone = model(mixture), model(mixture[1:])
        louder = model(torch.cat([mixture[:1] * 100, mixture[1:]]))
    for batch in (together, louder):
        for found, expected in zip(tensors(batch), tensors(alone), strict=True):
            torch.testing.assert_close(found[1:], expected, atol=atol, rtol=1e-3)


# --- guidance -----------------------------------------------------------------------------


def test_one_slot_is_refused(make_model: Make) -> None:
    with pytest.raises(InputError, match="num_slots=1"):
        make_model(slots=1)


def test_oracle_guidance_needs_the_azimuths(make_model: Make, mixture: torch.Tensor) -> None:
    model = make_model(guidance="oracle").eval()
    with pytest.raises(InputError, match="azimuth"):
        model(mixture)


@pytest.mark.parametrize("beamformer", ["mask", "steered", "convolutive", "none"])
def test_oracle_guidance_decides_what_a_slot_holds(
    make_model: Make, mixture: torch.Tensor, beamformer: str
) -> None:
    model = make_model(guidance="oracle", beamformer=beamformer).eval()
    one, other = (
        model(mixture, azimuth=torch.tensor([[a, 100.0]]).expand(2, 2)) for a in (40.0, 200.0)
    )
    assert (one.audio - other.audio).abs().max() > 1e-4
    torch.testing.assert_close(one.coarse_logits, other.coarse_logits)
    full_turn = model(mixture, azimuth=torch.tensor([[400.0, 100.0]]).expand(2, 2))
    torch.testing.assert_close(full_turn.audio, one.audio, atol=1e-4, rtol=1e-3)


def test_oracle_guidance_points_between_look_directions(make_model: Make) -> None:
    model = make_model(guidance="oracle")
    step = model.look_grid.resolution
    logits = torch.zeros(1, 3, 13)
    weights = model._guidance(logits, torch.tensor([[2 * step, 2.25 * step, 12.5 * step]]))
    expected = torch.zeros(3, 13)
    expected[0, 2] = 1.0
    expected[1, [2, 3]] = torch.tensor([0.75, 0.25])
    expected[2, [12, 0]] = 0.5
    torch.testing.assert_close(weights[0, :, 0], expected, atol=1e-4, rtol=0)


# --- the last step ------------------------------------------------------------------------


def test_dereverberation_is_a_last_stage_that_moves_no_direction(
    make_model: Make, mixture: torch.Tensor
) -> None:
    plain = make_model(beamformer="steered").eval()(mixture)
    found = make_model(beamformer="steered", dereverberations=3).eval()(mixture)
    assert len(found.stages) == len(plain.stages) + 1
    for one, other in zip(plain.stages, found.stages, strict=False):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(found.azimuth_logits, plain.azimuth_logits)
    beams = (found.spectra - (1 - DRY_SHARE) * found.stages[-2]) / DRY_SHARE
    assert (beams - found.stages[-2]).abs().max() > 0.1 * found.stages[-2].abs().max()
    louder = beams.abs().square().mean((2, 3)) / found.stages[-2].abs().square().mean((2, 3))
    assert louder.max() < 4.01


def test_a_new_combiner_is_the_average(make_model: Make, mixture: torch.Tensor) -> None:
    keys: dict[str, Any] = {"beamformer": "steered", "dereverberations": 2}
    plain = make_model(**keys).eval()
    model = make_model(**keys, combiner_blocks=2).eval()
    assert model.combiner is not None
    torch.nn.init.zeros_(model.combiner.out.weight)
    others = {**model.state_dict(), **plain.state_dict()}
    model.load_state_dict(others)
    torch.testing.assert_close(model(mixture).spectra, plain(mixture).spectra)


# --- the second stage ---------------------------------------------------------------------


def test_refinement_starts_from_the_beamformer_of_the_first_estimates(
    make_model: Make, mixture: torch.Tensor
) -> None:
    model = make_model(reference_mic=1).eval()
    assert model.refinement_head is not None
    torch.nn.init.zeros_(model.refinement_head.out.weight)
    with torch.no_grad():
        first, second = model(mixture).stages
    beams = beamform(model.stft(mixture), first, 1)
    share = (second * beams.conj()).sum() / beams.abs().square().sum()
    assert 0.3 < float(share.real) < 1.0
    torch.testing.assert_close(second, share * beams, atol=1e-4, rtol=1e-3)


def test_every_refinement_hears_the_estimates_before_it(
    make_model: Make, mixture: torch.Tensor
) -> None:
    once = make_model(beamformer="steered").eval()
    twice = make_model(beamformer="steered", refinements=2).eval()
    with torch.no_grad():
        stages = twice(mixture).stages
        assert len(stages) == 3
        for found, expected in zip(stages[:2], once(mixture).stages, strict=True):
            torch.testing.assert_close(found, expected)
    assert (stages[2] - stages[1]).abs().max() > 1e-3


def test_blocks_let_a_refinement_see_further(make_model: Make) -> None:
    far = {}
    for blocks in (0, 2):
        head = make_model(beamformer="steered", refinement_blocks=blocks).eval().refinement_head
        assert head is not None
        torch.manual_seed(0)
        beams = torch.randn(1, 2, 65, 40, dtype=torch.complex64)
        beams.requires_grad_()
        mixture, full = beams.detach()[:, 0], torch.zeros(1, 4, 65, 40)
        head(mixture, beams, beams.detach(), full)[0, 0, 30, 20].abs().backward()
        assert beams.grad is not None
        heard = beams.grad[0, 0].abs() > 0
        far[blocks] = (int(heard.any(0).sum()), int(heard.any(1).sum()))
    assert far[0] == (5, 5)
    assert far[2][0] > 9
    assert far[2][1] > 20


# --- what trains what ---------------------------------------------------------------------


@pytest.mark.parametrize("beamformer", ["mask", "steered", "convolutive", "none"])
@pytest.mark.parametrize(
    ("guidance", "reached"), [("estimated", True), ("none", False), ("oracle", False)]
)
def test_separation_trains_the_direction_head_only_through_guidance(
    make_model: Make, mixture: torch.Tensor, guidance: str, reached: bool, beamformer: str
) -> None:
    model = make_model(guidance=guidance, beamformer=beamformer)
    azimuth = torch.tensor([[40.0, 160.0]]).expand(2, 2) if guidance == "oracle" else None
    output = model(mixture, azimuth=azimuth)
    separation_loss(model, output, mixture).backward()
    assert (gradient(model.coarse_head) > 0) is reached
    assert gradient(model.fine_head) == 0
    assert gradient(model.encoder) > 0
    assert gradient(model.separation_head) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_both_tasks_train_the_shared_encoder(
    make_model: Make, mixture: torch.Tensor, kind: dict[str, str]
) -> None:
    for loss_of in (
        lambda m, o: separation_loss(m, o, mixture),
        direction_loss,
    ):
        model = make_model(**kind)
        loss_of(model, model(mixture)).backward()
        assert gradient(model.encoder) > 0


def test_every_weight_is_reached_by_the_whole_loss(make_model: Make, mixture: torch.Tensor) -> None:
    for kind in KINDS:
        model = make_model(**kind)
        output = model(mixture)
        (separation_loss(model, output, mixture) + direction_loss(model, output)).backward()
        unreached = [name for name, weight in model.named_parameters() if weight.grad is None]
        assert unreached == []


def test_a_network_can_be_trained_after_it_was_used(
    make_model: Make, mixture: torch.Tensor
) -> None:
    model = make_model()
    with torch.inference_mode():
        model(mixture)
    output = model(mixture)
    (separation_loss(model, output, mixture) + direction_loss(model, output)).backward()
    assert gradient(model) > 0


# --- arrays -------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["circle6", "l5", "tetrahedron"])
@pytest.mark.parametrize("kind", KINDS[:4])
def test_directional_weights_serve_other_arrays(
    make_model: Make, arrays: Arrays, other: str, kind: dict[str, str]
) -> None:
    model, array = make_model(**kind).eval(), arrays[other]
    output = model(torch.randn(1, array.num_mics, SAMPLES), array)
    assert output.audio.shape == (1, 2, SAMPLES)
    assert torch.isfinite(output.audio).all()
    fresh = make_model(other, **kind)
    assert {n: w.shape for n, w in fresh.state_dict().items()} == {
        n: w.shape for n, w in model.state_dict().items()
    }


def test_the_positions_of_microphones_matter(
    make_model: Make, build: Callable[..., MicrophoneArray], mixture: torch.Tensor
) -> None:
    model = make_model().eval()
    wider = build(shape="circle", num_mics=4, radius=0.1)
    plain, scaled, again = model(mixture), model(mixture, wider), model(mixture)
    assert (plain.azimuth_logits - scaled.azimuth_logits).abs().max() > 1e-4
    assert torch.equal(plain.audio, again.audio)


@pytest.mark.parametrize("frontend", ["directional", "ri"])
def test_the_reference_microphone_is_what_is_masked(
    make_model: Make, mixture: torch.Tensor, frontend: str
) -> None:
    """With plain masks, a dead reference leaves nothing, another dead microphone does."""
    model = make_model(reference_mic=2, frontend=frontend, **PLAIN).eval()
    dead = mixture.clone()
    dead[:, 2] = 0
    assert model(dead).audio.abs().max() < 1e-6
    dead = mixture.clone()
    dead[:, 0] = 0
    assert model(dead).audio.abs().max() > 1e-3
