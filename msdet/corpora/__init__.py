# SPDX-License-Identifier: Apache-2.0
"""Dry speech: corpora of utterances with splits that share no speaker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from msdet.corpora.corpus import Corpus, resampled
from msdet.corpora.folder import BundledConfig, FolderConfig, open_bundled, open_folder
from msdet.corpora.librispeech import LibriSpeechConfig, open_librispeech
from msdet.corpora.metadata import MetadataConfig, open_metadata
from msdet.corpora.own import OwnUtterance, SpeechSource, checked_signal, open_own
from msdet.corpora.utterance import SPLITS, BundledUtterance, Split, Utterance
from msdet.corpora.vctk import VCTKConfig, open_vctk
from msdet.corpora.wsj0 import WSJ0Config, open_wsj0
from msdet.parts import Own, OwnPart, part_tag

CorpusConfig = Annotated[
    Annotated[BundledConfig, Tag("bundled")]
    | Annotated[FolderConfig, Tag("folder")]
    | Annotated[LibriSpeechConfig, Tag("librispeech")]
    | Annotated[WSJ0Config, Tag("wsj0")]
    | Annotated[VCTKConfig, Tag("vctk")]
    | Annotated[MetadataConfig, Tag("metadata")]
    | Own,
    Discriminator(part_tag),
]
"""One of ours by its ``name``, or a class of the user's own by its ``_target_``."""


def open_corpus(config: CorpusConfig, sample_rate: int) -> Corpus:
    """Open the corpus of a config; all its audio is handed out at ``sample_rate`` (Hz).

    Raises ``InputError`` naming the file or key for whatever the user can mend.
    """
    match config:
        case BundledConfig():
            return open_bundled(sample_rate)
        case FolderConfig():
            return open_folder(config, sample_rate)
        case LibriSpeechConfig():
            return open_librispeech(config, sample_rate)
        case WSJ0Config():
            return open_wsj0(config, sample_rate)
        case VCTKConfig():
            return open_vctk(config, sample_rate)
        case MetadataConfig():
            return open_metadata(config, sample_rate)
        case OwnPart():
            return open_own(config, sample_rate)


__all__ = [
    "SPLITS",
    "BundledConfig",
    "BundledUtterance",
    "Corpus",
    "CorpusConfig",
    "FolderConfig",
    "LibriSpeechConfig",
    "MetadataConfig",
    "OwnUtterance",
    "SpeechSource",
    "Split",
    "Utterance",
    "VCTKConfig",
    "WSJ0Config",
    "checked_signal",
    "open_corpus",
    "resampled",
]
