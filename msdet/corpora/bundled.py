# SPDX-License-Identifier: Apache-2.0
"""The voices that come with msdet: where they lie and how they are opened."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

import msdet
from msdet.corpora.corpus import Corpus, make_corpus
from msdet.corpora.utterance import MANIFEST, check_files, read_manifest
from msdet.errors import InputError


class BundledConfig(BaseModel):
    """The bundled voices; nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["bundled"] = "bundled"


def bundled_voices_dir() -> Path:
    """``data/voices`` of a checkout, or the copy inside an installed package."""
    package = Path(msdet.__file__).resolve().parent
    places = (package.parent / "data" / "voices", package / "bundled" / "voices")
    for place in places:
        if (place / MANIFEST).is_file():
            return place
    raise InputError(
        f"the bundled voices are missing: no {MANIFEST} in {places[0]} nor in {places[1]};"
        " install msdet again or run scripts/build_voices.py"
    )


def open_bundled(sample_rate: int) -> Corpus:
    """The bundled voices; above 8 kHz only speakers whose recordings are full-band."""
    root = bundled_voices_dir()
    rows = read_manifest(root / MANIFEST)
    check_files(root, rows)
    return make_corpus("bundled", root, rows, sample_rate)
