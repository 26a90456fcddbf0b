# SPDX-License-Identifier: Apache-2.0
"""Arrays, tiny networks and free-field recordings that the tests of several parts share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

if TYPE_CHECKING:
    from msdet.checkpoints import Description
    from msdet.geometry import MicrophoneArray
    from msdet.models.msdet import MSDET

RATE = 8000

if "PYTEST_XDIST_WORKER" in os.environ:  # one process a core: threads would only get in their way
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHAPES: dict[str, dict[str, Any]] = {
    "circle4": {"shape": "circle", "num_mics": 4, "radius": 0.05},
    "circle5": {"shape": "circle", "num_mics": 5, "radius": 0.04},
    "circle6": {"shape": "circle", "num_mics": 6, "radius": 0.05},
    "line2": {"shape": "line", "num_mics": 2, "spacing": 0.06},
    "line4": {"shape": "line", "num_mics": 4, "spacing": 0.04},
    "l5": {"shape": "l", "num_mics": 5, "arm": 0.08},
    "tetrahedron": {"shape": "tetrahedron", "edge": 0.06},
    "respeaker4": {"shape": "respeaker4"},
    "respeaker6": {"shape": "respeaker6"},
}


@pytest.fixture(scope="session")
def build() -> Callable[..., MicrophoneArray]:
    """An array from the keys of its config."""
    from pydantic import TypeAdapter

    from msdet.geometry import ArrayConfig

    adapter: TypeAdapter[Any] = TypeAdapter(ArrayConfig)

    def built(**keys: Any) -> MicrophoneArray:
        return adapter.validate_python(keys).build()

    return built


@pytest.fixture(scope="session")
def arrays(build: Callable[..., MicrophoneArray]) -> dict[str, MicrophoneArray]:
    """One array of every shape, by name."""
    return {name: build(**keys) for name, keys in SHAPES.items()}


@pytest.fixture(scope="session")
def make_model(arrays: dict[str, MicrophoneArray]) -> Callable[..., MSDET]:
    """A network of some thousand weights, none of its layers at zero; 65 frequencies at 8 kHz."""
    import torch

    from msdet.models.config import ModelConfig
    from msdet.models.msdet import MSDET
    from msdet.tasks import trained_tasks

    def made(
        array: str | MicrophoneArray = "circle4",
        slots: int = 2,
        *,
        separation: str = "mask",
        guidance: str = "estimated",
        beamformer: str = "mask",
        refinements: int = 1,
        refinement_blocks: int = 0,
        dereverberations: int = 0,
        combiner_blocks: int = 0,
        frontend: str = "directional",
        directions: int = 13,
        reference_mic: int = 0,
        channels: int = 6,
        weight: float = 0.97,
        sharing: str = "hard",
        distance: str = "none",
        empty_slots: bool = False,
        span: float | None = None,
        filter_span: float | None = None,
        causal: bool = False,
        seed: int = 0,
    ) -> MSDET:
        config = ModelConfig.model_validate(
            {
                "stft": {"window": 128, "hop": 64},
                "frontend": {"name": frontend, "directions": directions, "elevations": [0.0]},
                "encoder": {
                    "name": "unet",
                    "full_channels": 4,
                    "channels": [channels, 8],
                    "blocks": [1, 2],
                    "dilations": [1, 2],
                },
                "heads": {
                    "separation": separation,
                    "guidance": guidance,
                    "beamformer": beamformer,
                    "refinements": refinements,
                    "refinement_blocks": refinement_blocks,
                    "refinement_channels": 4,
                    "dereverberations": dereverberations,
                    "combiner_blocks": combiner_blocks,
                    "equaliser_blocks": 2,
                    "equaliser_channels": 4,
                    "resolution": 15.0,
                    "direction_channels": 4,
                    "mask_channels": 4,
                    "mask_bound": 2.0,
                    "distance": distance,
                    "span": span,
                    "filter_span": filter_span,
                },
                "sharing": sharing,
                "causal": causal,
            }
        )
        chosen = arrays[array] if isinstance(array, str) else array
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            tasks = trained_tasks(weight, float(distance != "none"))
            model = MSDET(config, chosen, RATE, slots, reference_mic, tasks, empty_slots)
            if model.refinement_head is not None:
                torch.nn.init.normal_(model.refinement_head.out.weight, std=0.1)
            for part in (model.equaliser, model.combiner):
                if part is not None:
                    torch.nn.init.normal_(part.out.weight, std=0.1)
        return model

    return made


@pytest.fixture(scope="session")
def describe() -> Callable[..., Description]:
    """What a checkpoint says of a network from `make_model`."""
    from msdet.checkpoints import Description
    from msdet.provenance import versions

    def described(model: MSDET, **changes: Any) -> Description:
        keys: dict[str, Any] = {
            "model": model.config,
            "num_slots": model.num_slots,
            "array": model.array,
            "reference_mic": model.reference_mic,
            "sample_rate": model.sample_rate,
            "target": "direct",
            "assignment": "azimuth",
            "weight": 0.97,
            "config": {"name": "tiny"},
            "metrics": {"si_sdr_improvement_db": 1.5},
            "versions": versions(),
            "git_commit": None,
        }
        return Description(**keys | changes)

    return described


@pytest.fixture(scope="session")
def saved(
    tmp_path_factory: pytest.TempPathFactory,
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
) -> Path:
    """A portable checkpoint of the default tiny network; not to be written to."""
    from msdet.checkpoints import save_portable

    path = tmp_path_factory.mktemp("checkpoint") / "model.ckpt"
    model = make_model()
    save_portable(path, model, describe(model))
    return path


@pytest.fixture(scope="session")
def saved_causal(
    tmp_path_factory: pytest.TempPathFactory,
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
) -> Path:
    """A portable checkpoint of a tiny causal network; not to be written to."""
    from msdet.checkpoints import save_portable

    path = tmp_path_factory.mktemp("causal") / "model.ckpt"
    model = make_model(causal=True, span=0.2, filter_span=0.4, beamformer="steered")
    save_portable(path, model, describe(model))
    return path


@pytest.fixture(scope="session")
def voices() -> NDArray[np.float64]:
    """Three voices ``[speaker, sample]`` of a second: noise in syllables and pauses, RMS 1."""
    rng = np.random.default_rng(3)
    time = np.arange(RATE) / RATE
    made = []
    for syllables in (3.1, 4.3, 5.3):
        loudness = np.clip(np.sin(2 * np.pi * syllables * time + syllables), 0.02, None)
        voice = np.convolve(rng.standard_normal(len(time)), np.ones(3) / 3, mode="same") * loudness
        made.append(voice / np.sqrt(np.mean(voice**2)))
    return np.array(made)


@pytest.fixture(scope="session")
def free_field() -> Callable[..., NDArray[np.float64]]:
    """What an array hears of far sources without a room: ``[source, mic, sample]``."""
    from msdet.geometry import far_field_delays

    def heard(
        array: MicrophoneArray, sources: NDArray[np.float64], azimuths: list[float]
    ) -> NDArray[np.float64]:
        size = 2 * sources.shape[-1]
        spectra = np.fft.rfft(sources, size)
        delays = far_field_delays(array.as_array(), azimuths)  # [source, mic]
        phases = np.exp(-2j * np.pi * np.fft.rfftfreq(size, 1 / RATE) * delays[..., None])
        images = np.fft.irfft(spectra[:, None] * phases, size)
        return np.asarray(images[..., : sources.shape[-1]])

    return heard


@pytest.fixture(scope="session")
def recording(
    arrays: dict[str, MicrophoneArray],
    voices: NDArray[np.float64],
    free_field: Callable[..., NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Two voices at 40 and 200 degrees on the 4-microphone circle, ``[mic, sample]``."""
    images = free_field(arrays["circle4"], voices[:2], [40.0, 200.0])
    noise = np.random.default_rng(4).standard_normal(images.shape[1:])
    return np.asarray(images.sum(axis=0) + 0.03 * noise, np.float32)
