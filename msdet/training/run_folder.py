# SPDX-License-Identifier: Apache-2.0
"""A run's folder: whether it goes on, starts anew, or is somebody else's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from rich.console import Console

from msdet.checkpoints import load_checkpoint
from msdet.errors import InputError
from msdet.files import read_json, write_atomically, write_json
from msdet.output_folder import contents, sole_user
from msdet.parsing import first_difference, parse
from msdet.training.config import TrainConfig

CONFIG_NAME = "config.yaml"
SUMMARY_NAME = "summary.json"
TRAINED_NAME = "trained.json"
LAST_NAME = "last.ckpt"
SOURCES_NAME = "sources.json"
MAY_DIFFER = {
    "output",
    "logger",
    "evaluate",
    "trainer.gradient_interval",
    "data.num_workers",
    "data.prefetch",
    "data.cache",
}
"""Keys that a resumed run may change: none of them shapes the rest of its training."""


def is_unfinished(folder: Path) -> bool:
    """Return whether a run got as far as its first checkpoint there, and not to its end."""
    return (folder / LAST_NAME).exists() and not (folder / SUMMARY_NAME).exists()


def is_trained(folder: Path) -> bool:
    """Return whether a run there is trained and not yet evaluated."""
    return (folder / TRAINED_NAME).exists() and not (folder / SUMMARY_NAME).exists()


def set_finished_aside(folder: Path) -> None:
    """Rename a folder with a finished run, so that another can have its name.

    Raises:
        InputError: another command is writing there, or it cannot be renamed.
    """
    if not (folder / CONFIG_NAME).exists() or not (folder / SUMMARY_NAME).exists():
        return
    with sole_user(folder):
        kept = _numbered(folder)
        try:
            folder.rename(kept)
        except OSError as error:
            raise InputError(
                f"output={folder}: its finished run cannot be renamed ({error.strerror}); choose "
                "another output="
            ) from error
    Console(stderr=True).print(f"the finished run is kept as {kept}")


def prepare_folder(folder: Path, config: TrainConfig) -> None:
    """Leave a folder that is there ready for this run: its own unfinished state, or empty.

    Raises:
        InputError: it holds something else, or an unfinished run of another config.
    """
    mend = "choose another output="
    wanted = config.model_dump(mode="json")
    stored = folder / CONFIG_NAME
    if stored.exists():
        if is_unfinished(folder):
            if difference := config_difference(read_config(stored), config):
                raise InputError(
                    f"output={folder}: holds an unfinished run of another config ({difference}); "
                    f"give that config to go on with it, or {mend}"
                )
            try:
                load_checkpoint(folder / LAST_NAME, trust=True)  # of this very config
            except InputError as error:  # of another version, or damaged
                raise InputError(
                    f"output={folder}: its run cannot go on ({error}); delete that file, and the "
                    f"same command trains anew, or {mend}"
                ) from error
            Console(stderr=True).print(f"going on with the unfinished run in {folder}")
    elif contents(folder):
        raise InputError(f"output={folder}: is not empty and holds no run; {mend}")
    try:
        write_atomically(stored, OmegaConf.to_yaml(OmegaConf.create(wanted)))
    except OSError as error:
        raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error


def keep_identities(folder: Path, identities: Mapping[str, Sequence[int | str]]) -> None:
    """Write down which mixtures on disk a run is trained on.

    Args:
        identities: their number and what tells them from others, by config key.
    """
    if identities:
        write_json(folder / SOURCES_NAME, dict(identities))


def check_same_mixtures(folder: Path, identities: Mapping[str, Sequence[int | str]]) -> None:
    """Refuse to go on with others: more shards may have been finished since, for one.

    Raises:
        InputError: names the key and what there is.
    """
    path = folder / SOURCES_NAME
    if not path.exists():
        return
    mend = "delete it if the data is as it was, or choose another output="
    began = read_json(path, mend)
    for key, (number, identity) in identities.items():
        known = began.get(key, [number, identity])
        if not isinstance(known, list) or len(known) != 2:
            raise InputError(f"{path}: is damaged ({key}); {mend}")
        then, was = known
        if identity != was:
            raise InputError(
                f"{key}: holds {number} mixtures, other ones than the {then} that the unfinished "
                f"run in {folder} began with; choose another output="
            )


def is_first_process() -> bool:
    """Return whether this process is the first of all machines (rank 0), by Lightning's reading of
    RANK, LOCAL_RANK, SLURM_PROCID or NODE_RANK."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0 and int(os.environ.get("NODE_RANK", 0)) == 0


def read_config(path: Path) -> TrainConfig:
    """A run's config as this version reads it: keys that it did not have yet take their defaults.

    Raises:
        InputError: it cannot be read.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # of PyYAML's and OmegaConf's many, and an empty file
        raise InputError(f"{path}: cannot be read; choose another output=") from error
    try:
        return parse(TrainConfig, cast("dict[str, Any]", values))
    except InputError as error:
        raise InputError(
            f"{path}: is of another version ({error}); choose another output="
        ) from error


def config_difference(found: TrainConfig, wanted: TrainConfig) -> str:
    """The first key that makes two runs train something else; empty where none does."""
    return first_difference(
        found.model_dump(mode="json"), wanted.model_dump(mode="json"), MAY_DIFFER
    )


def _numbered(folder: Path) -> Path:
    number = 1
    while (candidate := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return candidate
