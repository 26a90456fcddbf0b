# SPDX-License-Identifier: Apache-2.0
"""Conversations as numbers: who has the floor from when to when.

One turn follows another, of somebody else where there is somebody else. It begins after a pause or,
at a share of the changes, before the last one has ended; into a share of the turns another speaker
puts something short (a back-channel: "yes", "mhm"). Drawn like the simulated conversations of
Landini, Lozano-Diez, Diez and Burget (Interspeech 2022, arXiv 2204.00890), with laws in place of
their histograms of real ones: lengths of turns are log-normal, pauses and overlaps exponential.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from msdet.simulation.config import ConversationRanges, Range

SHORTEST_TURN = 0.3
"""Seconds; what a scene's ends leave of a turn is left out where it is shorter."""
_SPREAD = 0.6
"""Standard deviation of the logarithm of a turn's length."""
_BACKCHANNEL: Range = (SHORTEST_TURN, 1.0)
"""Seconds that one lasts."""
_MOST = 0.4
"""Share of either turn that an overlap takes at most; below a half, so that turns of one speaker
never touch."""
_BEFORE = 60.0
"""Seconds that a conversation has gone on when a scene begins."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks, from `start` to `end`, seconds; speakers are counted from 0."""

    speaker: int
    start: float
    end: float

    def touches(self, other: Turn) -> bool:
        """Return whether some of it is at the time of another one."""
        return self.start < other.end and other.start < self.end


def draw_turns(
    ranges: ConversationRanges, count: int, seconds: float, rng: np.random.Generator
) -> list[Turn]:
    """Draw a stretch of a conversation.

    Args:
        count: of the people in it. seconds: how long the stretch is.
    Returns:
        The turns within [0, `seconds`], by their start; those of one speaker do not touch.
    """
    median, pause, interruption, overlap, backchannel = (
        float(rng.uniform(*bounds))
        for bounds in (
            ranges.turn,
            ranges.pause,
            ranges.interruption,
            ranges.overlap,
            ranges.backchannel,
        )
    )
    turns: list[Turn] = []
    short: list[Turn] = []
    speaker, end, last = int(rng.integers(count)), -_BEFORE, 0.0
    while True:
        length = max(SHORTEST_TURN, median * math.exp(_SPREAD * rng.standard_normal()))
        start = end + float(rng.exponential(pause))
        if count > 1 and turns and rng.random() < interruption:
            start = end - min(float(rng.exponential(overlap)), _MOST * length, _MOST * last)
        if start >= seconds:
            break
        turns.append(Turn(speaker, start, start + length))
        if count > 1 and rng.random() < backchannel:
            listener = _other(speaker, count, rng)
            begin = start + float(rng.uniform(0, length))
            short.append(Turn(listener, begin, begin + float(rng.uniform(*_BACKCHANNEL))))
        end, last = start + length, length
        speaker = _other(speaker, count, rng) if count > 1 else speaker
    for one in short:
        if not any(turn.speaker == one.speaker and turn.touches(one) for turn in turns):
            turns.append(one)
    inside = (Turn(t.speaker, max(0.0, t.start), min(seconds, t.end)) for t in turns)
    kept = [turn for turn in inside if turn.end - turn.start >= SHORTEST_TURN]
    return sorted(_of_longest_speakers(kept, ranges.most_heard), key=lambda turn: turn.start)


def _other(speaker: int, count: int, rng: np.random.Generator) -> int:
    """Somebody else, all of the others alike."""
    return (speaker + 1 + int(rng.integers(count - 1))) % count


def _of_longest_speakers(turns: list[Turn], most: int | None) -> list[Turn]:
    """The turns of those who speak longest, at most so many."""
    spoken: dict[int, float] = {}
    for turn in turns:
        spoken[turn.speaker] = spoken.get(turn.speaker, 0.0) + turn.end - turn.start
    chosen = sorted(spoken, key=lambda speaker: -spoken[speaker])[:most]
    return [turn for turn in turns if turn.speaker in chosen]
