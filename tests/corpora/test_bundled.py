# SPDX-License-Identifier: Apache-2.0
"""The bundled voices keep what they promise: real splits, levels, sizes, licences, checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from voices.measure import active_level, silence_share

from msdet.corpora import (
    SPLITS,
    BundledConfig,
    BundledUtterance,
    Corpus,
    open_corpus,
)
from msdet.corpora.utterance import MANIFEST, read_manifest
from msdet.errors import InputError
from msdet.resources import voices_dir

VOICES = voices_dir()
ROWS = [row for row in read_manifest(VOICES / MANIFEST) if isinstance(row, BundledUtterance)]


@pytest.fixture(params=[8000, 16000])
def corpus(request: pytest.FixtureRequest) -> Corpus:
    return open_corpus(BundledConfig(), request.param)


def test_splits_share_no_speaker(corpus: Corpus) -> None:
    parts = [set(corpus.split(name).speakers) for name in SPLITS]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(corpus.speakers)


def test_men_and_women_in_every_split(corpus: Corpus) -> None:
    for name in SPLITS:
        sexes = [u.sex for u in corpus.split(name).utterances]
        assert sexes.count("F") >= 2
        assert sexes.count("M") >= 2


def test_enough_speakers_and_seconds() -> None:
    assert len({row.speaker for row in ROWS}) >= 20
    assert all(40.0 <= row.duration <= 90.0 for row in ROWS)
    assert all(row.sample_rate == 16000 for row in ROWS)


def test_only_full_band_speakers_at_16_khz() -> None:
    wide = open_corpus(BundledConfig(), 16000)
    assert all(u.bandwidth_hz >= 8000 for u in wide.utterances)
    assert len(wide.speakers) < len(open_corpus(BundledConfig(), 8000).speakers)


def test_bandwidth_class_agrees_with_what_was_measured() -> None:
    for row in ROWS:
        assert (row.bandwidth_hz >= 8000) == (row.checked.bandwidth_hz >= 7000)


def test_checksums_and_sizes() -> None:
    total = 0
    for row in ROWS:
        content = (VOICES / row.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row.sha256
        assert len(content) == row.num_bytes
        total += len(content)
    assert total <= 8_000_000


def test_every_licence_has_its_text() -> None:
    for row in ROWS:
        text = (VOICES / "LICENSES" / f"{row.source_package}.txt").read_text(errors="replace")
        assert len(text) > 500
        if row.licence.startswith("GPL"):
            assert "GNU GENERAL PUBLIC LICENSE" in (VOICES / "LICENSES/GPL-2.txt").read_text()


def test_nothing_lies_there_that_the_manifest_does_not_list() -> None:
    listed = {row.path for row in ROWS}
    assert {p.relative_to(VOICES).as_posix() for p in VOICES.glob("*/*.opus")} == listed


def test_common_level_without_dc_clipping_or_long_silence() -> None:
    for row in ROWS:
        assert abs(row.checked.active_level_db + 26.0) < 0.5, row.id
        assert abs(row.checked.dc) < 1e-3, row.id
        assert row.checked.peak < 0.95, row.id
        assert row.checked.clipped_share < 1e-3, row.id
        assert row.checked.silence_share < 0.4, row.id


@pytest.mark.parametrize("row", ROWS[::12], ids=lambda row: row.id)
def test_what_the_manifest_measured_is_in_the_file(row: BundledUtterance) -> None:
    corpus = open_corpus(BundledConfig(), 8000)
    audio = corpus.read(row)
    # At 8 kHz the sibilants' upper half is missing: a little less level, a few frames less speech.
    assert abs(active_level(audio, 8000) - row.checked.active_level_db) < 1.0
    assert abs(silence_share(audio, 8000) - row.checked.silence_share) < 0.1
    assert abs(float(audio.mean())) < 1e-3


def test_audio_is_as_long_as_announced_and_decoded_once(corpus: Corpus) -> None:
    utterance = corpus.utterances[0]
    audio = corpus.read(utterance)
    assert audio.dtype == np.float32
    assert audio.shape == (corpus.num_samples(utterance),)
    assert audio is corpus.read(utterance)
    with pytest.raises(ValueError, match="read-only"):
        audio[0] = 1.0


def test_fingerprint_names_the_whole_corpus() -> None:
    corpus = open_corpus(BundledConfig(), 8000)
    assert corpus.split("test").fingerprint == corpus.fingerprint
    assert open_corpus(BundledConfig(), 16000).fingerprint == corpus.fingerprint


def test_changed_voice_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[0]
    (tmp_path / row.path).parent.mkdir(parents=True)
    content = bytearray((VOICES / row.path).read_bytes())
    content[1000] ^= 1
    (tmp_path / row.path).write_bytes(content)
    (tmp_path / MANIFEST).write_text(row.model_dump_json() + "\n")
    monkeypatch.setattr("msdet.corpora.folder.voices_dir", lambda: tmp_path)
    with pytest.raises(InputError, match=f"{Path(row.path).name}.*checksum"):
        open_corpus(BundledConfig(), 8000)
