# SPDX-License-Identifier: Apache-2.0
"""Dry speech: corpora of utterances with splits that share no speaker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from msdet.corpora.corpus import Corpus, resampled
from msdet.corpora.folder import BundledConfig, FolderConfig
from msdet.corpora.librispeech import LibriSpeechConfig
from msdet.corpora.metadata import MetadataConfig
from msdet.corpora.own import OwnUtterance, SpeechSource, checked_signal, open_own
from msdet.corpora.utterance import SPLITS, BundledUtterance, Split, Utterance
from msdet.corpora.vctk import VCTKConfig
from msdet.corpora.wsj0 import WSJ0Config
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
    if isinstance(config, OwnPart):
        return open_own(config, sample_rate)
    return config.open(sample_rate)


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
