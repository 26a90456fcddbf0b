# SPDX-License-Identifier: Apache-2.0
"""Folders of audio: all who read them find the same files, and not what a system left there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from msdet.audio_files import find_audio
from msdet.corpora import FolderConfig, LibriSpeechConfig
from msdet.inference.recording_paths import find_recordings
from msdet.simulation.noise_sources import open_recordings

SPEECH = "s/take.flac"
LEFT = ("s/._take.flac", "s/.hidden/a.flac", "s/@eaDir/a.flac", "s/.ipynb_checkpoints/a.flac")


def librispeech(root: Path) -> list[str]:
    config = LibriSpeechConfig(path=str(root), train=("dev-clean",), valid=("dev-clean",))
    config = config.model_copy(update={"valid": (), "test": ()})
    (root / "dev-clean").symlink_to(root / "s")
    return [f"s/{Path(row.path).name}" for row in config.listed(root)]


READERS: dict[str, Callable[[Path], list[str]]] = {
    "separate": lambda root: [
        place.recording.relative_to(root).as_posix() for place in find_recordings([str(root)], None)
    ],
    "folder": lambda root: [file.path for file in FolderConfig(path="").speech(root)],
    "librispeech": librispeech,
    "noise": lambda root: list(open_recordings(str(root), 8000).lengths),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_a_system_leaves_in_a_folder_is_passed_over(reader: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    soundfile.write(tmp_path / SPEECH, 0.1 * np.ones(24000), 8000)
    for name in LEFT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert READERS[reader](tmp_path) == [SPEECH]


def test_a_link_that_leads_back_is_entered_once(tmp_path: Path) -> None:
    (tmp_path / "take.WAV").touch()
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    assert [path.name for path in find_audio(tmp_path)] == ["gone.wav", "take.WAV"]
