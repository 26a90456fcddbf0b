# SPDX-License-Identifier: Apache-2.0
"""Lists of utterances and of mixtures, as LibriMix publishes them, name the files of each split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.corpora import MetadataConfig, open_corpus
from msdet.errors import InputError

RATE = 16000
SPLIT_FOLDERS = {"train": "train-clean-100", "valid": "dev-clean", "test": "test-clean"}
FIRST_SPEAKER = {"train": 10, "valid": 20, "test": 30}


def name_of(split: str, speaker: int, number: int) -> str:
    return f"{SPLIT_FOLDERS[split]}/{speaker}/7/{speaker}-7-{number:04d}.flac"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two speakers of each split with two files each, and one file that no list names."""
    rng = np.random.default_rng(0)
    for split, first in FIRST_SPEAKER.items():
        for speaker in (first, first + 1):
            for number in range(3 if speaker == 10 else 2):
                path = tmp_path / "LibriSpeech" / name_of(split, speaker, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.1 * rng.standard_normal(3 * RATE), RATE)
    return tmp_path / "LibriSpeech"


@pytest.fixture
def utterances(root: Path, tmp_path: Path) -> MetadataConfig:
    lists = {}
    for split, first in FIRST_SPEAKER.items():
        lines = ["speaker_ID,sex,subset,length,origin_path"]
        for speaker, sex in ((first, "F"), (first + 1, "M")):
            lines += [f"{speaker},{sex},x,48000,{name_of(split, speaker, n)}" for n in range(2)]
        path = tmp_path / f"{SPLIT_FOLDERS[split]}.csv"
        path.write_text("\n".join(lines) + "\n")
        lists[split] = (str(path),)
    return MetadataConfig.model_validate(
        {"path": str(root), "cache": str(tmp_path / "cache")} | lists
    )


@pytest.fixture
def mixtures(root: Path, tmp_path: Path) -> MetadataConfig:
    """Each file twice, in lists with a column of noise, which lies elsewhere."""
    lists = {}
    for split, first in FIRST_SPEAKER.items():
        lines = [
            "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain,noise_path,noise_gain"
        ]
        for one in range(2):
            for two in range(2):
                a, b = name_of(split, first, one), name_of(split, first + 1, two)
                lines.append(f"{Path(a).stem}_{Path(b).stem},{a},0.7,{b},1.2,cv/01.wav,0.3")
        path = root / f"libri2mix_{SPLIT_FOLDERS[split]}.csv"
        path.write_text("\n".join(lines) + "\n")
        lists[split] = (path.name,)
    return MetadataConfig.model_validate(
        {"path": str(root), "cache": str(tmp_path / "cache")} | lists
    )


def edit(config: MetadataConfig, old: str, new: str) -> None:
    """Change the list of the train split."""
    path = Path(config.path) / config.train[0]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def one_line(config: MetadataConfig, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_corpus(config, RATE)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_list_of_utterances(utterances: MetadataConfig) -> None:
    corpus = open_corpus(utterances, RATE)
    assert corpus.split("train").speakers == ("10", "11")
    assert corpus.split("valid").speakers == ("20", "21")
    assert corpus.split("test").speakers == ("30", "31")
    assert len(corpus.utterances) == 12  # not the third file of speaker 10
    assert corpus.read(corpus.by_id("train-clean-100/10/7/10-7-0000")).shape == (48000,)


def test_list_of_mixtures_names_the_same_files(
    mixtures: MetadataConfig, utterances: MetadataConfig
) -> None:
    """Same ids, speakers, splits and audio: what was drawn from one is found in the other."""
    assert open_corpus(mixtures, RATE).fingerprint == open_corpus(utterances, RATE).fingerprint


def test_mixtures_of_three(mixtures: MetadataConfig) -> None:
    third = name_of("train", 10, 2)
    (Path(mixtures.path) / mixtures.train[0]).write_text(
        "mixture_ID,source_1_path,source_2_path,source_3_path\n"
        f"x,{name_of('train', 10, 0)},{name_of('train', 11, 0)},{third}\n"
    )
    assert third in {u.path for u in open_corpus(mixtures, RATE).split("train").utterances}


def test_a_split_of_several_lists(utterances: MetadataConfig, tmp_path: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text(
        "\ufefforigin_path,speaker_ID\n"  # as spreadsheets save it
        f"{name_of('train', 10, 2)},10\n{name_of('train', 10, 1)},10\n\n",
        encoding="utf-8",
    )
    both = utterances.model_copy(update={"train": (*utterances.train, str(more))})
    assert len(open_corpus(both, RATE).of_speaker("10")) == 3


def test_full_paths_through_a_link(utterances: MetadataConfig, tmp_path: Path) -> None:
    before = open_corpus(utterances, RATE)
    (tmp_path / "link").symlink_to(utterances.path)
    edit(utterances, "train-clean-100/", f"{tmp_path}/link/train-clean-100/")
    edit(
        utterances, f"{tmp_path}/link/train-clean-100/11/", f"{utterances.path}/train-clean-100/11/"
    )
    assert open_corpus(utterances, RATE).utterances == before.utterances


def test_a_changed_list_is_read_again(utterances: MetadataConfig) -> None:
    before = open_corpus(utterances, RATE)
    edit(utterances, "10-7-0001", "10-7-0002")
    after = open_corpus(utterances, RATE)
    assert after.of_speaker("10")[1].path == name_of("train", 10, 2)
    assert after.fingerprint != before.fingerprint


def test_unknown_columns_are_named(utterances: MetadataConfig) -> None:
    edit(utterances, "origin_path", "file")
    name = Path(utterances.train[0]).name
    one_line(utterances, name, "speaker_ID, sex, subset, length, file", "origin_path")
    Path(utterances.train[0]).write_text("")
    one_line(utterances, name, "(none)")


def test_lists_that_name_nothing(utterances: MetadataConfig) -> None:
    Path(utterances.train[0]).write_text("speaker_ID,origin_path\n")
    one_line(utterances, "corpus.train", "no file is listed", Path(utterances.train[0]).name)
    Path(utterances.train[0]).unlink()
    one_line(utterances, "corpus.train", Path(utterances.train[0]).name, "does not exist")


@pytest.mark.parametrize("kind", ["utterances", "mixtures"])
def test_missing_file_is_named_with_its_line(kind: str, request: pytest.FixtureRequest) -> None:
    config: MetadataConfig = request.getfixturevalue(kind)
    edit(config, "/11/7/11-7-0001", "/11/7/11-7-0009")
    one_line(config, f"{config.train[0]}, line", "11-7-0009.flac", "missing")


@pytest.mark.parametrize("path", ["../voice.flac", "/voice.flac", "a/../../voice.flac"])
def test_file_outside_the_root_is_refused(utterances: MetadataConfig, path: str) -> None:
    edit(utterances, name_of("train", 10, 0), path)
    one_line(utterances, "line 2", path, "outside corpus.path")


@pytest.mark.parametrize("kind", ["utterances", "mixtures"])
def test_speaker_in_two_splits_is_named(kind: str, request: pytest.FixtureRequest) -> None:
    config: MetadataConfig = request.getfixturevalue(kind)
    # A file of the valid split, which must not vanish as a copy of itself.
    edit(config, name_of("train", 10, 0), name_of("valid", 20, 0))
    if kind == "utterances":
        edit(config, "10,F,x,48000,dev-clean", "20,F,x,48000,dev-clean")
    one_line(config, "speaker '20'", "in train", "in valid", "20-7-0000.flac")


def test_one_file_has_one_speaker(utterances: MetadataConfig) -> None:
    edit(utterances, name_of("train", 11, 0), name_of("train", 10, 0))
    one_line(utterances, "line 4", "10-7-0000.flac", "'11'", "'10'")


@pytest.mark.parametrize("file", ["10-7-0000_11-7-0000.flac", "voice.flac"])
def test_names_that_tell_no_speaker_are_refused(mixtures: MetadataConfig, file: str) -> None:
    """LibriMix's own output calls both sources by the mixture: the speaker would be wrong."""
    folder = Path(mixtures.path) / "s2"
    folder.mkdir()
    soundfile.write(folder / file, 0.1 * np.random.default_rng(0).standard_normal(3 * RATE), RATE)
    edit(mixtures, name_of("train", 11, 1), f"s2/{file}")
    one_line(mixtures, "line 3", file, "speaker")


def test_cut_rows_are_named(utterances: MetadataConfig) -> None:
    edit(utterances, f",{name_of('train', 11, 1)}", "")
    one_line(utterances, "line 5", "origin_path is empty")
    edit(utterances, "11,M,x,48000", '11,M,"x,48000')
    one_line(utterances, Path(utterances.train[0]).name, "not CSV")


def test_bad_audio_is_named(utterances: MetadataConfig) -> None:
    path = Path(utterances.path) / name_of("valid", 20, 0)
    soundfile.write(path, np.zeros(3 * RATE), RATE)
    one_line(utterances, "20-7-0000.flac", "is silent")
