# SPDX-License-Identifier: Apache-2.0
"""A model as one ONNX file: from the mixture's transform to those of the speakers.

The transforms stay outside: runtimes differ in theirs, and a few lines of numpy are the same
everywhere (docs/export.md). The network is traced as it is, in real numbers.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from msdet.checkpoints import Description, load_checkpoint
from msdet.errors import InputError
from msdet.files import write_atomically
from msdet.geometry import MicrophoneArray
from msdet.inference.complex_parts import ComplexParts, RealArithmetic
from msdet.inference.config import ExportConfig
from msdet.inference.microphones import served_array
from msdet.models.msdet import MSDET
from msdet.parsing import parse


def run(values: dict[str, Any]) -> None:
    """Run ``msdet export``."""
    export(parse(ExportConfig, values))


_LICENCE = (
    "The code of this network is from msdet, under the Apache License 2.0. The weights are under "
    "the terms of whoever trained them, which those of the training speech may restrict."
)


_OF_DESCRIPTION = (
    "sample_rate", "reference_mic", "num_slots", "empty_slots", "target", "assignment",
    "nearest_gap", "versions", "git_commit",
)  # fmt: skip
"""Keys of a file that are the checkpoint's."""


class SpectralNetwork(nn.Module):
    """The network between the transforms, real numbers in and out."""

    def __init__(self, model: MSDET) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, mixture: Tensor, positions: Tensor, azimuth: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the outputs of :func:`output_names`.

        Args:
            mixture: real and imaginary parts ``[batch, mic, freq, frame, 2]``, the reference
                microphone at an RMS of one before the transform.
            positions: of the microphones, ``[mic, 3]`` metres in the array's frame.
            azimuth: degrees ``[batch, slot]``, NaN for an empty one; of ``guidance: oracle``.
        """
        model = self.model
        with RealArithmetic():
            parts = ComplexParts(mixture[..., 0], mixture[..., 1])
            found = model.estimate(parts, model.steering_of(positions), azimuth)  # type: ignore[arg-type]
        outputs = [torch.stack([found.spectra.real, found.spectra.imag], dim=-1)]
        logits = found.azimuth_logits, found.coarse_logits
        outputs += [x for x in logits if x is not None]
        if model.distance_head is not None and found.distance is not None:
            outputs.append(model.distance_head.decode(found.distance))
        return tuple(outputs)


def output_names(model: MSDET) -> list[str]:
    """Return the names of the file's outputs, in order.

    ``speakers`` ``[batch, slot, freq, frame, 2]``, ``azimuth_logits`` ``[batch, slot, class]``,
    ``coarse_logits`` ``[batch, slot, direction]``, ``distance`` ``[batch, slot]`` in metres; all
    but the first of the networks that have them.
    """
    heads = {
        "azimuth_logits": model.fine_head,
        "coarse_logits": model.coarse_head,
        "distance": model.distance_head,
    }
    return ["speakers", *(name for name, head in heads.items() if head is not None)]


def export(config: ExportConfig) -> None:
    """Write a checkpoint's network as ONNX.

    Raises:
        InputError: no such checkpoint; the file cannot be written; the model does not serve the
            array; or the packages of the extra ``export`` are missing.
    """
    path = Path(config.output)
    if path.is_dir():
        raise InputError(f"output={path}: is a folder; name a file, such as {path / 'model.onnx'}")
    if path.exists() and not path.is_file():
        raise InputError(f"output={path}: is there and no regular file; choose another output=")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise InputError(f"output={path}: {above} is a file, not a folder")
    _need_packages()
    checkpoint = load_checkpoint(config.checkpoint, trust=config.trust)
    if checkpoint.description.model.causal:
        raise InputError(
            f"{checkpoint.path}: is a causal network, whose memory of a stream an ONNX file would "
            "have to take and give back; that is not supported: Separator.stream runs it in Python"
        )
    if checkpoint.description.model.heads.filter_span is not None:
        raise InputError(
            f"{checkpoint.path}: model.heads.filter_span, filters of moments, cannot be exported; "
            "msdet separate does it"
        )
    given = config.array.build() if config.array else None
    array = served_array(given, checkpoint.description)
    content = to_onnx(checkpoint.model, array, metadata(checkpoint.description, array))
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"output={path}: cannot be written ({error.strerror})") from error
    print(
        f"{path}: {len(content) / 1e6:.1f} MB, for {array.num_mics} microphones at "
        f"{checkpoint.description.sample_rate} Hz"
    )


def to_onnx(model: MSDET, array: MicrophoneArray, about: dict[str, str]) -> bytes:
    """Return the network as an ONNX file's bytes; any batch and number of frames.

    The number of microphones is that of ``array`` and fixed: pairs are listed and the
    beamformer's equations are solved microphone by microphone, in a graph without loops. Their
    positions are an input. Directions over time (``heads.span``) are left out: exporters know no
    blocks of a number of frames that is free.
    """
    model = model.with_spans(None, None)
    slots, oracle = model.num_slots, model.config.heads.guidance == "oracle"
    generator = torch.Generator().manual_seed(0)  # other sizes than 1, which would be kept
    shape = (2, array.num_mics, model.stft.num_freqs, 20, 2)
    inputs = [torch.randn(shape, generator=generator), torch.tensor(array.positions).float()]
    batch, frame = torch.export.Dim("batch"), torch.export.Dim("frame", min=2)
    dynamic: list[dict[int, Any] | None] = [{0: batch, 3: frame}, None]
    if oracle:
        inputs.append(torch.arange(2.0 * slots).reshape(2, slots) * 20)
        dynamic.append({0: batch})
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        traced = torch.export.export(
            SpectralNetwork(model).eval(),
            tuple(inputs),
            dynamic_shapes=tuple(dynamic),
            strict=False,
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            verbose=False,
            input_names=["mixture", "positions", "azimuth"][: len(inputs)],
            output_names=output_names(model),
        )
    assert program is not None
    program.model.metadata_props.update(about)
    content: bytes = program.model_proto.SerializeToString()
    return content


def metadata(description: Description, array: MicrophoneArray) -> dict[str, str]:
    """Return what is needed to run the file without this package: JSON by key."""
    model = description.build()
    kept: dict[str, Any] = {key: getattr(description, key) for key in _OF_DESCRIPTION}
    for key, grid in (("azimuth_classes", model.grid), ("look_directions", model.look_grid)):
        count, resolution = grid.num_classes, grid.resolution
        kept[key] = {"count": count, "resolution": resolution, "linear": grid.linear}
    kept |= {
        "format": 1,
        "stft": {
            **description.model.stft.model_dump(),
            "taper": "square root of a periodic Hann window, divided by its Euclidean norm",
            "padding": "reflect, half a window at both ends",
        },
        "level": "the reference microphone's RMS is one",
        "array": {"name": array.name, "positions": array.positions},
        "frontend": getattr(description.model.frontend, "name", str(description.model.frontend)),
        "guidance": description.model.heads.guidance,
        "licence": _LICENCE,
    }
    return {key: json.dumps(value, default=str) for key, value in kept.items()}


def _need_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"export needs {error.name}; in the clone of msdet: pip install '.[export]'"
        ) from error
