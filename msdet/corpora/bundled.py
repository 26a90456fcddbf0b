# SPDX-License-Identifier: Apache-2.0
"""The voices that come with msdet: where they lie and how they are opened."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from msdet.corpora.corpus import Corpus, make_corpus
from msdet.corpora.utterance import MANIFEST, check_files, read_manifest
from msdet.errors import InputError
from msdet.resources import voices_dir


class BundledConfig(BaseModel):
    """The voices that come with the project; at sample rates above 8 kHz, those whose recordings
    reach up to 8 kHz."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["bundled"] = "bundled"


def open_bundled(sample_rate: int) -> Corpus:
    """The bundled voices; above 8 kHz only speakers whose recordings are full-band."""
    root = voices_dir()
    if not (root / MANIFEST).is_file():
        raise InputError(
            f"{root}: the bundled voices are missing (no {MANIFEST}); install msdet again or run "
            "scripts/build_voices.py"
        )
    rows = read_manifest(root / MANIFEST)
    try:
        check_files(root, rows)
    except InputError as error:
        mend = "install msdet again or run scripts/build_voices.py"
        raise InputError(f"{error}; {mend}") from None
    return make_corpus("bundled", root, rows, sample_rate)
