# SPDX-License-Identifier: Apache-2.0
"""Fit the probability that an output holds a speaker, and write msdet/inference/presence.json.

``python scripts/calibrate_presence.py [CHECKPOINT] [--scenes 100]``

Scenes of no to three speakers of the bundled corpus's valid voices, ordinary and difficult ones
alike, some of them with a direction asked for, and windows of conversations. A candidate is a
speaker where it is the one that is most like a speaker's direct path; two candidates are never one
speaker. Logistic regression with squares and products of the measures (scikit-learn); the last line
says how well it does on scenes that it was not fitted to, by five-fold cross-validation.

Needs ``pip install scikit-learn``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from scipy.optimize import linear_sum_assignment
from simulated_people import DIFFICULT, ORDINARY, conversation, few_people

import msdet.inference.presence as presence
from msdet.checkpoints import Checkpoint, load_checkpoint
from msdet.corpora import BundledConfig, Corpus, open_corpus
from msdet.geometry import MicrophoneArray, angular_error
from msdet.inference.config import WINDOW_SECONDS
from msdet.inference.window_network import WindowNetwork

SEED = 1000
NEAREST = 8.0
"""Degrees between two people: as close as in the training of the model that ships."""
_ALIKE = 0.2
"""Correlation with a direct path, below which a slot that was guided holds somebody else."""
_SPEAKS_SECONDS = 0.5
"""Seconds of speech with which somebody counts in a window; less leaves the window out."""

Audio = NDArray[np.float32]
Measured = tuple[NDArray[np.float64], NDArray[np.bool_]]
Measure = Callable[[str, int], list[Measured]]


def main() -> None:
    """Measure all scenes, fit, and write the weights."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("checkpoint", nargs="?", default="planar-pairs")
    parser.add_argument("--scenes", type=int, default=100, help="of each number of speakers")
    parser.add_argument("--conversations", type=int, default=24, help="of a minute")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=context) as pool:

        def measured(of: Measure, count: int, what: str) -> list[list[Measured]]:
            found = pool.map(partial(of, options.checkpoint), range(count))
            return [*track(found, what, total=count)]

        drawn = measured(_scenes, options.scenes, "scenes")
        drawn += measured(_windows, options.conversations, "conversations")
    rows = [row for each in drawn for row in each]
    measures = np.concatenate([row for row, _ in rows])
    speaks = np.concatenate([row for _, row in rows])
    counts = [sum(len(row) for row, _ in each) for each in drawn]
    draw = np.repeat(np.arange(len(drawn)), counts)  # what was drawn together is held out together
    path = Path(presence.__file__).with_name(presence.WEIGHTS_NAME)
    weights, wrong, loss = fit(measures, speaks, draw % 5)
    made = f"scripts/calibrate_presence.py {options.checkpoint} --scenes {options.scenes}"
    content = {"made_by": made, "candidates": len(speaks), **weights}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    found = {"candidates": len(speaks), "wrong": round(wrong, 4), "log_loss": round(loss, 4)}
    print(json.dumps(found))


def fit(
    measures: NDArray[np.float64], speaks: NDArray[np.bool_], fold: NDArray[np.int64]
) -> tuple[dict[str, object], float, float]:
    """Return the content of the file, and what cross-validation finds: the share of candidates
    that are judged wrongly, and the mean log loss."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    mean, scale = measures.mean(0), measures.std(0)
    terms = presence.terms((measures - mean) / scale)
    model = LogisticRegression(C=0.3, max_iter=5000)
    held_out = cross_val_predict(
        model, terms, speaks, cv=PredefinedSplit(fold), method="predict_proba"
    )[:, 1]
    model.fit(terms, speaks)
    weights: dict[str, object] = {
        "measures": list(presence.MEASURES),
        "mean": mean.round(6).tolist(),
        "scale": scale.round(6).tolist(),
        "weight": model.coef_[0].round(5).tolist(),
        "bias": round(float(model.intercept_[0]), 5),
    }
    wrong = float(((held_out >= presence.PRESENT) != speaks).mean())
    return weights, wrong, float(log_loss(speaks, held_out))


@cache
def _opened(name: str) -> tuple[Checkpoint, Corpus]:
    torch.set_num_threads(1)
    checkpoint = load_checkpoint(name)
    corpus = open_corpus(BundledConfig(), checkpoint.description.sample_rate).split("valid")
    return checkpoint, corpus


def _scenes(name: str, index: int) -> list[Measured]:
    """A scene of each number of speakers."""
    checkpoint, corpus = _opened(name)
    kinds = [kind for hard in DIFFICULT for kind in (hard, ORDINARY[len(hard) % 2])]
    measured = []
    for speakers in (0, 1, 1, 2, 3):  # one alone twice: there most is to be decided
        kind = kinds[index % len(kinds)]
        seed = SEED + 10 * (speakers == 1 and index % 2)
        people = few_people(corpus, speakers, kind, index, seed=seed, min_angle=NEAREST)
        measured.append(_measured(checkpoint, people.mixture, people.targets, people.array))
        if speakers in (1, 2) and index % 2:  # asked for where nobody is, and where somebody is
            truth = people.azimuth.astype(np.float64)
            gaps = [angular_error(np.arange(0.0, 360.0, 5.0), one) for one in truth]
            nobody = 5.0 * float(np.min(gaps, axis=0).argmax())
            measured += [
                _measured(checkpoint, people.mixture, people.targets, people.array, asked)
                for asked in (nobody, float(truth[0]))
            ]
    return measured


def _windows(name: str, index: int) -> list[Measured]:
    """The windows of a conversation."""
    checkpoint, corpus = _opened(name)
    rate, size = corpus.sample_rate, round(WINDOW_SECONDS * corpus.sample_rate)
    talk, array = conversation(corpus, SEED, index)
    measured = []
    for start in range(0, talk.mixture.shape[1] - size + 1, size):
        part = slice(start, start + size)
        spoken = [_within(s, start / rate, (start + size) / rate) for s in talk.segments]
        if all(one == 0 or one >= _SPEAKS_SECONDS for one in spoken):
            targets = talk.targets[[one > 0 for one in spoken], part]
            measured.append(_measured(checkpoint, talk.mixture[:, part], targets, array))
    return measured


def _within(segments: list[tuple[float, float]], start: float, end: float) -> float:
    return sum(max(0.0, min(b, end) - max(a, start)) for a, b in segments)


@torch.inference_mode()
def _measured(
    checkpoint: Checkpoint,
    mixture: Audio,
    targets: Audio,
    array: MicrophoneArray,
    asked: float | None = None,
) -> Measured:
    """The measures of the candidates, and which of them are speakers.

    Args:
        asked: degrees that the network is guided to.
    """
    model = checkpoint.model
    level = np.sqrt(np.square(mixture[checkpoint.description.reference_mic]).mean())
    heard = torch.from_numpy(mixture / level)
    guided: dict[int, float] = {}
    if asked is None:
        output = model(heard[None], array)
    else:
        network = WindowNetwork(checkpoint, array, np.array([asked]))
        output, guided = network.guided(heard[None], np.array([asked]))
    found = presence.candidates_in(
        model, checkpoint.description, model.stft(heard), output, array, guided
    )
    slots, speaks = found.slots, np.zeros(len(found.slots), np.bool_)
    if slots and len(targets):
        voices = np.stack([output.audio[0, group].sum(0).numpy() for group in slots])
        norms = np.linalg.norm(voices, axis=1)[:, None] * np.linalg.norm(targets, axis=1)
        likeness = np.abs(voices @ targets.T) / (norms + 1e-12)
        rows, columns = linear_sum_assignment(-likeness)
        speaks[rows] = likeness[rows, columns] >= (0.0 if asked is None else _ALIKE)
    return found.measures, speaks


if __name__ == "__main__":
    main()
