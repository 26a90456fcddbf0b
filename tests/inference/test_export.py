# SPDX-License-Identifier: Apache-2.0
"""Exported networks: what ONNX Runtime makes of a file is what torch makes of the checkpoint."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msdet.audio import write_audio
from msdet.checkpoints import Description, load_checkpoint, save_portable
from msdet.cli import main
from msdet.commands.export import output_names, to_onnx
from msdet.geometry import MicrophoneArray
from msdet.inference.complex_parts import ComplexParts, solve_positive
from msdet.models.msdet import MSDET

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")

RATE = 8000
TOLERANCE = 1e-4
"""Of signals whose reference microphone has an RMS of one."""
# An export takes many seconds: each has several things to show. The command's own, below, is of a
# network with guidance and a beamformer, by the example of the documentation.
KINDS: dict[str, dict[str, Any]] = {
    "oracle, separate encoders, distance classes": {
        "guidance": "oracle",
        "beamformer": "none",
        "sharing": "none",
        "distance": "classes",
    },
    "steered, twice, distance regression, empty slots": {
        "beamformer": "steered",
        "refinements": 2,
        "refinement_blocks": 2,
        "distance": "regression",
        "empty_slots": True,
        "slots": 3,
    },
    "convolutive": {"beamformer": "convolutive", "empty_slots": True, "span": 0.1},
    "steered along a line, dereverberated": {
        "beamformer": "steered",
        "array": "line4",
        "separation": "beams",
        "dereverberations": 2,
        "combiner_blocks": 2,
    },
    "separation alone, real and imaginary parts": {
        "weight": 1.0,
        "guidance": "none",
        "frontend": "ri",
        "separation": "beams",
    },
    "direction alone, plain": {"weight": 0.0, "guidance": "none", "beamformer": "none"},
}


def session_of(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def as_parts(spectra: torch.Tensor) -> NDArray[np.float32]:
    return torch.view_as_real(spectra).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_says_what_the_network_says(
    make_model: Callable[..., MSDET], arrays: dict[str, MicrophoneArray], kind: str
) -> None:
    model = make_model(**KINDS[kind]).eval()
    array, oracle = model.array, model.config.heads.guidance == "oracle"
    session = session_of(to_onnx(model, array, {}))
    names = [value.name for value in session.get_outputs()]
    assert names == output_names(model)
    other = MicrophoneArray("stretched", tuple((1.3 * x, y, z) for x, y, z in array.positions))
    for batch, samples, microphones in ((1, 3000, array), (3, 1000, other)):
        generator = torch.Generator().manual_seed(batch)
        mixture = torch.randn(batch, array.num_mics, samples, generator=generator)
        spectra = model.stft(mixture)
        azimuth = torch.tensor([[10.0, 200.0]] * batch) if oracle else None
        with torch.no_grad():
            expected = model.estimate(spectra, model.steering(microphones), azimuth)
        feed = {
            "mixture": as_parts(spectra),
            "positions": np.asarray(microphones.positions, np.float32),
        } | ({} if azimuth is None else {"azimuth": azimuth.numpy()})
        found = dict(zip(names, session.run(None, feed), strict=True))
        scale = spectra[:, 0].abs().square().mean().sqrt().item()
        # slots of random weights are nearly alike: equations that tell them apart raise rounding
        raised = 200 if model.config.heads.beamformer == "convolutive" else 1
        np.testing.assert_allclose(
            found["speakers"], as_parts(expected.spectra), atol=raised * TOLERANCE * scale
        )
        for name in ("azimuth_logits", "coarse_logits"):
            if name in found:
                np.testing.assert_allclose(
                    found[name], getattr(expected, name).numpy(), atol=TOLERANCE
                )
        if model.distance_head is not None:
            assert expected.distance is not None
            metres = model.distance_head.decode(expected.distance).numpy()
            np.testing.assert_allclose(found["distance"], metres, rtol=TOLERANCE)


@pytest.mark.parametrize("size", [2, 4, 7])
def test_equations_are_solved_as_torch_solves_them(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    kind: dict[str, Any] = {"dtype": torch.complex128, "generator": generator}
    root = torch.randn(3, size, size + 2, **kind)
    matrix, right = root @ root.mH, torch.randn(3, size, size, **kind)
    found = solve_positive(
        ComplexParts(matrix.real, matrix.imag), ComplexParts(right.real, right.imag)
    )
    expected = torch.linalg.solve(matrix, right)
    torch.testing.assert_close(torch.complex(found.real, found.imag), expected)


@pytest.fixture(scope="module")
def exported(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By the command, in place of what was there."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    path.write_text("what was there")
    assert main(["export", f"checkpoint={saved}", f"output={path}"]) == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    return path


@pytest.mark.slow
def test_the_file_describes_itself(exported: Path, make_model: Callable[..., MSDET]) -> None:
    model, content = make_model(), exported.read_bytes()
    onnx.checker.check_model(content)
    found = session_of(content).get_modelmeta().custom_metadata_map
    about = {key: json.loads(text) for key, text in found.items()}
    assert about["sample_rate"] == RATE
    assert (about["stft"]["window"], about["stft"]["hop"]) == (128, 64)
    np.testing.assert_allclose(about["array"]["positions"], model.array.positions)
    assert about["azimuth_classes"] == {"count": 24, "resolution": 15.0, "linear": False}
    assert (about["assignment"], about["num_slots"], about["guidance"]) == (
        "azimuth",
        2,
        "estimated",
    )
    assert "Apache" in about["licence"]


@pytest.mark.slow
def test_the_example_of_the_documentation_needs_no_torch(
    exported: Path, saved: Path, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "export.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "model.onnx").write_bytes(exported.read_bytes())
    write_audio(tmp_path / "mixture.wav", recording, RATE)
    without = "import sys\nsys.modules['torch'] = sys.modules['msdet'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", without + example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    model, level = load_checkpoint(saved).model, np.sqrt(np.mean(recording[0] ** 2))
    with torch.inference_mode():
        output = model(torch.from_numpy(recording / level)[None])
        located = model.locate(output)
    found = re.findall(r"speaker(\d).wav: (\S+) degrees", done.stdout)
    assert [number for number, _ in found] == ["1", "2"]
    assert located is not None
    for slot, (number, azimuth) in enumerate(found):
        from scipy.io import wavfile

        rate, speech = wavfile.read(tmp_path / f"speaker{number}.wav")
        assert rate == RATE
        expected = level * output.audio[0, slot].numpy()
        np.testing.assert_allclose(speech, expected, atol=TOLERANCE * level)
        assert float(azimuth) == 15.0 * int(located.posterior[0, slot].argmax())


# --- what is refused ----------------------------------------------------------------------


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["export", *arguments]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.ckpt"
    message = refusal(capsys, f"checkpoint={missing}", f"output={tmp_path / 'a.onnx'}")
    assert str(missing) in message
    assert "no such file" in message
    assert not list(tmp_path.iterdir())


def test_a_folder_as_output(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a folder" in refusal(capsys, f"checkpoint={saved}", f"output={tmp_path}")


def test_an_output_below_a_file(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "model.onnx"
    message = refusal(capsys, f"checkpoint={saved}", f"output={output}")
    assert f"{tmp_path / 'file'} is a file" in message


def test_an_array_that_the_model_does_not_serve(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, f"checkpoint={saved}", f"output={tmp_path / 'a.onnx'}", "array=line4")
    assert "line" in message


def test_missing_packages_are_named(
    saved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    message = refusal(capsys, f"checkpoint={saved}", f"output={tmp_path / 'a.onnx'}")
    assert "pip install '.[export]'" in message


def test_a_causal_network_is_refused(
    saved_causal: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (f"checkpoint={saved_causal}", f"output={tmp_path / 'model.onnx'}")
    assert main(["export", *settings]) == 2
    assert "is a causal network" in capsys.readouterr().err


def test_filters_of_moments_are_refused(
    make_model: Callable[..., MSDET],
    describe: Callable[..., Description],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make_model(span=0.2, filter_span=0.4)
    save_portable(tmp_path / "model.ckpt", model, describe(model))
    settings = (f"checkpoint={tmp_path / 'model.ckpt'}", f"output={tmp_path / 'model.onnx'}")
    assert main(["export", *settings]) == 2
    assert "model.heads.filter_span" in capsys.readouterr().err
