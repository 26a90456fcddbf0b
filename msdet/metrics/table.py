# SPDX-License-Identifier: Apache-2.0
"""One table of scores: what every system scored on every scene, a number a line.

A pandas frame in long form with the columns ``scene`` (the row's index), ``system``, ``speaker``
(index in the scene, or ``WHOLE_SCENE``), ``quantity`` and ``value``. The quantities are

- of a speaker: for each metric ``m``, ``m``, ``m_unprocessed`` and ``m_improvement``; the shares
  of the parts of the error, which sum to 1;
  ``azimuth_error`` and ``azimuth_error_best_matched`` in degrees, ``MISSED_DEGREES`` for a speaker
  whom no slot claims; of scenes in which people walk ``frames_within_10deg`` and its like, shares
  of the moments; ``distance_error`` in metres; ``wrong_slot`` and
  ``wrong_slot_unambiguous``, 0 or 1; ``silent``, 1 for silent targets, which have nothing else;
- of a whole scene: ``identity_switches``, per minute; ``order_correct``, ``ambiguous`` and
  ``count_correct``, 0 or 1; ``missed``, the share of the speakers for whom no output came, and
  ``invented``, the share of the outputs that are more than there are speakers; ``not_scored``, how
  many values could not be computed; and ``attenuation_db`` of each slot that is left over.

What there is not has no line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msdet.metrics.scores import SceneRow, SceneScore, SpeakerScore
from msdet.metrics.signals.error_parts import shares_of

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("scene", "system", "speaker", "quantity", "value")
WHOLE_SCENE = -1

MISSED_DEGREES = 180.0
"""The error of a speaker whom no slot claims: as wrong as can be, or a system that says "nobody"
wherever it is unsure would be scored on its sure ones alone."""

Arrays = Mapping[str, NDArray[np.float64]]
"""By quantity ``[scene, speaker]``, of a whole scene ``[scene, 1]``; NaN where there is nothing."""


def score_table(rows: Sequence[SceneRow]) -> pd.DataFrame:
    """Return the table of scores of some scenes, all systems."""
    import pandas as pd

    lines = [
        (row.index, system, speaker, quantity, float(value))
        for row in rows
        for system, score in row.systems.items()
        for speaker, quantity, value in _values(score)
        if value is not None and not math.isnan(value)
    ]
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype(
        {"system": "category", "quantity": "category"}
    )


def arrays_of(table: pd.DataFrame, system: str) -> Arrays:
    """Return one system's scores as arrays over all scenes of the table, in order, and all
    speakers."""
    scenes = np.unique(table["scene"])
    width = max(1, int(table["speaker"].max()) + 1)
    found = {}
    own = table[table["system"] == system]
    for name, lines in own.groupby("quantity", observed=True):
        speakers = lines["speaker"].to_numpy()
        whole = bool((speakers == WHOLE_SCENE).all())
        values = np.full((len(scenes), 1 if whole else width), np.nan)
        values[np.searchsorted(scenes, lines["scene"]), np.maximum(speakers, 0)] = lines["value"]
        found[str(name)] = values
    return found


def azimuth_error(
    score: SceneScore, speaker: SpeakerScore, *, best_matched: bool = False
) -> float | None:
    """Degrees, ``MISSED_DEGREES`` where the system finds directions and has none for this speaker.

    None for a silent target, for a system without DoA, and, as claimed, for one without audio.
    """
    error = speaker.azimuth_error_best_matched if best_matched else speaker.azimuth_error
    finds = score.speaker_of_slot_by_azimuth is not None and not speaker.silent
    if error is None and finds and (best_matched or speaker.slot is not None):
        return MISSED_DEGREES
    return error


def num_active(score: SceneScore) -> int:
    """Return how many speakers are not silent."""
    return sum(not speaker.silent for speaker in score.speakers)


def _values(score: SceneScore) -> Iterator[tuple[int, str, float | None]]:
    for of in score.speakers:
        yield of.speaker, "silent", of.silent
        if of.silent:
            continue
        for name, value in {**of.scores, **shares_of(of.scores)}.items():
            yield of.speaker, name, value
        yield of.speaker, "azimuth_error", azimuth_error(score, of)
        best_matched = azimuth_error(score, of, best_matched=True)
        yield of.speaker, "azimuth_error_best_matched", best_matched
        for limit, share in (of.frames_within or {}).items():
            yield of.speaker, f"frames_within_{limit}deg", share
        yield of.speaker, "distance_error", of.distance_error
        wrong = None if of.slot is None else score.wrong_slot[of.slot]
        yield of.speaker, "wrong_slot", wrong
        yield of.speaker, "wrong_slot_unambiguous", wrong if score.ambiguous is False else None
    claimed, there = score.speakers_claimed, num_active(score)
    yield WHOLE_SCENE, "identity_switches", score.identity_switches
    yield WHOLE_SCENE, "order_correct", score.order_correct
    yield WHOLE_SCENE, "ambiguous", score.ambiguous
    yield WHOLE_SCENE, "not_scored", len(score.failures)
    if claimed is not None:
        yield WHOLE_SCENE, "count_correct", claimed == there
        yield WHOLE_SCENE, "missed", max(0, there - claimed) / there if there else None
        yield WHOLE_SCENE, "invented", max(0, claimed - there) / claimed if claimed else None
    for attenuation in score.attenuation_db:
        yield WHOLE_SCENE, "attenuation_db", attenuation
