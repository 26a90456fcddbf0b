# SPDX-License-Identifier: Apache-2.0
"""LibriSpeech's layout gives utterances and splits; missing subsets are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.corpora import LibriSpeechConfig, open_corpus
from msdet.errors import InputError


@pytest.fixture
def config(tmp_path: Path) -> LibriSpeechConfig:
    root = tmp_path / "LibriSpeech"
    rng = np.random.default_rng(0)
    for first, subset in ((10, "train-clean-100"), (20, "dev-clean"), (30, "test-clean")):
        for speaker in (first, first + 1):
            for number, seconds in enumerate((3.0, 1.0)):
                path = root / subset / str(speaker) / "7" / f"{speaker}-7-{number:04d}.flac"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.1 * rng.standard_normal(int(seconds * 16000)), 16000)
    return LibriSpeechConfig(path=str(tmp_path), cache=str(tmp_path / "cache"))


def test_subsets_are_the_splits(config: LibriSpeechConfig) -> None:
    corpus = open_corpus(config, 16000)
    assert corpus.split("train").speakers == ("10", "11")
    assert corpus.split("valid").speakers == ("20", "21")
    assert corpus.split("test").speakers == ("30", "31")
    assert len(corpus.utterances) == 6  # the files of one second are shorter than min_seconds
    assert corpus.read(corpus.by_id("10-7-0000")).shape == (48000,)


def test_path_may_be_the_folder_itself(config: LibriSpeechConfig) -> None:
    inside = config.model_copy(update={"path": str(Path(config.path) / "LibriSpeech")})
    assert open_corpus(inside, 8000).utterances == open_corpus(config, 8000).utterances


def test_missing_subset_is_named(config: LibriSpeechConfig) -> None:
    other = config.model_copy(update={"valid": ("dev-other",)})
    with pytest.raises(InputError, match=r"dev-other does not exist.*corpus\.download=true"):
        open_corpus(other, 16000)


def test_failed_download_is_one_line(
    config: LibriSpeechConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **keys: object) -> None:
        raise OSError("Name or service not known\nmore")

    monkeypatch.setattr("torchaudio.datasets.LIBRISPEECH", fail)
    other = config.model_copy(update={"valid": ("dev-other",), "download": True})
    with pytest.raises(InputError, match="dev-other could not be downloaded") as caught:
        open_corpus(other, 16000)
    assert "\n" not in str(caught.value)
