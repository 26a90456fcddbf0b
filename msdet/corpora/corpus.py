# SPDX-License-Identifier: Apache-2.0
"""The corpus: utterances of many speakers, their splits, and their audio at one sample rate."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import scipy
from numpy.typing import NDArray

from msdet.audio_files import reading
from msdet.corpora.utterance import Split, Utterance, fingerprint
from msdet.errors import InputError

log = logging.getLogger(__name__)

AUDIO_CACHE_BYTES = 512 * 2**20
"""Decoded audio kept per process. The bundled voices take 180 MB at 16 kHz; a quickstart with its
workers must stay under 4 GB; a large corpus goes through it as a least-recently-used cache."""

FULL_BAND_HZ = 8000
"""Speech is full-band when it reaches this: what is above matters to no model here."""

_STOP_HZ, _PASS_HZ = 20.0, 50.0
_RINGING_SECONDS = 0.1

_MISSING_TAIL_SECONDS = 0.1
"""MP3 headers promise a frame or two more than the decoder gives; more than that is a cut file."""


class AudioCache:
    """Decoded recordings, the least recently used ones dropped beyond ``max_bytes``."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._entries: OrderedDict[tuple[object, ...], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...]) -> NDArray[np.float32] | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: tuple[object, ...], audio: NDArray[np.float32]) -> None:
        with self._lock:
            if key in self._entries or audio.nbytes > self.max_bytes:
                return
            self._entries[key] = audio
            self.num_bytes += audio.nbytes
            while self.num_bytes > self.max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self.num_bytes -= dropped.nbytes


_cache = AudioCache(AUDIO_CACHE_BYTES)


@dataclass(frozen=True)
class Corpus:
    """Utterances under one root folder, handed out at ``sample_rate``."""

    name: str
    root: Path
    utterances: tuple[Utterance, ...]
    sample_rate: int
    fingerprint: str
    """That of the whole manifest, also in a split: scenes name one corpus, not a part of it."""

    @property
    def where(self) -> str:
        """Its name and place, for messages."""
        return f"{self.name!r} at {self.root}"

    def split(self, name: Split) -> Self:
        """The part of the corpus that belongs to a split; it has at least two speakers."""
        part = replace(self, utterances=tuple(u for u in self.utterances if u.split == name))
        if len(part.speakers) < 2:
            raise InputError(
                f"corpus {self.where}: split {name!r} has {len(part.speakers)}"
                f" speakers usable at {self.sample_rate} Hz, a mixture needs at least 2"
            )
        return part

    @cached_property
    def speakers(self) -> tuple[str, ...]:
        """Names of the speakers, sorted."""
        return tuple(sorted(self._by_speaker))

    def of_speaker(self, speaker: str) -> tuple[Utterance, ...]:
        """A speaker's utterances, in the order of the manifest."""
        if speaker not in self._by_speaker:
            raise InputError(f"corpus {self.where} has no speaker {speaker!r}")
        return self._by_speaker[speaker]

    def by_id(self, id: str) -> Utterance:
        """The utterance that a scene names."""
        if id not in self._by_id:
            raise InputError(
                f"corpus {self.where} has no utterance {id!r}; the scenes were"
                " drawn from another corpus or sample rate"
            )
        return self._by_id[id]

    def num_samples(self, utterance: Utterance) -> int:
        """Length of what ``read`` returns, known without decoding."""
        # The small part of a sample takes care of durations that came through a division.
        return int(utterance.duration * self.sample_rate + 1e-4)

    def read(
        self, utterance: Utterance, start: int = 0, stop: int | None = None
    ) -> NDArray[np.float32]:
        """Read mono audio ``[sample]`` at the corpus' rate; read-only, decoded once per process.

        Args:
            start, stop: the stretch, samples; all of it unless there is a stop.
        Raises:
            InputError: it is missing, unreadable, silent, not finite or shorter than it should be.
        """
        audio = self.cached(utterance)
        if audio is None:
            audio = self._decoded(utterance)
            audio.setflags(write=False)
            _cache.put(self._key(utterance), audio)
        return audio if stop is None else audio[start:stop]

    def cached(self, utterance: Utterance) -> NDArray[np.float32] | None:
        """An utterance's audio, if this process holds it."""
        return _cache.get(self._key(utterance))

    def _key(self, utterance: Utterance) -> tuple[object, ...]:
        return self.fingerprint, self.root, utterance.path, self.sample_rate

    def _decoded(self, utterance: Utterance) -> NDArray[np.float32]:
        """The first channel of a file that has several: a mean of channels could comb-filter."""
        return decode(self.root / utterance.path, self.sample_rate, self.num_samples(utterance))

    @cached_property
    def _by_speaker(self) -> dict[str, tuple[Utterance, ...]]:
        groups: dict[str, list[Utterance]] = {}
        for utterance in self.utterances:
            groups.setdefault(utterance.speaker, []).append(utterance)
        return {speaker: tuple(group) for speaker, group in groups.items()}

    @cached_property
    def _by_id(self) -> dict[str, Utterance]:
        return {utterance.id: utterance for utterance in self.utterances}


def make_corpus(name: str, root: Path, rows: Sequence[Utterance], sample_rate: int) -> Corpus:
    """A corpus of the rows whose speech fills the band at ``sample_rate``.

    An empty upper band would tell a speaker from the others. Raises ``InputError`` when no two
    speakers are left.
    """
    needed = min(sample_rate // 2, FULL_BAND_HZ)
    usable = tuple(u for u in rows if u.bandwidth_hz >= needed)
    corpus = Corpus(name, root, usable, sample_rate, fingerprint(rows))
    if len(corpus.speakers) < 2:
        total = len({u.speaker for u in rows})
        raise InputError(
            f"corpus {name!r} at {root}: {len(corpus.speakers)} of its {total} speakers reach"
            f" {needed} Hz, at least 2 are needed; lower the sample rate of {sample_rate} Hz"
            if total >= 2
            else f"corpus {name!r} at {root}: has {total} speaker, at least 2 are needed"
        )
    if len(usable) < len(rows):
        log.info(
            "corpus %s: %d of %d utterances left out, their speech does not reach %d Hz",
            *(name, len(rows) - len(usable), len(rows), needed),
        )
    return corpus


def decode(path: Path, sample_rate: int, num_samples: int) -> NDArray[np.float32]:
    """First channel of a file, ``[num_samples]`` at ``sample_rate``, high-passed.

    Raises ``InputError`` naming the file when it is missing, unreadable, silent, not finite or
    shorter than ``num_samples``.
    """
    import soundfile

    if not path.is_file():
        raise InputError(f"{path}: the audio file is missing")
    with reading(path):
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = np.ascontiguousarray(channels[:, 0])
    if not np.isfinite(audio).all():
        raise InputError(f"{path}: holds NaN or infinite samples")
    if not audio.any():
        raise InputError(f"{path}: is silent (every sample is zero)")
    audio = resampled(audio, rate, sample_rate)
    missing = num_samples - len(audio)
    if missing > _MISSING_TAIL_SECONDS * sample_rate:
        raise InputError(
            f"{path}: holds {len(audio) / sample_rate:.2f} s, the manifest says"
            f" {num_samples / sample_rate:.2f} s; the file was cut short"
        )
    exact: NDArray[np.float32] = np.zeros(num_samples, np.float32)
    exact[: len(audio)] = audio[:num_samples]
    return high_passed(exact, sample_rate)


def resampled(audio: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Resample ``[sample]`` between sample rates in hertz (torchaudio's windowed sinc)."""
    if from_rate == to_rate:
        return audio
    import torch  # takes seconds to import, and only this needs it
    from torchaudio.functional import resample

    result: NDArray[np.float32] = resample(torch.from_numpy(audio), from_rate, to_rate).numpy()
    return result


def high_passed(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Audio ``[sample]`` without what lies below 20 Hz; a raised-cosine step up to 50 Hz.

    No speech is there, but hum and offsets are, and image-source rooms amplify them: at such
    frequencies all images of a source add up in phase.
    """
    size = scipy.fft.next_fast_len(len(audio) + int(_RINGING_SECONDS * sample_rate), real=True)
    frequency = scipy.fft.rfftfreq(size, 1 / sample_rate)
    rise = np.clip((frequency - _STOP_HZ) / (_PASS_HZ - _STOP_HZ), 0.0, 1.0)
    gains = (0.5 - 0.5 * np.cos(np.pi * rise)).astype(np.float32)
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(audio, size) * gains, size)[: len(audio)])
