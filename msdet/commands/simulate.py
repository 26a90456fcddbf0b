# SPDX-License-Identifier: Apache-2.0
"""``msdet simulate``: a set of scenes in shards, and on request their audio and labels.

::

    OUTPUT/simulation.json              what was asked for
    OUTPUT/scenes/shard-000000.jsonl    the scenes of a shard, there when all of the shard is
    OUTPUT/files/shard-000000.json      the sizes of a shard's files, by which damage is seen
    OUTPUT/audio/ or OUTPUT/shards/     the audio, see `msdet.simulation.layouts`
    OUTPUT/scenes.jsonl                 all scenes, one a line, when all shards are there
    OUTPUT/metadata.csv                 one row a mixture, in the columns of LibriMix
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.console import Console

from msdet.benchmarks import scenes_file
from msdet.corpora import BundledConfig, Corpus, CorpusConfig, open_corpus
from msdet.ending import tell
from msdet.errors import InputError
from msdet.geometry import DEFAULT_ARRAY, ArrayConfig
from msdet.named_arrays import named_arrays
from msdet.output_folder import LOCK_NAME, sole_user
from msdet.parsing import MOST_WORKERS, Config, SampleRate, Seed, parse
from msdet.simulation import SceneConfig
from msdet.simulation.config import ImperfectionRanges
from msdet.simulation.draw_rooms import check_scene_config
from msdet.simulation.engines import import_ray, make_locally, make_on_ray
from msdet.simulation.estimate import check_space, measure
from msdet.simulation.layouts import FOLDERS, MIXTURE_NAME, Format, path_within
from msdet.simulation.recordings import open_recordings
from msdet.simulation.request import check_folder, keep_request, request_of
from msdet.simulation.scene_files import SCENES_NAME
from msdet.simulation.scene_sources import (
    DrawnScenes,
    ScenesSource,
    open_scenes,
    sample_rate_of,
)
from msdet.simulation.shards import (
    Shards,
    default_shard_size,
    scenes_in,
    share_of,
)
from msdet.simulation.symmetry import TargetsAt
from msdet.workers import available_cores


class SimulateConfig(Config):
    """Scenes in shards, and on request their audio.

    Attributes:
        output: folder for the scenes, and audio if asked.
        seed: of what is drawn.
        sample_rate: hertz.
        split: whose speakers. With the defaults, `test` draws the scenes that evaluation scores; to
            train on them is refused.
        num_scenes: how many to draw, or how many of the first of `scenes`; null: 10, or all of the
            file.
        seconds: how long; null takes whole utterances, a mixture is as long as its longest (with
            `scene.overlap=[1, 1]` only).
        scenes: a benchmark's name or a file of scenes, which are rendered with the `corpus` that
            they were drawn from; `seconds`, `seed`, `split`, `sample_rate`, `scene` and `array`
            are then what it says. Null draws them.
        audio: render them, too.
        format: of the audio: `folder`, one a mixture, or `tar`, an archive a shard, as WebDataset
            reads them.
        targets_at: targets at the `reference` microphone alone, or `symmetric`: also at the
            microphones that become the reference when the array is turned by its symmetries, so
            that training can turn these mixtures.
        shard_size: scenes in a shard; null: a sixteenth of all, at most 100.
        shard: `i/n` makes only the shards k with k mod n = i, i from 0 to n - 1; null makes all.
        engine: what makes them: processes of this machine, or Ray's workers.
        num_workers: processes; null takes one per core.
    """

    output: str
    seed: Seed = 0
    sample_rate: SampleRate = 16000
    split: Literal["train", "valid", "test"] = "test"
    num_scenes: int | None = Field(default=None, ge=1, le=10**7)
    seconds: float | None = Field(default=4.0, gt=0, le=3600)
    scenes: str | None = None
    audio: bool = False
    format: Format = "folder"
    targets_at: TargetsAt = "reference"
    shard_size: int | None = Field(default=None, ge=1, le=10**7)
    shard: str | None = None
    engine: Literal["local", "ray"] = "local"
    num_workers: int | None = Field(default=None, ge=1, le=MOST_WORKERS)
    corpus: CorpusConfig = BundledConfig()
    scene: SceneConfig = SceneConfig()
    array: ArrayConfig = DEFAULT_ARRAY


def run(values: dict[str, Any], dry_run: bool = False) -> None:
    """Run ``msdet simulate``."""
    simulate(parse(SimulateConfig, values), dry_run)


_DRAWN = 10
"""Scenes that are drawn where no number is given."""

_WORTH_PROCESSES = 5000
"""Scenes without audio take less time to draw than processes to start, up to about as many."""


def simulate(config: SimulateConfig, dry_run: bool = False) -> None:
    """Make a set of scenes, and their audio if asked; or tell what it will cost.

    The same config and folder go on where a stopped run was: what is there is not made again.

    Raises:
        InputError: the scenes cannot be drawn, or the folder is not for them; before any work.
    """
    part, parts = share_of(config.shard)
    if config.engine == "ray":
        import_ray()
    output = Path(config.output)
    if config.scenes is None:
        _check_ranges(config)
    check_folder(output)
    source, corpus = _open(config)
    shards = Shards(
        output=output,
        source=source,
        corpus=corpus,
        size=config.shard_size or default_shard_size(len(source)),
        audio=config.audio,
        format=config.format,
        targets_at=config.targets_at,
    )
    cores = config.num_workers or available_cores()
    numbers = shards.missing(part, parts)
    if dry_run:
        _tell(shards, numbers, cores)
        return
    check_space(shards, numbers)
    # Jobs that make other shares of the set work beside this one.
    lock = LOCK_NAME if config.shard is None else f"{LOCK_NAME}-{part}-{parts}"
    with sole_user(output, lock):
        keep_request(output, request_of(shards))
        of_share = len(range(part, len(shards), parts))
        done = of_share - len(numbers)
        if config.engine == "ray":
            made = make_on_ray(shards, numbers, config.num_workers, done)
        else:
            if not config.audio and scenes_in(shards, numbers) <= _WORTH_PROCESSES:
                cores = 1
            made = make_locally(shards, numbers, cores, done)
        _report(config, shards, made, of_share)


def _check_ranges(config: SimulateConfig) -> None:
    check_scene_config(config.scene, config.array.build())
    if config.targets_at == "symmetric" and config.scene.imperfections != ImperfectionRanges():
        raise InputError(
            "targets_at='symmetric' with scene.imperfections: an array whose microphones differ or "
            "stand elsewhere than planned has no symmetry; give targets_at=reference"
        )
    if config.seconds is not None and round(config.seconds * config.sample_rate) < 1:
        raise InputError(f"seconds={config.seconds}: less than a sample; give the scenes' length")
    if config.seconds is None and config.scene.overlap != (1.0, 1.0):
        raise InputError(
            f"seconds=null and scene.overlap={list(config.scene.overlap)}: how much whole "
            "utterances overlap is up to their lengths; give seconds, or scene.overlap=[1, 1]"
        )


def _open(config: SimulateConfig) -> tuple[ScenesSource, Corpus]:
    """The scenes, drawn or from a file, and the speech that they are made of."""
    if config.scenes is not None:
        path = scenes_file(config.scenes)
        corpus = open_corpus(config.corpus, sample_rate_of(path))
        return open_scenes(path, corpus, config.format, config.num_scenes), corpus
    corpus = open_corpus(config.corpus, config.sample_rate).split(config.split)
    return DrawnScenes(
        config=config.scene,
        array=config.array.build(),
        corpus=corpus,
        seed=config.seed,
        split=config.split,
        sample_rate=config.sample_rate,
        seconds=config.seconds,
        count=config.num_scenes or _DRAWN,
        recordings=_open_recordings(config, corpus),
    ), corpus


def _open_recordings(config: SimulateConfig, corpus: Corpus) -> str | None:
    """The fingerprint of the recordings of noise, some of which last as long as any scene."""
    folder = config.scene.background.recordings
    if folder is None:
        return None
    recordings = open_recordings(folder, config.sample_rate)
    if config.seconds is not None:
        longest = round(config.seconds * config.sample_rate)
    else:
        longest = max(corpus.num_samples(utterance) for utterance in corpus.utterances)
    recordings.at_least(longest)
    return recordings.fingerprint


def _tell(shards: Shards, numbers: list[int], cores: int) -> None:
    """What the missing shards of this share will cost."""
    console = Console()
    if not numbers:
        console.print(f"{shards.output}: nothing to make, all shards are there", soft_wrap=True)
        return
    estimate = measure(shards, numbers, cores)
    console.print(estimate.table())
    if not estimate.fits:
        console.print(
            "the disk does not suffice: ask for fewer (num_scenes), or choose another output=",
            soft_wrap=True,
        )


def _report(config: SimulateConfig, shards: Shards, made: int, of_share: int) -> None:
    console = Console(stderr=True)
    there = f", {of_share - made} were there" if made < of_share else ""
    noun = "shard" if made == 1 else "shards"
    console.print(f"{shards.output}: {made} {noun} made{there}", soft_wrap=True)
    if shards.put_together():
        audio = f", audio in {FOLDERS[shards.format]}" if shards.audio else ""
        path = shards.output / SCENES_NAME
        console.print(f"{path}: {len(shards.source)} scenes{audio}", soft_wrap=True)
        if shards.audio and config.split == "train":
            tell(next=("train", f"data.simulated={shards.output}"))
        elif shards.audio and shards.format == "folder":
            with path.open("rb") as rows:
                scene = json.loads(rows.readline())
            first = shards.output / path_within("folder", 0, scene["id"], MIXTURE_NAME)
            named = named_arrays().get(scene["array"]["name"])
            same = named is not None and named.as_array().tolist() == scene["array"]["positions"]
            known = (f"array={named.name}",) if named is not None and same else ()
            output = Path("outputs", "separated", f"{shards.output.name}-{scene['id']}")
            tell(first=first, next=("separate", str(first), *known, f"output={output}"))
        else:
            tell(next=("evaluate", "checkpoint=MODEL.ckpt", f"scenes={path}"))
    else:
        left = len(shards.missing())
        console.print(f"{left} of {len(shards)} shards are left to others", soft_wrap=True)
