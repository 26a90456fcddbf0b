# SPDX-License-Identifier: Apache-2.0
"""A corpus of the user's own: a class that a config names in place of one of msdet's."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.corpora.corpus import Corpus
from msdet.corpora.utterance import SPLITS, Split, Utterance, check_rows
from msdet.errors import InputError, first_mistake, shortened
from msdet.parts import OwnPart, build

KEY = "corpus"


class OwnUtterance(BaseModel):
    """One row of `SpeechSource.utterances`: a mapping with these keys, or an object with these
    attributes; others are left alone.

    Attributes:
        speaker: who speaks; in one split only. num_samples: length at the asked sample rate.
    """

    model_config = ConfigDict(frozen=True, from_attributes=True, coerce_numbers_to_str=True)

    id: str = Field(min_length=1)
    speaker: str = Field(min_length=1)
    split: Split
    num_samples: int = Field(gt=0)


class SpeechSource(Protocol):
    """A corpus of the user's own: ``corpus={_target_: mine.MyCorpus, ...}``.

    The class is made with the arguments of the config and with ``sample_rate`` (hertz).

    Attributes:
        fingerprint: another text for other speech, or other splits; scenes name the corpus by it.
    """

    fingerprint: str

    def utterances(self) -> Iterable[Any]:
        """Return the rows, see `OwnUtterance`; the order is part of what scenes depend on."""
        ...

    def read(self, id: str, start: int, stop: int) -> NDArray[np.float32]:
        """Return a stretch of an utterance, mono ``[stop - start]`` of float32, full scale at 1.

        It is taken as it is: what lies below 50 Hz should be filtered out.
        """
        ...


@dataclass(frozen=True)
class OwnCorpus(Corpus):
    """A `Corpus` whose audio comes from a `SpeechSource`; `root` is not used."""

    source: SpeechSource

    @property
    def where(self) -> str:
        """Its class, for messages."""
        return repr(self.name)

    def read(
        self, utterance: Utterance, start: int = 0, stop: int | None = None
    ) -> NDArray[np.float32]:
        """Read a stretch; see `Corpus.read`. What was read as a whole is kept."""
        if stop is None or self.cached(utterance) is not None:
            return super().read(utterance, start, stop)
        return self.stretch(utterance, start, stop)

    def _decoded(self, utterance: Utterance) -> NDArray[np.float32]:
        return self.stretch(utterance, 0, self.num_samples(utterance))

    def stretch(self, utterance: Utterance, start: int, stop: int) -> NDArray[np.float32]:
        """Read a stretch anew."""
        where = f"{KEY}: {self.name}: read({utterance.id!r}, {start}, {stop})"
        return checked_signal(
            lambda: self.source.read(utterance.id, start, stop), where, stop - start
        )


def checked_signal(read: Callable[[], Any], where: str, num_samples: int) -> NDArray[np.float32]:
    """Return what a class of the user's own reads, if it is ``[num_samples]`` finite numbers.

    Args:
        where: the config's key and the call, for the message.
    Raises:
        InputError: it is something else, or reading fails.
    """
    try:
        found = read()
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except Exception as error:  # whatever the user's own class raises
        raise InputError(f"{where}: {_told(error)}") from error
    if not isinstance(found, np.ndarray) or not np.issubdtype(found.dtype, np.floating):
        kind = getattr(found, "dtype", type(found).__name__)
        raise InputError(f"{where}: expected an array of float32, got {kind}")
    if found.shape != (num_samples,):
        raise InputError(f"{where}: expected shape {(num_samples,)}, got {found.shape}")
    if not np.isfinite(found).all():
        raise InputError(f"{where}: holds NaN or infinite samples")
    return np.array(found, np.float32)


def open_own(part: OwnPart, sample_rate: int) -> OwnCorpus:
    """Make a corpus of the user's own, and see that it is one: an utterance of each split is read.

    Raises:
        InputError: the class cannot be made, or offers something else than a `SpeechSource`.
    """
    source = build(part, KEY, sample_rate=sample_rate)
    where = f"{KEY}: {part.target}"
    fingerprint = getattr(source, "fingerprint", None)
    if not isinstance(fingerprint, str) or not fingerprint:
        raise InputError(f"{where}: fingerprint={fingerprint!r}: expected a text")
    for method in ("utterances", "read"):
        if not callable(getattr(source, method, None)):
            raise InputError(f"{where}: has no method {method}()")
    try:
        pickle.dumps(source)
    except Exception as error:  # pickle's, and whatever the user's own class raises
        raise InputError(
            f"{where}: does not pickle, which sends it to other processes ({_told(error)})"
        ) from error
    try:
        found = list(source.utterances())
    except Exception as error:  # whatever the user's own class raises
        raise InputError(f"{where}: utterances(): {_told(error)}") from error
    rows = []
    for number, row in enumerate(found):
        try:
            rows.append(_row(OwnUtterance.model_validate(row), sample_rate))
        except ValidationError as error:
            raise InputError(f"{where}: utterances()[{number}]: {first_mistake(error)}") from error
    check_rows(where, rows)
    corpus = OwnCorpus(part.target, Path(), tuple(rows), sample_rate, fingerprint, source)
    for split in SPLITS:
        first = next((row for row in rows if row.split == split), None)
        if first is not None and not corpus.stretch(first, 0, corpus.num_samples(first)).any():
            raise InputError(f"{where}: utterance {first.id!r} is silent (every sample is zero)")
    return corpus


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {shortened(' '.join(str(error).split()), 200)}"


def _row(found: OwnUtterance, sample_rate: int) -> Utterance:
    return Utterance.model_construct(
        id=found.id,
        speaker=found.speaker,
        split=found.split,
        path=found.id,
        duration=found.num_samples / sample_rate,
        sample_rate=sample_rate,
        bandwidth_hz=sample_rate // 2,
        sex=None,
        language=None,
        num_bytes=1,
    )
