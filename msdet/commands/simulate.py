# SPDX-License-Identifier: Apache-2.0
"""``msdet simulate``: a set of scenes in shards, and on request their audio and labels.

::

    OUTPUT/simulation.json              what was asked for
    OUTPUT/scenes/shard-000000.jsonl    the scenes of a shard, there when all of the shard is
    OUTPUT/files/shard-000000.json      the sizes of a shard's files, by which damage is seen
    OUTPUT/audio/ or OUTPUT/shards/     the audio, see `msdet.simulation.mixture_files`
    OUTPUT/scenes.jsonl                 all scenes, one a line, when all shards are there
    OUTPUT/metadata.csv                 one row a mixture, in the columns of LibriMix
"""

from __future__ import annotations

import re
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
from msdet.simulation.engines import import_ray, make_locally, make_on_ray
from msdet.simulation.estimate import check_space, cost
from msdet.simulation.mixture_files import FOLDERS, MIXTURE_NAME, Format, TargetsAt
from msdet.simulation.noise_sources import open_noise
from msdet.simulation.rooms import check_scene_config
from msdet.simulation.scene_files import (
    SCENES_NAME,
    DrawnScenes,
    SceneSet,
    open_scenes,
    sample_rate_of,
)
from msdet.simulation.shards import Shards, default_shard_size, path_within
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
    part, parts = _share_of(config.shard)
    if config.engine == "ray":
        import_ray()
    if config.scenes is None:
        _check_ranges(config)
    source, corpus = _open(config)
    shards = Shards(
        output=Path(config.output),
        source=source,
        corpus=corpus,
        size=config.shard_size or default_shard_size(len(source)),
        audio=config.audio,
        format=config.format,
        targets_at=config.targets_at,
    )
    shards.check_folder()
    cores = config.num_workers or available_cores()
    share = range(part, len(shards), parts)
    numbers = shards.missing(share)
    if dry_run:
        there = f"{shards.output}: nothing to make, all shards are there"
        told = cost(shards, numbers, cores) if numbers else there
        Console().print(told, soft_wrap=not numbers)
        return
    check_space(shards, numbers)
    # Jobs that make other shares of the set work beside this one.
    lock = LOCK_NAME if config.shard is None else f"{LOCK_NAME}-{part}-{parts}"
    with sole_user(shards.output, lock):
        shards.keep_request()
        done = len(share) - len(numbers)
        if config.engine == "ray":
            make_on_ray(shards, numbers, config.num_workers, done)
        else:
            if not config.audio and shards.scenes_in(numbers) <= _WORTH_PROCESSES:
                cores = 1
            make_locally(shards, numbers, cores, done)
        _report(config, shards, len(numbers), done)


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


def _share_of(shard: str | None) -> tuple[int, int]:
    """``"i/n"`` as ``(i, n)``; all of it for None."""
    if shard is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if found is None or int(found[1]) >= int(found[2]):
        raise InputError(f"shard={shard!r}: expected i/n with i from 0 to n - 1, such as 3/4")
    return int(found[1]), int(found[2])


def _open(config: SimulateConfig) -> tuple[SceneSet, Corpus]:
    """The scenes, drawn or from a file, and the speech that they are made of."""
    if config.scenes is not None:
        path = scenes_file(config.scenes)
        source = config.scene.background.source
        own = () if source is None else (source,)
        corpus = open_corpus(config.corpus, sample_rate_of(path, own))
        return open_scenes(path, corpus, config.format, config.num_scenes, own), corpus
    corpus = open_corpus(config.corpus, config.sample_rate).split(config.split)
    noise = open_noise(config.scene.background, config.sample_rate)
    if noise is not None:  # some of it must last as long as any scene
        longest = max(corpus.num_samples(utterance) for utterance in corpus.utterances)
        if config.seconds is not None:
            longest = round(config.seconds * config.sample_rate)
        noise.at_least(longest)
    return DrawnScenes(
        config=config.scene,
        array=config.array.build(),
        corpus=corpus,
        seed=config.seed,
        split=config.split,
        seconds=config.seconds,
        count=config.num_scenes or _DRAWN,
        noise=noise.fingerprint if noise is not None else None,
    ), corpus


def _report(config: SimulateConfig, shards: Shards, made: int, there: int) -> None:
    def say(text: str) -> None:
        Console(stderr=True).print(text, soft_wrap=True)

    noun = "shard" if made == 1 else "shards"
    say(f"{shards.output}: {made} {noun} made" + (f", {there} were there" if there else ""))
    if not shards.put_together():
        say(f"{len(shards.missing())} of {len(shards)} shards are left to others")
        return
    path = shards.output / SCENES_NAME
    audio = f", audio in {FOLDERS[shards.format]}" if shards.audio else ""
    say(f"{path}: {len(shards.source)} scenes{audio}")
    if shards.audio and config.split == "train":
        tell(next=("train", f"data.simulated={shards.output}"))
    elif shards.audio and shards.format == "folder":
        (scene,) = shards.source.read([0])
        first = shards.output / path_within("folder", 0, scene.id, MIXTURE_NAME)
        named = named_arrays().get(scene.array.name)
        same = named is not None and named.positions == scene.array.positions
        known = (f"array={scene.array.name}",) if same else ()
        output = Path("outputs", "separated", f"{shards.output.name}-{scene.id}")
        tell(first=first, next=("separate", str(first), *known, f"output={output}"))
    else:
        tell(next=("evaluate", "checkpoint=MODEL.ckpt", f"scenes={path}"))
