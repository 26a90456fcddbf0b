# SPDX-License-Identifier: Apache-2.0
"""A folder of audio is a corpus: how speakers are divided, and what bad folders get."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import TypeAdapter, ValidationError
from voices.measure import Signal

from msdet.corpora import SPLITS, CorpusConfig, FolderConfig, open_corpus
from msdet.corpora.corpus import high_passed
from msdet.corpora.folder import divide_speakers
from msdet.errors import InputError

RATE = 16000
MakeFolder = Callable[..., FolderConfig]


def babble(seconds: float, seed: int, rate: int = RATE) -> Signal:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype("f4")


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    def make(speakers: int = 8, suffix: str = ".wav", **keys: object) -> FolderConfig:
        for n in range(speakers):
            folder = tmp_path / "voices" / f"speaker-{n}"
            folder.mkdir(parents=True)
            soundfile.write(folder / f"one{suffix}", babble(1.5, n), RATE)
        config = {"path": str(tmp_path / "voices"), "cache": str(tmp_path / "cache")}
        return FolderConfig.model_validate(config | keys)

    return make


def test_every_speaker_in_one_split(make_folder: MakeFolder) -> None:
    corpus = open_corpus(make_folder(9), 8000)
    parts = [corpus.split(name).speakers for name in SPLITS]
    assert sorted(sum(parts, ())) == list(corpus.speakers)
    assert len(corpus.speakers) == 9
    assert all(len(part) >= 2 for part in parts)


def test_splits_depend_on_names_and_seed_only(make_folder: MakeFolder) -> None:
    config = make_folder(0, valid_speakers=0.2, test_speakers=0.3)
    names = [f"p{n}" for n in range(50)]
    splits = divide_speakers(config, Path("a"), names)
    assert splits == divide_speakers(config, Path("b"), names[::-1])
    assert splits != divide_speakers(config.model_copy(update={"seed": 1}), Path("a"), names)
    counts = [list(splits.values()).count(name) for name in SPLITS]
    assert counts == [25, 10, 15]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_formats_and_rates(make_folder: MakeFolder, suffix: str) -> None:
    if suffix == ".opus":
        soundfile.check_format("OGG", "OPUS")
        config = make_folder(0)
        for n in range(6):
            path = Path(config.path) / f"speaker-{n}" / "deeper" / "one.opus"
            path.parent.mkdir(parents=True)
            soundfile.write(path, babble(1.5, n), RATE, format="OGG", subtype="OPUS")
    else:
        config = make_folder(6, suffix)
    corpus = open_corpus(config, 8000)
    for utterance in corpus.utterances:
        audio = corpus.read(utterance)
        assert audio.shape == (corpus.num_samples(utterance),)
        assert 0.03 < np.sqrt(np.mean(audio**2)) < 0.2
        assert abs(utterance.duration - 1.5) < 0.2


def test_first_channel_of_several(make_folder: MakeFolder) -> None:
    config = make_folder(8)
    path = Path(config.path) / "speaker-0" / "one.wav"
    voice = babble(2.0, 99)
    soundfile.write(path, np.stack([voice, -voice], 1), RATE, subtype="FLOAT")
    corpus = open_corpus(config, RATE)
    np.testing.assert_array_equal(
        corpus.read(corpus.by_id("speaker-0/one")), high_passed(voice, RATE)
    )


def test_manifest_is_written_once_and_notices_changes(
    make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_folder(8)
    first = open_corpus(config, 8000)
    (manifest,) = Path(config.cache).iterdir()
    written = manifest.stat().st_mtime_ns
    assert open_corpus(config, 8000).utterances == first.utterances
    assert manifest.stat().st_mtime_ns == written

    os.utime(manifest, (0, 0))  # as if the manifest was older than the files
    open_corpus(config, 8000)
    assert "newer than" in caplog.text

    path = Path(config.path) / "speaker-3" / "one.wav"
    soundfile.write(path, babble(2.0, 3), RATE)
    with pytest.raises(InputError, match=r"speaker-3/one\.wav: has .* bytes.*delete"):
        open_corpus(config, 8000)
    path.unlink()
    with pytest.raises(InputError, match=r"speaker-3/one\.wav: the audio file is missing"):
        open_corpus(config, 8000)


def test_own_manifest_wins(make_folder: MakeFolder) -> None:
    config = make_folder(8)
    first = open_corpus(config, 8000)
    (manifest,) = Path(config.cache).iterdir()
    manifest.rename(Path(config.path) / "manifest.jsonl")
    moved = config.model_copy(update={"seed": 5})
    assert open_corpus(moved, 8000).utterances == first.utterances
    assert not list(Path(config.cache).iterdir())


def test_short_files_are_skipped_and_counted(
    make_folder: MakeFolder, caplog: pytest.LogCaptureFixture
) -> None:
    config = make_folder(8)
    soundfile.write(Path(config.path) / "speaker-0" / "short.wav", babble(0.5, 0), RATE)
    assert len(open_corpus(config, 8000).utterances) == 8
    assert "1 of 9 files skipped" in caplog.text


def one_line(config: FolderConfig, *words: str, sample_rate: int = 8000) -> None:
    with pytest.raises(InputError) as caught:
        open_corpus(config, sample_rate)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros(RATE * 2), "is silent"),
        (np.full(RATE * 2, np.nan), "NaN"),
        (None, "cannot be read as audio"),
    ],
)
def test_bad_audio_is_named(make_folder: MakeFolder, samples: Signal | None, words: str) -> None:
    config = make_folder(8)
    path = Path(config.path) / "speaker-0" / "bad.wav"
    if samples is None:
        path.write_bytes(b"RIFF and then nothing")
    else:
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    one_line(config, "speaker-0/bad.wav", words)


def test_file_that_is_cut_after_listing(make_folder: MakeFolder) -> None:
    corpus = open_corpus(make_folder(8), 8000)
    utterance = corpus.utterances[0]
    longer = utterance.model_copy(update={"duration": 9.0})
    with pytest.raises(InputError, match=r"holds 1\.50 s, the manifest says 9.00 s"):
        corpus.read(longer)


def test_bad_folders(make_folder: MakeFolder, tmp_path: Path) -> None:
    one_line(make_folder(1), "1 speakers", "need 2 speakers each")
    one_line(FolderConfig(path=str(tmp_path / "none")), "corpus.path", "does not exist")
    (tmp_path / "file").write_text("")
    one_line(FolderConfig(path=str(tmp_path / "file")), "is a file")
    (tmp_path / "empty").mkdir()
    one_line(FolderConfig(path=str(tmp_path / "empty"), cache=str(tmp_path)), "no audio")


def test_five_speakers_are_too_few(make_folder: MakeFolder) -> None:
    one_line(make_folder(5), "5 speakers")


def test_rate_above_what_the_recordings_hold(make_folder: MakeFolder) -> None:
    config = make_folder(0)
    for n in range(6):
        path = Path(config.path) / f"speaker-{n}" / "one.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, babble(1.5, n, 8000), 8000)
    one_line(config, "reach 8000 Hz", "lower the sample rate", sample_rate=16000)


def test_cache_that_cannot_be_written(make_folder: MakeFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one_line(make_folder(8, cache=str(tmp_path / "file" / "deeper")), "corpus.cache")


def test_config_is_chosen_by_name_and_refuses_typos() -> None:
    adapter: TypeAdapter[CorpusConfig] = TypeAdapter(CorpusConfig)
    chosen = adapter.validate_python({"name": "folder", "path": "x"})
    assert isinstance(chosen, FolderConfig)
    for bad in ({"name": "folders"}, {"name": "bundled", "path": "x"}, {"name": "folder"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(bad)
