# SPDX-License-Identifier: Apache-2.0
"""The short-time transform, audio files and resampling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from msdet.audio import Stft, read_audio, resample, rms, write_audio
from msdet.errors import InputError
from msdet.models.config import StftConfig

RATE = 8000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# --- the transform ------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    window=st.sampled_from([32, 128, 512]),
    overlap=st.sampled_from([2, 4, 8]),
    extra=st.integers(0, 700),
)
def test_inverse_gives_back_the_signal(window: int, overlap: int, extra: int) -> None:
    stft = Stft(window, window // overlap)
    audio = noise(2, window + extra)
    again = stft.inverse(stft(audio), audio.shape[-1])
    torch.testing.assert_close(again, audio, atol=2e-5, rtol=0)


@pytest.mark.parametrize("window", [64, 256, 1024])
def test_a_bin_has_the_power_of_the_signal(window: int) -> None:
    """White noise: the mean square of a bin is that of a sample, whatever the window."""
    stft = Stft(window, window // 2)
    audio = 0.3 * noise(20 * RATE)
    power = stft(audio).abs().square()[1:-1].mean()  # bins 0 and Nyquist are real
    assert power == pytest.approx(0.09, rel=0.03)
    assert float(stft.taper.square().sum()) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("bin_index", [3, 17, 40])
def test_a_tone_peaks_in_its_bin(bin_index: int) -> None:
    stft = Stft(128, 64)
    frequencies = stft.frequencies(RATE)
    assert (len(frequencies), frequencies[0], frequencies[-1]) == (65, 0.0, RATE / 2)
    time = torch.arange(RATE) / RATE
    spectrum = stft(torch.sin(2 * torch.pi * float(frequencies[bin_index]) * time)).abs().mean(-1)
    assert int(spectrum.argmax()) == bin_index


def test_leading_dimensions_are_kept_apart() -> None:
    stft = Stft(128, 64)
    audio = noise(2, 3, 1000)
    spectra = stft(audio)
    assert spectra.shape == (2, 3, stft.num_freqs, 16)
    torch.testing.assert_close(spectra[1, 2], stft(audio[1, 2]))
    assert stft.inverse(spectra, 1000).shape == audio.shape


@pytest.mark.parametrize(("window", "hop"), [(127, 32), (128, 65), (8, 4), (128, 0)])
def test_windows_that_cannot_be_inverted_are_refused(window: int, hop: int) -> None:
    with pytest.raises(ValidationError):
        StftConfig(window=window, hop=hop)


def test_rms() -> None:
    audio = torch.tensor([[3.0, -3.0, 3.0, -3.0], [0.0, 0.0, 0.0, 2.0]])
    assert rms(audio).tolist() == [3.0, 1.0]


# --- files --------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 4])
def test_what_is_written_is_read_back_exactly(tmp_path: Path, channels: int) -> None:
    audio = 3.0 * noise(channels, 500).numpy()  # beyond full scale: floats do not clip
    write_audio(tmp_path / "a=b (1).wav", audio, 16000)
    again, sample_rate = read_audio(tmp_path / "a=b (1).wav")
    assert sample_rate == 16000
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, audio)


def test_one_dimension_is_a_mono_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "mono.wav", noise(500).numpy(), RATE)
    assert read_audio(tmp_path / "mono.wav")[0].shape == (1, 500)


def test_integer_files_are_read_at_full_scale_one(tmp_path: Path) -> None:
    audio = np.clip(0.3 * noise(300, 2).numpy(), -1, 1)
    soundfile.write(tmp_path / "a.flac", audio, RATE, subtype="PCM_16")
    again, _ = read_audio(tmp_path / "a.flac")
    assert again.shape == (2, 300)
    np.testing.assert_allclose(again, audio.T, atol=1 / 32768)


@pytest.mark.parametrize("name", ["notes.wav", "notes.flac", "notes.txt", "notes", "notes.raw"])
def test_text_is_not_audio(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not a recording\n" * 20)
    with pytest.raises(InputError, match=name) as refusal:
        read_audio(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.wav: no such file"):
        read_audio(tmp_path / "gone.wav")
    with pytest.raises(InputError, match=str(tmp_path)):
        read_audio(tmp_path)


def test_files_without_samples_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "header.wav", np.zeros((0, 4)), RATE)
    for name in ("empty.wav", "header.wav"):
        with pytest.raises(InputError, match=name):
            read_audio(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_numbers_are_refused(tmp_path: Path, value: float) -> None:
    audio = noise(2, 300).numpy()
    audio[1, 7] = value
    soundfile.write(tmp_path / "bad.wav", audio.T, RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"bad\.wav.*NaN"):
        read_audio(tmp_path / "bad.wav")


# --- resampling ---------------------------------------------------------------------------


@pytest.mark.parametrize(("from_rate", "to_rate"), [(16000, 8000), (8000, 16000), (44100, 8000)])
def test_resampling_keeps_a_tone_and_its_place(from_rate: int, to_rate: int) -> None:
    def tone(rate: int) -> torch.Tensor:
        return torch.sin(2 * torch.pi * 440.0 * torch.arange(rate // 2) / rate)

    resampled = resample(tone(from_rate)[None], from_rate, to_rate)[0]
    inside = slice(to_rate // 20, to_rate // 2 - to_rate // 20)
    torch.testing.assert_close(resampled[inside], tone(to_rate)[inside], atol=5e-3, rtol=0)


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    audio = noise(2, 100)
    assert torch.equal(resample(audio, RATE, RATE), audio)
