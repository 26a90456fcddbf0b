# SPDX-License-Identifier: Apache-2.0
"""How true is what `msdet separate` says: how many people there are, when they speak, how surely.

``python scripts/bench_counting.py [CHECKPOINT] [--scenes 100] [--conversations 20]``

On scenes of 4 s of no, one, two and three speakers (test voices of the bundled corpus, rooms with a
T60 of .15 to .7 s, every other one with diffuse noise at 5 to 20 dB), and on conversations of two
people that last a minute (`simulated_people.py`); nothing but the recording is told.
``--split valid`` is for choosing, test for reporting. ``--difficult`` takes scenes with wrong
microphones, noise from places in the room, babble and more reverberation instead.

- ``right_none`` to ``right_three``: share of scenes in which as many people come out as speak.
- ``invented``: share of what comes out that nobody said: outputs beyond the number of speakers.
- ``alone_median_db``, ``alone_worst_db``: SI-SDR improvement of one speaker alone; who is not put
  out counts as the microphone.
- ``diarisation_error``: missed, false and confused speech over all speech (pyannote.metrics), a
  quarter of a second around the ends of speech left out, overlapped speech scored; by the speech
  that is told (``segments``), pooled over conversations.
- ``calibration_error``: expected calibration error, ten bins, of ``confidence``: a speaker is
  within 10 degrees of the azimuth.

Intervals, where given as ``NAME_interval``, are 95 % (Wilson for shares, bootstrap else). The last
line is one JSON object; ``--output`` also writes it to a file, and the reliability beside it.

Needs ``pip install pyannote.metrics``.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import linear_sum_assignment
from scipy.stats import binomtest, bootstrap
from simulated_people import DIFFICULT, ORDINARY, conversation, few_people

import msdet
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.geometry import angular_error
from msdet.inference.separator import Separator
from msdet.metrics.signals.si_sdr import si_sdr

NAMES = ("none", "one", "two", "three")
SEED = {"test": 0, "valid": 500}
CLOSE_DEGREES = 10.0
COLLAR_SECONDS = 0.25
LEVEL = 0.05
"""RMS of the scenes, where full scale is 1."""

Stated = list[tuple[float, bool]]


def main() -> None:
    """Count, listen, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default="planar-pairs")
    parser.add_argument("--scenes", type=int, default=100, help="of each number of speakers")
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--split", choices=("test", "valid"), default="test")
    parser.add_argument("--difficult", action="store_true")
    parser.add_argument("--output", help="a JSON file; the picture gets its name, with .svg")
    parser.add_argument("--picture", help="of what is found in the first conversation, a PNG file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    separator = msdet.load(options.checkpoint)
    rate = separator.description.sample_rate
    corpus = open_corpus(BundledConfig(), rate).split(options.split)
    kinds = DIFFICULT if options.difficult else ORDINARY
    found: dict[str, Any] = {"model": options.checkpoint, "split": options.split}
    found |= {"scenes": options.scenes, "conversations": options.conversations}
    found["processor"] = platform.machine()
    counts, stated = _count(separator, corpus, kinds, options.scenes, SEED[options.split], found)
    found["counts"] = {NAMES[n]: sorted_counts(counts[n]) for n in counts}
    found["calibration_error"] = round(calibration_error(stated), 4)
    found["outputs"] = len(stated)
    if options.conversations:
        seed = SEED[options.split]
        _converse(separator, corpus, options.conversations, seed, found, options.picture)
    if options.output:
        path = Path(options.output)
        reliability = table(stated)
        path.write_text(json.dumps(found | {"reliability": reliability}, indent=1) + "\n")
        _draw(reliability, path.with_suffix(".svg"))
    print(json.dumps(found))


def _count(
    separator: Separator,
    corpus: Corpus,
    kinds: tuple[Any, ...],
    scenes: int,
    seed: int,
    found: dict[str, Any],
) -> tuple[dict[int, list[int]], Stated]:
    counts: dict[int, list[int]] = defaultdict(list)
    stated: Stated = []
    alone = []
    for index in track(range(scenes), "scenes"):
        for speakers in range(len(NAMES)):
            people = few_people(corpus, speakers, kinds[index % len(kinds)], index, seed=seed)
            audio = (LEVEL * people.mixture).astype(np.float32)
            result = separator.separate(audio, corpus.sample_rate, people.array)
            counts[speakers].append(result.num_speakers)
            stated += _stated(result.azimuth, result.confidence, people.azimuth)
            if speakers == 1:
                gain = 0.0
                if result.num_speakers:
                    before = si_sdr(audio[0], people.targets[0])
                    gain = max(si_sdr(one, people.targets[0]) for one in result.audio) - before
                alone.append(gain)
    for speakers, name in enumerate(NAMES):
        right = sum(count == speakers for count in counts[speakers])
        _share(found, f"right_{name}", right, scenes)
    outputs = sum(map(sum, counts.values()))
    surplus = sum(max(0, one - n) for n, each in counts.items() for one in each)
    _share(found, "invented", surplus, max(1, outputs))
    found["alone_median_db"] = round(float(np.median(alone)), 2)
    found["alone_worst_db"] = round(float(np.min(alone)), 2)
    return counts, stated


def _stated(
    azimuth: NDArray[np.float64], confidence: NDArray[np.float64], truth: NDArray[np.float32]
) -> Stated:
    """Pair each output's confidence with whether it is right: a speaker is right for one output."""
    errors = angular_error(azimuth[:, None], truth[None].astype(np.float64))
    right = np.zeros(len(azimuth), np.bool_)
    rows, columns = linear_sum_assignment(errors)
    right[rows] = errors[rows, columns] <= CLOSE_DEGREES
    return list(zip(confidence.tolist(), right.tolist(), strict=True))


def _converse(
    separator: Separator,
    corpus: Corpus,
    count: int,
    seed: int,
    found: dict[str, Any],
    picture: str | None,
) -> None:
    from pyannote.core import Annotation, Segment, Timeline
    from pyannote.metrics.diarization import DiarizationErrorRate

    def annotation(segments: list[list[tuple[float, float]]]) -> Any:
        said = Annotation()
        for speaker, each in enumerate(segments):
            for number, (start, end) in enumerate(each):
                said[Segment(start, end), number] = speaker
        return said

    # pyannote's collar is what is left out around a boundary in all
    metric = DiarizationErrorRate(collar=2 * COLLAR_SECONDS, skip_overlap=False)
    parts, people = [], []
    for index in track(range(count), "conversations"):
        talk, array = conversation(corpus, seed, index)
        result = separator.separate(talk.mixture, corpus.sample_rate, array)
        people.append(result.num_speakers)
        if picture and index == 0:
            result.plot().savefig(picture)
        whole = Timeline([Segment(0.0, result.duration)])
        detail = metric(
            annotation(talk.segments), annotation(result.segments), uem=whole, detailed=True
        )
        kinds = ("missed detection", "false alarm", "confusion", "total")
        parts.append([float(detail[kind]) for kind in kinds])
    missed, false, confused, total = np.array(parts).T
    found["diarisation_error"] = round(float((missed + false + confused).sum() / total.sum()), 4)
    for name, part in (("missed", missed), ("false", false), ("confused", confused)):
        found[f"diarisation_{name}"] = round(float(part.sum() / total.sum()), 4)
    if count > 1:
        wrong = missed + false + confused

        def rate(rows: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
            return np.asarray(wrong[rows].sum(axis) / total[rows].sum(axis))

        interval = bootstrap((np.arange(count),), rate, rng=np.random.default_rng(0))
        low, high = interval.confidence_interval
        found["diarisation_error_interval"] = [round(float(low), 4), round(float(high), 4)]
    found["conversation_counts"] = sorted_counts(people)


def _share(found: dict[str, Any], name: str, hits: int, count: int) -> None:
    found[name] = round(hits / count, 4)
    low, high = binomtest(hits, count).proportion_ci(method="wilson")
    found[f"{name}_interval"] = [round(float(low), 4), round(float(high), 4)]


def sorted_counts(counts: list[int]) -> dict[str, int]:
    """How often each number came out."""
    return {str(n): counts.count(n) for n in sorted(set(counts))}


def table(stated: Stated, bins: int = 10) -> list[dict[str, float]]:
    """Per bin of equal width that is not empty: how many, mean stated, share that was right."""
    said, right = np.array(stated, np.float64).reshape(-1, 2).T
    place = np.minimum((said * bins).astype(int), bins - 1)
    return [
        {
            "count": int((place == b).sum()),
            "stated": round(float(said[place == b].mean()), 4),
            "right": round(float(right[place == b].mean()), 4),
        }
        for b in range(bins)
        if (place == b).any()
    ]


def calibration_error(stated: Stated) -> float:
    """The expected calibration error: mean distance of the bins, weighted by their counts."""
    rows = table(stated)
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["stated"] - row["right"]) for row in rows) / max(1, total)


def _draw(rows: list[dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot([r["stated"] for r in rows], [r["right"] for r in rows], "o-", color="#0072B2")
    for row in rows:
        where = (row["stated"], row["right"])
        axes.annotate(f"{row['count']}", where, (6, -12), textcoords="offset points", fontsize=8)
    axes.set(
        xlabel="stated confidence", ylabel="share that is right", xlim=(0, 1.03), ylim=(0, 1.03)
    )
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
