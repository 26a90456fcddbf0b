# SPDX-License-Identifier: Apache-2.0
"""REUSE.toml gives every bundled voice the licence that the manifest gives it, and has its text."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath

import pytest

from msdet.corpora import BundledUtterance
from msdet.corpora.utterance import read_manifest

ROOT = Path(__file__).resolve().parents[1]
VOICES = read_manifest(ROOT / "data" / "voices" / "manifest.jsonl")
SPDX = {
    "BSD-like": {"LicenseRef-festvox-ru", "LicenseRef-asterisk-prompt-fr-armelle"},
    "CC-BY-3.0": {"CC-BY-3.0"},
    "CC-BY-SA-3.0": {"CC-BY-SA-3.0", "LicenseRef-CC-BY-SA-3.0-IT"},
    "GPL-2": {"GPL-2.0-only"},
    "GPL-2+": {"GPL-2.0-or-later"},
}


@pytest.mark.parametrize("voice", VOICES, ids=lambda voice: voice.id)
def test_a_voice_s_licence_is_declared_and_its_text_is_there(voice: BundledUtterance) -> None:
    tables = tomllib.loads((ROOT / "REUSE.toml").read_text())["annotations"]
    path = PurePosixPath("data/voices") / voice.path
    matching = [t for t in tables if t["path"] != "**" and path.match(t["path"])]
    assert len(matching) == 1
    licence = matching[0]["SPDX-License-Identifier"]
    assert licence in SPDX[voice.licence]
    assert (ROOT / "LICENSES" / f"{licence}.txt").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert licence in project["license"].split(" AND ")
