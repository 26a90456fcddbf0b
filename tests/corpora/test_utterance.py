# SPDX-License-Identifier: Apache-2.0
"""A manifest comes back as it was written, and a broken one is refused by name and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.corpora.utterance import (
    SPLITS,
    Utterance,
    check_files,
    fingerprint,
    read_manifest,
    write_manifest,
)
from msdet.errors import InputError

NAMES = st.text(min_size=1, max_size=12)


def row(id: str = "a-1", speaker: str = "a", **changes: object) -> Utterance:
    fields = {
        "id": id,
        "speaker": speaker,
        "split": "train",
        "path": f"{id}.wav",
        "duration": 3.0,
        "sample_rate": 16000,
        "bandwidth_hz": 8000,
        "num_bytes": 10,
    }
    return Utterance.model_validate(fields | changes)


@settings(max_examples=50, deadline=None)
@given(
    speakers=st.dictionaries(NAMES, st.sampled_from(SPLITS), min_size=1, max_size=6),
    duration=st.floats(0.01, 1e4),
    language=st.one_of(st.none(), NAMES),
    sex=st.sampled_from(["F", "M", None]),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    speakers: dict[str, str],
    duration: float,
    language: str | None,
    sex: str | None,
) -> None:
    rows = tuple(
        row(f"{n}", name, split=split, duration=duration, language=language, sex=sex)
        for n, (name, split) in enumerate(speakers.items())
    )
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    write_manifest(path, rows)
    assert read_manifest(path) == rows
    assert fingerprint(reversed(rows)) == fingerprint(rows)


def test_fingerprint_sees_changes() -> None:
    first = fingerprint([row()])
    for changes in ({"duration": 3.1}, {"split": "test"}, {"num_bytes": 11}, {"speaker": "b"}):
        assert fingerprint([row(**changes)]) != first


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a"', "line 2: .*Invalid JSON"),
        ("[]", "line 2: .*Input should be an object"),
        (json.dumps(row("b").model_dump() | {"duration": -1}), "line 2: duration"),
        (json.dumps(row("b").model_dump() | {"lenght": 1}), "line 2: lenght"),
        (json.dumps(row("b").model_dump() | {"path": "../b.wav"}), "line 2: path"),
        (json.dumps(row().model_dump()), "'a-1' comes twice"),
        (json.dumps(row("b", split="test").model_dump()), "speaker 'a' is in train and in test"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(row().model_dump_json() + "\n" + line + "\n")
    with pytest.raises(InputError, match=words) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_or_missing_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(InputError, match="empty"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_manifest(tmp_path / "none.jsonl")


def test_missing_and_changed_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a-1\.wav: the audio file is missing"):
        check_files(tmp_path, [row()])
    (tmp_path / "a-1.wav").write_bytes(b"123")
    with pytest.raises(InputError, match=r"a-1\.wav: has 3 bytes, the manifest says 10"):
        check_files(tmp_path, [row()])
