# SPDX-License-Identifier: Apache-2.0
"""Tracks of a recording: whoever pauses, comes back or comes later is in one output."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.inference.stitching import Assignment
from msdet.inference.tracks import Tracker, Tracks
from msdet.inference.window_network import WindowNetwork, WindowSpeakers

RATE = 1000
LENGTH = 4 * RATE
Audio = NDArray[np.float32]


class Conversation:
    """Voices of noise, whose turns are given, and a network that separates them perfectly, puts
    them into slots in an order of its own in every window, and leaves others' crumbs in empty ones.

    Args:
        turns: of each speaker, (start, end) in seconds. azimuths: degrees, one a speaker.
    """

    def __init__(
        self,
        turns: list[list[tuple[float, float]]],
        azimuths: list[float],
        seconds: int,
        slots: int,
    ) -> None:
        rng = np.random.default_rng(0)
        self.voices = rng.standard_normal((len(turns), seconds * RATE)).astype(np.float32)
        for voice, spoken in zip(self.voices, turns, strict=True):
            says = np.zeros(len(voice), np.float32)
            for start, end in spoken:
                says[int(start * RATE) : int(end * RATE)] = 1.0
            voice *= says
        self.azimuths, self._slots = np.array(azimuths), slots
        self._rng, self._start = rng, 0

    @property
    def mixture(self) -> Audio:
        return np.asarray(self.voices.sum(axis=0, keepdims=True), np.float32)

    def __call__(self, audio: Audio, num_speakers: int | None = None) -> WindowSpeakers | None:
        here = self.voices[:, self._start : self._start + audio.shape[1]]
        self._start += LENGTH // 2
        if not here.any():
            return None
        loudest = np.argsort(-np.square(here).sum(axis=1))[: self._slots]
        order = self._rng.permutation(loudest)
        slots = here[order] + 0.02 * audio
        silent = ~here[order].any(axis=1)
        azimuth = self.azimuths[order] + self._rng.normal(0.0, 3.0, len(order))
        azimuth[silent] = self._rng.uniform(0.0, 360.0, silent.sum())
        voice = np.eye(24)[order] * 20
        return WindowSpeakers(
            slots.astype(np.float32), azimuth % 360, None, None, voice, np.ones(len(order))
        )

    def tracked(self, max_speakers: int | None = None) -> tuple[Audio, Tracks]:
        pieces: dict[int, list[Audio]] = defaultdict(list)
        tracking = tracker(cast(WindowNetwork, self), LENGTH, RATE, max_speakers)
        found = tracking.run(self._blocks(), lambda track, piece: pieces[track].append(piece))
        return np.stack([np.concatenate(pieces[track]) for track in sorted(pieces)]), found

    def _blocks(self) -> Iterator[Audio]:
        for start in range(0, self.mixture.shape[1], 1234):
            yield self.mixture[:, start : start + 1234]


def tracker(
    network: WindowNetwork, length: int, rate: int, max_speakers: int | None = None
) -> Tracker:
    overlap = length // 2
    assignment = Assignment(overlap, False, max_speakers)
    return Tracker(
        network, assignment, length=length, overlap=overlap, sample_rate=rate, reference_mic=0
    )


def homes(tracks: Audio, voices: Audio) -> list[int]:
    """The track that holds each voice, all of it."""
    found = []
    for voice in voices:
        energy = float(voice @ voice)
        shares = tracks @ voice / energy
        found.append(int(shares.argmax()))
        assert shares.max() > 0.95, shares
    return found


def peak_memory(seconds: int) -> int:
    """Bytes at most while a recording at 16 kHz is tracked."""
    rate = 16000
    noise = np.random.default_rng(0).standard_normal((2, 4 * rate)).astype(np.float32)

    def network(audio: Audio, num_speakers: int | None = None) -> WindowSpeakers:
        azimuth, voice = np.array([40.0, 200.0]), np.eye(24)[:2]
        return WindowSpeakers(audio.copy(), azimuth, None, None, voice, np.ones(2))

    tracking = tracker(cast(WindowNetwork, network), 4 * rate, rate, max_speakers=2)
    tracemalloc.start()
    tracking.run((noise for _ in range(seconds // 4)), lambda track, piece: None)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


BOTH = [[(0.0, 40.0)], [(0.0, 40.0)]]
TURNS = [[(0.0, 9.0), (21.0, 30.0)], [(10.0, 20.0), (31.0, 40.0)]]


def test_who_comes_back_after_a_pause_is_in_the_same_output() -> None:
    conversation = Conversation(TURNS, [40.0, 200.0], 40, 2)
    tracks, _ = conversation.tracked()
    assert len(set(homes(tracks, conversation.voices))) == 2


@pytest.mark.parametrize("second", [200.0, 43.0])
def test_who_talks_all_the_time_stays_in_one_output_even_beside_another(second: float) -> None:
    """Two voices in one direction are told apart where windows overlap."""
    conversation = Conversation(BOTH, [40.0, second], 40, 2)
    tracks, _ = conversation.tracked()
    assert tracks.shape == (2, 40 * RATE)
    assert sorted(homes(tracks, conversation.voices)) == [0, 1]


def test_more_people_than_outputs_have_a_track_each() -> None:
    turns = [[(0.0, 10.0), (30.0, 38.0)], [(8.0, 22.0)], [(20.0, 34.0)]]
    conversation = Conversation(turns, [40.0, 160.0, 280.0], 40, 2)
    tracks, found = conversation.tracked()
    assert len(set(homes(tracks, conversation.voices))) == 3
    spoken = [sum(track.spoken_in.values()) / 2 for track in found.tracks]
    assert sum(seconds > 1.0 for seconds in spoken) == 3


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_tracks_than_people_that_are_said_to_be_there(limit: int) -> None:
    turns = [[(0.0, 10.0)], [(8.0, 22.0)], [(20.0, 34.0)]]
    conversation = Conversation(turns, [40.0, 160.0, 280.0], 40, 2)
    tracks, _ = conversation.tracked(max_speakers=limit)
    assert len(tracks) == limit


def test_silence_in_the_middle_is_silence_in_every_track() -> None:
    conversation = Conversation([[(0.0, 10.0), (24.0, 30.0)], [(0.0, 10.0)]], [40.0, 200.0], 30, 2)
    tracks, found = conversation.tracked()
    assert not tracks[:, 12 * RATE : 22 * RATE].any()
    assert tracks.shape[1] == found.num_samples == 30 * RATE


def test_memory_does_not_grow_with_the_audio() -> None:
    more = 400 - 40
    bytes_of_audio = more * 16000 * 4 * 2
    assert peak_memory(400) - peak_memory(40) < 0.02 * bytes_of_audio


def test_the_tracks_add_up_to_what_the_slots_held() -> None:
    conversation = Conversation(TURNS, [40.0, 200.0], 40, 2)
    tracks, found = conversation.tracked()
    np.testing.assert_allclose(tracks.sum(axis=0), 1.04 * conversation.mixture[0], atol=0.06)
    np.testing.assert_allclose(
        found.mixture.mean(), np.square(conversation.mixture).mean(), rtol=0.01
    )
