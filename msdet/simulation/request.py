# SPDX-License-Identifier: Apache-2.0
"""What a folder of simulated mixtures is to hold: ``simulation.json``, written before all else.

Whoever comes with another request is refused; whoever comes with the same one goes on.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from msdet import __version__
from msdet.errors import InputError, first_mistake
from msdet.files import write_atomically
from msdet.output_folder import contents
from msdet.parsing import first_difference
from msdet.simulation.layouts import Format
from msdet.simulation.rirs import METHOD
from msdet.simulation.scene_files import SCENES_NAME
from msdet.simulation.shards import PARTS_NAME, Shards
from msdet.simulation.symmetry import TargetsAt

REQUEST_NAME = "simulation.json"
_ANOTHER = "choose another output="


class Request(BaseModel):
    """What shapes the files of a set, and nothing that does not.

    Attributes:
        config: of the scenes. versions: of what computes them.
        shard_size: scenes in each of the `num_shards` shards but the last.
        targets_at: which targets are kept; those of sets from before this was asked are at the
            reference.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    audio: bool
    format: Format
    shard_size: int
    num_shards: int
    versions: dict[str, str]
    targets_at: TargetsAt = "reference"


def request_of(shards: Shards) -> Request:
    """The request that asks for these shards, here and now."""
    plain = json.loads(json.dumps(shards.source.request(), allow_nan=False))
    packages = ("numpy", "scipy", "pyroomacoustics")
    return Request(
        config=plain,
        audio=shards.audio,
        format=shards.format,
        shard_size=shards.size,
        num_shards=len(shards),
        targets_at=shards.targets_at,
        versions={
            "msdet": __version__,
            "room responses": METHOD,
            **{name: version(name) for name in packages},
        },
    )


def check_folder(folder: Path) -> None:
    """Refuse what is not a folder of mixtures; an empty or missing one will become one.

    Raises:
        InputError: names the folder and what is in the way.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output={folder}: is a file; name a folder")
    try:
        if (folder / REQUEST_NAME).exists():
            return
        in_the_way = [path.name for path in contents(folder) if path.name != PARTS_NAME]
    except OSError as error:
        raise InputError(f"output={folder}: cannot be read ({error.strerror})") from error
    if in_the_way:
        raise InputError(
            f"output={folder}: is not empty and holds no {REQUEST_NAME} (but "
            f"{min(in_the_way)!r}, for one); {_ANOTHER}"
        )


def keep_request(folder: Path, request: Request) -> None:
    """Write the request, or see that the one that is there is the same.

    Raises:
        InputError: it is another one, and what the first difference is; or cannot be written.
    """
    path = folder / REQUEST_NAME
    if not path.exists():
        try:
            parts = folder / PARTS_NAME
            parts.mkdir(parents=True, exist_ok=True)
            write_atomically(path, request.model_dump_json(indent=2) + "\n", parts)
        except OSError as error:
            raise InputError(f"output={folder}: cannot be written ({error.strerror})") from error
    found = read_request(folder)  # also after writing: another process may have done so since
    difference = first_difference(found.model_dump(), request.model_dump())
    if difference := difference.removeprefix("config."):
        mend = "give the settings that it was made with"
        if found.audio != request.audio:
            mend = f"for its audio give scenes={folder / SCENES_NAME} and another output"
        raise InputError(
            f"output={folder}: holds another set of scenes ({difference}); {mend}, or {_ANOTHER}"
        )


def read_request(folder: Path) -> Request:
    """The request of a folder.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    path = folder / REQUEST_NAME
    try:
        return Request.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error
