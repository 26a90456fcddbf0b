# SPDX-License-Identifier: Apache-2.0
"""Which output a speaker is in over a long conversation: by direction and voice, or by permutation.

``python scripts/bench_stitching.py CHECKPOINT [--conversations 20] [--minutes 3]``

A conversation (`conversations.py`) is in one room of the checkpoint's own training ranges, with as
many speakers as in training, test voices of the bundled corpus. Both ways stitch the estimates of
the same windows.

- ``si_sdr_improvement_db``: of each speaker over the whole conversation, direct path at the
  reference microphone, in the track that a one-to-one matching gives each speaker.
- ``wrong_output_share``: of the seconds in which a speaker speaks, those in which another track
  is most like that speaker.

Means over conversations, with 95 % bootstrap intervals over conversations (BCa); the difference is
paired. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from conversations import Conversation, converse
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import bootstrap

import msdet
from msdet.corpora import BundledConfig, open_corpus
from msdet.inference.separator import OVERLAP, WINDOW_SECONDS, Options, Separator
from msdet.inference.stitching import Stitching
from msdet.inference.tracks import MemorySink
from msdet.metrics.signals.si_sdr import si_sdr
from msdet.simulation import SceneConfig

WAYS: tuple[Stitching, ...] = ("direction_and_voice", "permutation")
SPEAKS_DB = -30.0
"""A second counts in which a speaker's power is at most as far below that of the loudest."""

Audio = NDArray[np.float32]


def main() -> None:
    """Stitch every conversation in both ways, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--speakers", type=int, help="two or more; as many as in training")
    parser.add_argument("--window-seconds", type=float, default=WINDOW_SECONDS)
    parser.add_argument("--overlap", type=float, default=OVERLAP)
    parser.add_argument(
        "--any-number", action="store_true", help="do not say how many people speak"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    separator = msdet.load(options.checkpoint)
    description = separator.description
    corpus = open_corpus(BundledConfig(), description.sample_rate).split("test")
    scene = SceneConfig.model_validate(description.config["scene"])
    scores: dict[Stitching, list[tuple[float, float, int]]] = {way: [] for way in WAYS}
    speakers = options.speakers or description.trained_speakers[1]
    limit = None if options.any_number else speakers
    spans = options.window_seconds, options.overlap
    for index in range(options.conversations):
        rng = np.random.default_rng([options.seed, index])
        conversation = converse(rng, scene, description.array, corpus, options.minutes, speakers)
        for way in WAYS:
            tracks = stitched(separator, conversation, way, *spans, limit)
            gain, wrong = score(conversation, tracks, description.sample_rate)
            scores[way].append((gain, wrong, len(tracks)))
        shown = "; ".join(f"{way} {s[-1][0]:+.1f} dB, {s[-1][1]:.0%} wrong, {s[-1][2]} tracks"
                          for way, s in scores.items())  # fmt: skip
        print(f"conversation {index + 1}: {shown}", flush=True)
    print(json.dumps(table(scores)))


def stitched(
    separator: Separator,
    conversation: Conversation,
    way: Stitching,
    seconds: float,
    overlap: float,
    limit: int | None,
) -> Audio:
    """``[track, sample]``."""
    sink = MemorySink()
    options = Options(window_seconds=seconds, overlap=overlap, stitching=way, max_speakers=limit)
    array = separator.description.array
    _, kept, _ = separator.track(iter([conversation.mixture]), array, options, sink)
    return np.stack([sink.audio(track) for track in kept])


def score(conversation: Conversation, tracks: Audio, rate: int) -> tuple[float, float]:
    """Mean improvement over the speakers, and the share of their seconds in a wrong track."""
    targets, reference = conversation.targets, conversation.mixture[0]
    each = np.array([[si_sdr(track, target) for track in tracks] for target in targets])
    speakers, homes = linear_sum_assignment(-each)
    gains = [
        each[s, t] - si_sdr(reference, targets[s]) for s, t in zip(speakers, homes, strict=True)
    ]
    wrong = spoken = 0
    for speaker, home in zip(speakers, homes, strict=True):
        seconds = targets[speaker][: len(reference) // rate * rate].reshape(-1, rate)
        power = np.square(seconds).mean(axis=1)
        for second in np.flatnonzero(power > power.max() * 10 ** (SPEAKS_DB / 10)):
            part = slice(second * rate, (second + 1) * rate)
            likeness = np.abs(tracks[:, part] @ targets[speaker, part])
            spoken += 1
            wrong += int(likeness.argmax() != home)
    return float(np.mean(gains)), wrong / max(1, spoken)


def table(scores: dict[Stitching, list[tuple[float, float, int]]]) -> dict[str, object]:
    """Means and intervals of both ways and of their difference."""
    found: dict[str, object] = {}
    values = {way: np.array(rows) for way, rows in scores.items()}
    values |= {"difference": values[WAYS[0]] - values[WAYS[1]]}  # type: ignore[dict-item]
    for way, rows in values.items():
        for column, name in enumerate(
            ("si_sdr_improvement_db", "wrong_output_share", "num_tracks")
        ):
            low, high = np.nan, np.nan
            if len(rows) > 1 and np.ptp(rows[:, column]) > 0:
                low, high = bootstrap(
                    (rows[:, column],), np.mean, rng=np.random.default_rng(0)
                ).confidence_interval
            numbers = (rows[:, column].mean(), low, high)
            found[f"{way}.{name}"] = [None if np.isnan(n) else round(float(n), 3) for n in numbers]
    return found


if __name__ == "__main__":
    main()
