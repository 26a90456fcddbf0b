# SPDX-License-Identifier: Apache-2.0
"""scripts/build_voices.py makes a corpus out of packages: here small ones with made-up voices."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from voices.measure import Signal

from msdet.corpora import BundledUtterance, FolderConfig, open_corpus
from msdet.corpora.utterance import MANIFEST, write_manifest
from msdet.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_voices.py"
RATE = 16000

needs_debian = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("dpkg", "dpkg-deb", "ffmpeg")),
    reason="needs dpkg and ffmpeg",
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_voices", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_voices"] = module  # pydantic looks up annotations there
    spec.loader.exec_module(module)
    return module


def voice(pitch: float, seconds: float, rng: np.random.Generator) -> Signal:
    """A buzz with the pitch of a voice, in syllables, with a little breath up to 8 kHz."""
    time = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, int(4000 / pitch)))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time)
    breath = 0.05 * rng.standard_normal(len(time))
    return (0.1 * syllables * (buzz + breath)).astype(np.float32)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with one woman and one man per split, as a .deb."""
    root = tmp_path_factory.mktemp("package")
    rng = np.random.default_rng(0)
    for n, split in enumerate(("train", "valid", "test")):
        for sex, pitch in (("f", 210.0 + 10 * n), ("m", 110.0 + 10 * n)):
            folder = root / "usr/share/voices" / f"{split}-{sex}"
            folder.mkdir(parents=True)
            for clip in range(9):
                soundfile.write(folder / f"{clip}.wav", voice(pitch, 2.5, rng), RATE)
    soundfile.write(root / "usr/share/voices/train-f/empty.wav", np.zeros(RATE), RATE)
    (root / "usr/share/doc/made-up").mkdir(parents=True)
    (root / "usr/share/doc/made-up/copyright").write_text("Do as you like.\n")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: made-up\nVersion: 1.0\nArchitecture: all\n"
        "Maintainer: nobody <nobody@example.org>\nDescription: voices\n"
    )
    folder = tmp_path_factory.mktemp("downloads")
    deb = folder / "made-up_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", str(root), str(deb)], check=True, capture_output=True
    )
    return folder


def sources(script: ModuleType, folder: Path) -> tuple[object, ...]:
    tables = [
        f'[[source]]\nspeaker = "{split}-{sex}"\npackage = "made-up"\n'
        f'files = \'/{split}-{sex}/\'\nlanguage = "xx"\nsplit = "{split}"\n'
        'licence = "made-up"\ncredit = "nobody"\nclip = 1.0\n'
        for split in ("train", "valid", "test")
        for sex in "fm"
    ]
    path = folder / "sources.toml"
    path.write_text("\n".join(tables))
    found: tuple[object, ...] = script.read_sources(path)
    return found


@needs_debian
def test_large_version_opens_as_a_folder(
    script: ModuleType, downloads: Path, tmp_path: Path
) -> None:
    wanted = sources(script, tmp_path)
    rows: list[BundledUtterance] = script.build(wanted, downloads, tmp_path / "a", True)
    script.check(rows, True)
    write_manifest(tmp_path / "a" / MANIFEST, rows)
    for row in rows:
        assert row.sex == row.speaker[-1].upper()
        assert row.sex_source == "pitch"
        assert row.bandwidth_hz == 8000
        assert abs(row.checked.active_level_db + 26.0) < 0.5
        assert 20.0 < row.duration < 25.0
    corpus = open_corpus(FolderConfig(path=str(tmp_path / "a")), RATE)
    assert corpus.split("test").speakers == ("test-f", "test-m")
    assert (tmp_path / "a" / "LICENSES" / "made-up.txt").read_text() == "Do as you like.\n"
    assert "| train-f | train | F | xx | made-up 1.0 |" in script.readme(rows)

    again: list[BundledUtterance] = script.build(wanted[:1], downloads, tmp_path / "b", True)
    assert again[0] == next(row for row in rows if row.id == again[0].id)


@needs_debian
def test_speaker_with_too_little_is_left_out(
    script: ModuleType, downloads: Path, tmp_path: Path
) -> None:
    """The bundle wants 40 s of a speaker, the made-up ones have some 22."""
    assert script.build(sources(script, tmp_path)[:1], downloads, tmp_path / "a", False) == []


@needs_debian
def test_source_that_matches_nothing_is_named(
    script: ModuleType, downloads: Path, tmp_path: Path
) -> None:
    wrong = sources(script, tmp_path)[0].model_copy(update={"files": "nowhere"})  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"made-up 1\.0: no file matches 'nowhere'"):
        script.build([wrong], downloads, tmp_path / "a", True)


def test_one_person_in_two_splits_is_refused(script: ModuleType, tmp_path: Path) -> None:
    text = script.SOURCES.read_text()
    path = tmp_path / "sources.toml"
    first = text.split("\n[[source]]\n")[1]  # June, for validation
    path.write_text(text + "\n[[source]]\n" + first.replace('"valid"', '"test"'))
    with pytest.raises(InputError, match="asterisk-june is in two splits"):
        script.read_sources(path)


def test_a_set_without_men_is_refused(script: ModuleType) -> None:
    with pytest.raises(InputError, match="train: no woman or no man"):
        script.check([], True)
