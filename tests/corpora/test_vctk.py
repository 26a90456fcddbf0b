# SPDX-License-Identifier: Apache-2.0
"""VCTK in both of its layouts: which microphone is taken, and how its speakers are divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.corpora import SPLITS, FolderConfig, VCTKConfig, open_corpus
from msdet.errors import InputError

RATE = 48000
SPEAKERS = tuple(f"p{n}" for n in range(225, 234))


def write(path: Path, seed: int, seconds: float = 1.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * RATE)), RATE)


@pytest.fixture
def new(tmp_path: Path) -> VCTKConfig:
    """Release 0.92; the last speaker has nothing of the second microphone."""
    root = tmp_path / "VCTK-Corpus-0.92"
    for n, speaker in enumerate(SPEAKERS):
        folder = root / "wav48_silence_trimmed" / speaker
        write(folder / f"{speaker}_001_mic1.flac", n)
        if speaker != SPEAKERS[-1]:
            write(folder / f"{speaker}_001_mic2.flac", 100 + n)
    (root / "wav48_silence_trimmed" / "log.txt").write_text("done\n")
    (root / "txt" / "p225").mkdir(parents=True)
    (root / "txt" / "p225" / "p225_001.txt").write_text("Please call Stella.\n")
    return VCTKConfig(path=str(root), cache=str(tmp_path / "cache"))


@pytest.fixture
def old(tmp_path: Path) -> VCTKConfig:
    root = tmp_path / "VCTK-Corpus"
    for n, speaker in enumerate(SPEAKERS):
        write(root / "wav48" / speaker / f"{speaker}_001.wav", n)
    return VCTKConfig(path=str(root), cache=str(tmp_path / "cache"))


def test_one_microphone_of_every_speaker(new: VCTKConfig) -> None:
    corpus = open_corpus(new, 16000)
    assert corpus.speakers == SPEAKERS
    assert [u.path for u in corpus.of_speaker("p225")] == ["p225/p225_001_mic1.flac"]
    assert corpus.read(corpus.by_id("p225/p225_001_mic1")).shape == (24000,)
    parts = [corpus.split(name).speakers for name in SPLITS]
    assert sorted(sum(parts, ())) == list(SPEAKERS)


def test_second_microphone_lacks_a_speaker(new: VCTKConfig) -> None:
    corpus = open_corpus(new.model_copy(update={"mic": 2}), 16000)
    assert corpus.speakers == SPEAKERS[:-1]
    assert all(u.path.endswith("_mic2.flac") for u in corpus.utterances)


def test_older_release_has_one_microphone(old: VCTKConfig) -> None:
    corpus = open_corpus(old, 16000)
    assert corpus.speakers == SPEAKERS
    assert corpus.utterances[0].path == "p225/p225_001.wav"
    with pytest.raises(InputError, match=r"corpus\.mic: .*wav48 holds no .* microphone 2"):
        open_corpus(old.model_copy(update={"mic": 2}), 16000)


def test_path_may_be_the_recordings_folder(new: VCTKConfig, old: VCTKConfig) -> None:
    for config, folder in ((new, "wav48_silence_trimmed"), (old, "wav48")):
        inside = config.model_copy(update={"path": str(Path(config.path) / folder)})
        assert open_corpus(inside, 16000).utterances == open_corpus(config, 16000).utterances


def test_speakers_are_divided_as_those_of_a_folder(new: VCTKConfig) -> None:
    shares = {"valid_speakers": 0.3, "test_speakers": 0.25, "seed": 4}
    vctk = open_corpus(new.model_copy(update=shares), 16000)
    path = str(Path(new.path) / "wav48_silence_trimmed")
    folder = FolderConfig.model_validate({"path": path, "cache": new.cache} | shares)
    for name in SPLITS:
        assert vctk.split(name).speakers == open_corpus(folder, 16000).split(name).speakers
    other = open_corpus(new.model_copy(update=shares | {"seed": 5}), 16000)
    assert any(vctk.split(n).speakers != other.split(n).speakers for n in SPLITS)


def test_silent_file_of_the_chosen_microphone_is_named(new: VCTKConfig) -> None:
    path = Path(new.path) / "wav48_silence_trimmed" / "p226" / "p226_002_mic2.flac"
    soundfile.write(path, np.zeros(2 * RATE), RATE)
    assert open_corpus(new, 16000).speakers == SPEAKERS
    with pytest.raises(InputError, match=r"p226_002_mic2\.flac: is silent"):
        open_corpus(new.model_copy(update={"mic": 2}), 16000)


def test_wrong_folders_are_named(new: VCTKConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no folder wav48_silence_trimmed or wav48"):
        open_corpus(new.model_copy(update={"path": str(tmp_path)}), 16000)
    with pytest.raises(InputError, match=r"corpus\.path: .*nowhere does not exist"):
        open_corpus(new.model_copy(update={"path": str(tmp_path / "nowhere")}), 16000)
    (tmp_path / "wav48").mkdir()
    with pytest.raises(InputError, match=r"wav48: no audio"):
        open_corpus(new.model_copy(update={"path": str(tmp_path)}), 16000)
