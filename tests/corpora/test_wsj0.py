# SPDX-License-Identifier: Apache-2.0
"""WSJ0 as it lies on discs: SPHERE files in scattered subsets; compressed ones are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from voices.measure import Signal

from msdet.corpora import WSJ0Config, open_corpus
from msdet.corpora.corpus import high_passed
from msdet.errors import InputError

RATE = 16000
DISCS = {
    "11-1.1/wsj0/si_tr_s": ("011", "01i"),
    "11-6.1/wsj0/si_dt_05": ("050", "22g"),
    "11-14.1/wsj0/si_et_05": ("440", "44k"),
}


def babble(seconds: float, seed: int = 0) -> Signal:
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype("f4")


def write_sphere(path: Path, samples: Signal) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, format="NIST", subtype="PCM_16")


def write_compressed(path: Path) -> None:
    """The header of a file as LDC ships it, and bytes that stand for shortened samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = (
        "NIST_1A\n   1024\nmicrophone -s18 Sennheiser HMD410\nsample_count -i 48000\n"
        "channel_count -i 1\nsample_n_bytes -i 2\nsample_byte_format -s2 01\n"
        "sample_rate -i 16000\nsample_coding -s26 pcm,embedded-shorten-v2.00\nend_head\n"
    )
    content = fields.encode().ljust(1024) + b"ajkg\x02" + np.random.default_rng(0).bytes(20000)
    path.write_bytes(content)


@pytest.fixture
def config(tmp_path: Path) -> WSJ0Config:
    """Two speakers of each split on discs of their own, an utterance each, both microphones."""
    root = tmp_path / "csr_1"
    for folder, speakers in DISCS.items():
        for seed, speaker in enumerate(speakers):
            write_sphere(root / folder / speaker / f"{speaker}a0101.wv1", babble(3.0, seed))
            write_sphere(root / folder / speaker / f"{speaker}a0101.wv2", babble(3.0, 100))
    transcript = root / "11-1.1/wsj0/transcrp/dots/si_tr_s/011/011a0100.dot"
    transcript.parent.mkdir(parents=True)
    transcript.write_text("THE SALE OF THE HOTELS (011a0101)\n")
    return WSJ0Config(path=str(root), cache=str(tmp_path / "cache"))


def test_subsets_of_all_discs_are_the_splits(config: WSJ0Config) -> None:
    corpus = open_corpus(config, RATE)
    assert corpus.split("train").speakers == ("011", "01i")
    assert corpus.split("valid").speakers == ("050", "22g")
    assert corpus.split("test").speakers == ("440", "44k")
    assert len(corpus.utterances) == 6  # not those of the second microphone


@pytest.mark.parametrize("sample_rate", [RATE, 8000])
def test_what_a_sphere_file_holds_is_read(config: WSJ0Config, sample_rate: int) -> None:
    corpus = open_corpus(config, sample_rate)
    utterance = corpus.by_id("01i/01ia0101")
    assert utterance.path == "11-1.1/wsj0/si_tr_s/01i/01ia0101.wv1"
    audio = corpus.read(utterance)
    assert audio.shape == (3 * sample_rate,)
    if sample_rate == RATE:
        np.testing.assert_allclose(audio, high_passed(babble(3.0, 1), RATE), atol=2**-15)


def test_a_subset_on_two_discs_and_in_capitals(config: WSJ0Config) -> None:
    other = Path(config.path) / "11-2.1" / "WSJ0" / "SI_TR_S"
    write_sphere(other / "01I" / "01IA0102.WV1", babble(2.5))
    write_sphere(other / "02A" / "02AA0101.SPH", babble(2.5))
    train = open_corpus(config, RATE).split("train")
    assert train.speakers == ("011", "01i", "02a")
    assert [u.id for u in train.of_speaker("01i")] == ["01i/01ia0101", "01i/01ia0102"]


def test_linked_disc_is_entered_and_links_back_are_not(config: WSJ0Config, tmp_path: Path) -> None:
    write_sphere(tmp_path / "elsewhere" / "si_tr_s" / "02b" / "02ba0101.wv1", babble(2.5))
    (Path(config.path) / "11-3.1").symlink_to(tmp_path / "elsewhere")
    for name in ("up", "also-up"):  # entered each time, two would never end
        (tmp_path / "elsewhere" / name).symlink_to(config.path)
    assert open_corpus(config, RATE).split("train").speakers == ("011", "01i", "02b")


def test_compressed_file_is_named_with_the_way_out(config: WSJ0Config) -> None:
    path = Path(config.path) / "11-1.1/wsj0/si_tr_s/011/011a0102.wv1"
    write_compressed(path)
    with pytest.raises(InputError, match=r"011a0102\.wv1: .*shorten-v2\.00.*sph2pipe") as caught:
        open_corpus(config, RATE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["011a0102.wav", "011A0102.WAV", "011a0102.wv1.wav"])
def test_converted_file_takes_the_place_of_a_compressed_one(config: WSJ0Config, name: str) -> None:
    folder = Path(config.path) / "11-1.1/wsj0/si_tr_s/011"
    write_compressed(folder / "011a0102.wv1")
    soundfile.write(folder / name, babble(2.5), RATE)
    soundfile.write(folder / "011a0103.wv2.wav", babble(2.5), RATE)
    corpus = open_corpus(config, RATE)
    (utterance,) = [u for u in corpus.utterances if u.id == "011/011a0102"]
    assert Path(utterance.path).name == name
    assert len(corpus.of_speaker("011")) == 2  # not that of the second microphone


def test_converted_file_may_lie_in_another_tree(config: WSJ0Config) -> None:
    converted = Path(config.path) / "converted" / "si_tr_s" / "011" / "011a0101.wav"
    converted.parent.mkdir(parents=True)
    soundfile.write(converted, babble(2.5), RATE)
    train = open_corpus(config, RATE).split("train")
    assert [u.path for u in train.of_speaker("011")] == ["converted/si_tr_s/011/011a0101.wav"]


def test_a_subset_without_audio_is_named(config: WSJ0Config) -> None:
    other = config.model_copy(update={"valid": ("si_dt_20",)})
    with pytest.raises(InputError, match=r"corpus\.valid: no .* below a folder si_dt_20"):
        open_corpus(other, RATE)


def test_a_subset_in_two_splits_is_refused(config: WSJ0Config) -> None:
    other = config.model_copy(update={"test": ("SI_DT_05",)})
    with pytest.raises(InputError, match=r"corpus\.test: SI_DT_05 is in corpus\.valid already"):
        open_corpus(other, RATE)


def test_a_speaker_in_two_splits_is_named(config: WSJ0Config) -> None:
    # The same utterance: it must not vanish as a copy of the other split's.
    write_sphere(Path(config.path) / "11-6.1/wsj0/si_dt_05/011/011a0101.wv1", babble(3.0))
    with pytest.raises(InputError, match=r"speaker '011' is in train \(.*\) and in valid \("):
        open_corpus(config, RATE)


def test_a_file_outside_the_speakers_folders_is_named(config: WSJ0Config) -> None:
    write_sphere(Path(config.path) / "11-1.1/wsj0/si_tr_s/011a0103.wv1", babble(3.0))
    with pytest.raises(InputError, match=r"si_tr_s/011a0103\.wv1: lies in no speaker's folder"):
        open_corpus(config, RATE)


def test_bad_audio_is_named(config: WSJ0Config) -> None:
    path = Path(config.path) / "11-1.1/wsj0/si_tr_s/011/011a0102.wv1"
    write_sphere(path, np.zeros(3 * RATE, np.float32))
    with pytest.raises(InputError, match=r"011a0102\.wv1: is silent"):
        open_corpus(config, RATE)
    path.write_bytes(b"NIST_1A\n   1024\nend_head\n")
    with pytest.raises(InputError, match=r"011a0102\.wv1: cannot be read as audio"):
        open_corpus(config, RATE)


def test_short_files_are_left_out(config: WSJ0Config, caplog: pytest.LogCaptureFixture) -> None:
    write_sphere(Path(config.path) / "11-1.1/wsj0/si_tr_s/011/011a0102.wv1", babble(1.0))
    assert len(open_corpus(config, RATE).utterances) == 6
    assert "1 of 7 files skipped" in caplog.text
    with pytest.raises(InputError, match=r"corpus\.min_seconds: all 7 files"):
        open_corpus(config.model_copy(update={"min_seconds": 9.0}), RATE)


def test_listed_once_and_later_files_are_noticed(
    config: WSJ0Config, caplog: pytest.LogCaptureFixture
) -> None:
    first = open_corpus(config, RATE)
    (manifest,) = Path(config.cache).iterdir()
    written = manifest.stat().st_mtime_ns
    write_sphere(Path(config.path) / "11-1.1/wsj0/si_tr_s/011/011a0102.wv1", babble(3.0))
    again = open_corpus(config, RATE)
    assert again.fingerprint == first.fingerprint
    assert manifest.stat().st_mtime_ns == written
    assert "newer than" in caplog.text
