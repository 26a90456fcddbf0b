# SPDX-License-Identifier: Apache-2.0
"""A run's folder: whether it goes on, starts anew, or is somebody else's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf
from rich.console import Console

from msdet.checkpoints import load_checkpoint
from msdet.config import TrainConfig
from msdet.errors import InputError
from msdet.evaluation.evaluate import write_json
from msdet.simulation import StoredMixtures

CONFIG_NAME = "config.yaml"
SUMMARY_NAME = "summary.json"
TRAINED_NAME = "trained.json"
LAST_NAME = "last.ckpt"
SIMULATED_NAME = "simulated.json"
_MAY_DIFFER = {
    "output",
    "logger",
    "evaluate",
    "init_from",
    "data.num_workers",
    "data.prefetch",
    "data.cache",
}
"""Keys that a resumed run may change: none of them shapes the rest of its training."""


def is_unfinished(folder: Path) -> bool:
    """Whether a run got as far as its first checkpoint there, and not to its end."""
    return (folder / LAST_NAME).exists() and not (folder / SUMMARY_NAME).exists()


def prepare_folder(folder: Path, config: TrainConfig) -> None:
    """Leave ``folder`` ready for this run: its own unfinished state, or empty.

    Raises:
        InputError: it is a file, holds something else, or an unfinished run of another config.
    """
    mend = "choose another output="
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; {mend}")
    wanted = config.model_dump(mode="json")
    stored = folder / CONFIG_NAME
    if stored.exists():
        if (folder / SUMMARY_NAME).exists():
            kept = _numbered(folder)
            folder.rename(kept)
            Console(stderr=True).print(f"the finished run is kept as {kept}")
        elif is_unfinished(folder):
            difference = _first_difference(_stored_config(stored), wanted)
            if difference:
                raise InputError(
                    f"output={folder}: holds an unfinished run of another config ({difference}); "
                    f"give that config to go on with it, or {mend}"
                )
            load_checkpoint(folder / LAST_NAME)  # refuses one that this version cannot go on from
            Console(stderr=True).print(f"going on with the unfinished run in {folder}")
    elif folder.exists() and any(folder.iterdir()):
        raise InputError(f"output={folder}: is not empty and holds no run; {mend}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{CONFIG_NAME}.part"
        OmegaConf.save(OmegaConf.create(wanted), temporary)
        temporary.replace(stored)
    except OSError as error:
        raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error


def keep_identity(folder: Path, mixtures: StoredMixtures) -> None:
    """Write down which mixtures a run is trained on."""
    content = {"mixtures": len(mixtures), "identity": mixtures.identity}
    write_json(folder / SIMULATED_NAME, content)


def check_same_mixtures(config: TrainConfig, folder: Path, mixtures: StoredMixtures) -> None:
    """Refuse to go on with others: more shards may have been finished since, for one."""
    path = folder / SIMULATED_NAME
    if not path.exists():
        return
    began = json.loads(path.read_text())
    if began["identity"] != mixtures.identity:
        raise InputError(
            f"data.simulated={config.data.simulated}: holds {len(mixtures)} mixtures, other ones "
            f"than the {began['mixtures']} that the unfinished run in {folder} began with; "
            "choose another output="
        )


def is_first_process() -> bool:
    """Of all machines: by Lightning's reading of RANK, LOCAL_RANK, SLURM_PROCID, or NODE_RANK."""
    rank: int = getattr(rank_zero_only, "rank", 0)
    return rank == 0 and int(os.environ.get("NODE_RANK", 0)) == 0


def _stored_config(path: Path) -> Any:
    try:
        return OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # of PyYAML's and OmegaConf's many, and an empty file
        raise InputError(f"{path}: cannot be read; choose another output=") from error


def _numbered(folder: Path) -> Path:
    number = 1
    while (candidate := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    return candidate


def _first_difference(found: Any, wanted: Any, where: str = "") -> str:
    if where in _MAY_DIFFER:
        return ""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in {**found, **wanted}:
            inner = f"{where}.{key}" if where else str(key)
            if difference := _first_difference(found.get(key), wanted.get(key), inner):
                return difference
        return ""
    return "" if found == wanted else f"{where} was {found!r}, is {wanted!r}"
