# SPDX-License-Identifier: Apache-2.0
"""A scene becomes its row: rendered once, then done and scored by every system."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from msdet.checkpoints import Checkpoint, load_checkpoint
from msdet.corpora import CorpusConfig, Split, open_corpus
from msdet.evaluation.rows import SceneTime
from msdet.evaluation.systems.estimate import Estimate, Heard
from msdet.evaluation.systems.folder import FolderEstimates, as_rendered
from msdet.evaluation.systems.names import ALONE, DIRECTIONS_ALONE, MODEL
from msdet.evaluation.systems.network import Network, separates
from msdet.evaluation.systems.separating import Separating
from msdet.metrics import Claims, Metric, SceneRow, SceneTruth, score_scene
from msdet.metrics.choose import MATCHING
from msdet.metrics.scores import SceneLabels
from msdet.simulation import RirBank, Scene, render, render_parts


@dataclass(frozen=True)
class Scoring:
    """The settings of a worker process that scores scenes; sent once to each.

    Attributes:
        models: what is evaluated, by name: checkpoints, and folders of estimates.
        systems: names, see :mod:`msdet.evaluation.systems.names`; in the rows' order.
        metrics: of each system.
        as_networks: score all outputs of checkpoints as they are, in place of what ``msdet
            separate`` puts out. moving: what it puts out with ``moving=true``.
    """

    models: Mapping[str, Path | FolderEstimates]
    corpus: CorpusConfig
    sample_rate: int
    split: Split
    bank: Path
    systems: tuple[str, ...]
    metrics: Mapping[str, tuple[Metric, ...]]
    as_networks: bool = False
    moving: bool = False

    @classmethod
    def of_network(
        cls, checkpoint: Path, corpus: CorpusConfig, sample_rate: int, split: Split, bank: Path
    ) -> Scoring:
        """One network with all of its outputs, scored by SI-SDR and directions."""
        systems, metrics = (MODEL,), {MODEL: (MATCHING,)}
        models = {MODEL: checkpoint}
        return cls(models, corpus, sample_rate, split, bank, systems, metrics, as_networks=True)


@dataclass(frozen=True)
class Done:
    """A scene as every system did it.

    Attributes:
        seconds: of processor time that each system took, without what it builds on; folders of
            estimates take none.
    """

    heard: Heard
    estimates: dict[str, Estimate]
    seconds: dict[str, float] = field(default_factory=dict)


class SceneScorer:
    """Renders scenes and scores systems on them, on one thread."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.models = {
            # whether it is trusted was asked when it was first opened
            name: _opened(load_checkpoint(model, trust=True), scoring.as_networks, scoring.moving)
            if isinstance(model, Path)
            else model
            for name, model in scoring.models.items()
            if any(system.partition("+")[0] == name for system in scoring.systems)
        }
        self.corpus = open_corpus(scoring.corpus, scoring.sample_rate).split(scoring.split)
        self.banks: dict[str, RirBank] = {}

    def score(self, scene: Scene) -> tuple[SceneRow, SceneTime]:
        """Return its row, and the time that each system took."""
        done = self.do(scene)
        heard, example = done.heard, done.heard.example
        rate = heard.sample_rate
        truth = SceneTruth(
            example.targets,
            heard.reference,
            rate,
            example.azimuth,
            example.distance,
            images=heard.parts.images[:, heard.reference_mic],
            early=heard.parts.early,
            track=example.track,
        )
        scores = {}
        for system in self.scoring.systems:
            estimate, model = done.estimates[system], self.models.get(system.partition("+")[0])
            scores[system] = score_scene(
                estimate.audio,
                truth,
                Claims(estimate.azimuth, estimate.distance, estimate.empty, estimate.track),
                metrics=self.scoring.metrics[system],
                order=model.order(heard) if isinstance(model, Network | Separating) else None,
            )
        row = SceneRow(index=scene.index, id=scene.id, labels=labels_of(heard), systems=scores)
        seconds = scene.num_samples / rate
        return row, SceneTime(index=scene.index, audio_seconds=seconds, seconds=done.seconds)

    def do(self, scene: Scene) -> Done:
        """Return what every system makes of it."""
        done = Done(self._heard(scene), {})
        for name, model in self.models.items():
            if isinstance(model, FolderEstimates):
                found = model.estimate(scene)
                done.estimates[name] = as_rendered(found, done.heard.example)
                continue
            began = time.process_time()
            done.estimates[name] = model(done.heard)
            done.seconds[name] = time.process_time() - began
        for system in self.scoring.systems:
            if system not in done.estimates:
                began = time.process_time()
                done.estimates[system] = _apply(system, done)
                done.seconds[system] = time.process_time() - began
        return done

    def _heard(self, scene: Scene) -> Heard:
        array = scene.microphone_array()
        key = json.dumps(scene.array.positions)
        if key not in self.banks:
            self.banks[key] = RirBank(self.scoring.bank, array, scene.sample_rate)
        rirs = self.banks[key].get(scene.room)
        parts = render_parts(scene, self.corpus, rirs)
        return Heard(render(scene, self.corpus, rirs), array, parts)


def _opened(checkpoint: Checkpoint, as_network: bool, moving: bool) -> Network | Separating:
    """A model that `msdet separate` cannot use, as it holds no voices or must be told directions,
    is scored as the network that it is."""
    description = checkpoint.description
    told = description.model.heads.guidance == "oracle"
    if as_network or told or not separates(description):
        return Network(checkpoint)
    return Separating(checkpoint, moving)


def _apply(system: str, done: Done) -> Estimate:
    """Run a system that is not a model."""
    from msdet.evaluation.systems import beamformers, directions, oracles

    heard, truth = done.heard, done.heard.example.azimuth.astype(np.float64)
    if not len(truth) and system in ALONE:  # they are told how many speakers there are
        nobody = np.zeros((0, len(heard.reference)), np.float32)
        return Estimate(None, truth) if system in DIRECTIONS_ALONE else Estimate(nobody)
    alone: dict[str, Callable[[], Estimate]] = {
        "unprocessed": lambda: Estimate(np.repeat(heard.reference[None], len(truth), axis=0)),
        "srp_phat": lambda: directions.srp_phat(heard, len(truth)),
        "music": lambda: directions.music(heard, len(truth)),
        "srp_mpdr": lambda: beamformers.srp_mpdr(heard, len(truth)),
        "delay_and_sum": lambda: beamformers.delay_and_sum(heard, truth),
        "oracle_mvdr": lambda: beamformers.oracle_mvdr(heard),
        "oracle_mask": lambda: oracles.oracle_mask(heard),
        "oracle_image": lambda: oracles.oracle_image(heard),
    }
    if system in alone:
        return alone[system]()
    model, _, after = system.partition("+")
    separated = done.estimates[model]
    assert separated.audio is not None  # such systems are refused
    if not len(separated.audio):
        return separated
    if after == "mvdr":
        audio = beamformers.mvdr_from_estimates(heard, separated.audio).audio
        return Estimate(audio, separated.azimuth, separated.distance, separated.empty)
    azimuth = directions.weighted_srp_phat(heard, separated.audio)
    if separated.azimuth is not None:  # who is not there has no direction
        azimuth = np.where(np.isnan(separated.azimuth), np.nan, azimuth)
    return Estimate(separated.audio, azimuth, None, separated.empty)


def labels_of(heard: Heard) -> SceneLabels:
    """Return the labels of a scene, which breakdowns group by."""
    example, scene = heard.example, heard.example.scene
    size, background = scene.room.size, scene.background
    speakers = [scene.room.speakers[number] for number in scene.heard]
    return SceneLabels(
        scene={
            "num_speakers": len(speakers),
            "t60": _finite(example.t60),
            "snr_db": _finite(_total_snr(heard)),
            "sensor_snr_db": _finite(scene.noise.snr_db),
            "background": "none" if background is None else background.kind,
            "overlap": _finite(_overlap(scene)),
            "array": scene.array.name,
            "room_volume_m3": _finite(math.prod(size)),
        },
        speaker={
            "distance": tuple(_finite(s.distance) for s in speakers),
            "elevation": tuple(_finite(s.elevation) for s in speakers),
            "drr_db": tuple(_finite(float(drr)) for drr in example.drr_db),
            "sir_db": tuple(_finite(sir) for sir in _sirs(scene)),
        },
    )


def _total_snr(heard: Heard) -> float:
    """Speech over everything else, dB: all kinds of noise are set against the speech."""
    scene = heard.example.scene
    levels = [scene.noise.snr_db]
    if scene.background is not None:
        levels.append(scene.background.snr_db)
    if scene.recorder is not None and scene.recorder.rumble_snr_db is not None:
        levels.append(scene.recorder.rumble_snr_db)
    return -10 * math.log10(sum(10 ** (-level / 10) for level in levels))


def _sirs(scene: Scene) -> list[float]:
    """Each speaker over the others, dB, of the images at the reference microphone."""
    powers = [10 ** (crops[0].level_db / 10) for crops in scene.crops().values()]
    rest = [sum(powers) - power for power in powers]
    return [
        10 * math.log10(power / others) if others > 0 else math.inf
        for power, others in zip(powers, rest, strict=True)
    ]


def _overlap(scene: Scene) -> float:
    """Share of the time with speech in which two or more speak, by the crops' ends."""
    speaking = np.zeros(scene.num_samples, np.int64)
    for crop in scene.speech:
        speaking[crop.onset : crop.onset + crop.length] += 1
    return float((speaking > 1).sum() / max(1, (speaking > 0).sum()))


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
