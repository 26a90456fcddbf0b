# SPDX-License-Identifier: Apache-2.0
"""Fixed scenes that travel with the package, so that everyone is scored on the same ones.

Each is a file of scenes; ``benchmarks.json`` says what is in it and what its checksum is. Both are
written by ``scripts/build_benchmarks.py``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from msdet.errors import InputError, first_mistake
from msdet.files import read_json
from msdet.resources import benchmarks_dir

MANIFEST_NAME = "benchmarks.json"
_MEND = "install msdet again or run scripts/build_benchmarks.py"


class Benchmark(BaseModel):
    """A file of scenes, and what it was drawn with.

    Attributes:
        file: its name beside the manifest. sha256: of the file as it lies there.
        seconds: of every scene. sample_rate: hertz.
        corpus: the fingerprint of the voices that its scenes are made of.
        settings: what the scenes are a function of: seed, ranges, arrays and, where scenes were
            chosen, the condition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_scenes: int = Field(ge=1)
    seconds: float = Field(gt=0)
    sample_rate: int = Field(gt=0)
    corpus: str
    settings: dict[str, Any]


class Manifest(BaseModel):
    """All benchmarks, in the order in which they are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmarks: tuple[Benchmark, ...]


def benchmarks() -> dict[str, Benchmark]:
    """The benchmarks that are installed, by name.

    Raises:
        InputError: their manifest is missing or damaged.
    """
    path = benchmarks_dir() / MANIFEST_NAME
    try:
        manifest = Manifest.model_validate(read_json(path, _MEND))
    except ValidationError as error:
        raise InputError(f"{path}: {first_mistake(error)}; {_MEND}") from error
    return {benchmark.name: benchmark for benchmark in manifest.benchmarks}


def benchmark_names() -> tuple[str, ...]:
    """Their names; raises what `benchmarks` does."""
    return tuple(benchmarks())


def benchmark_path(name: str) -> Path:
    """The file of a benchmark's scenes, which is what the manifest says.

    Raises:
        InputError: there is no such benchmark, or its file is missing or was changed.
    """
    known = benchmarks()
    if name not in known:
        raise InputError(f"{name!r} is no benchmark; there are {', '.join(known)}")
    path = benchmarks_dir() / known[name].file
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
        raise InputError(f"{path}: benchmark {name!r} {reason}; {_MEND}") from error
    if found != known[name].sha256:
        raise InputError(f"{path}: benchmark {name!r} was changed; {_MEND}, or rename your own")
    return path


def scenes_file(name_or_path: str) -> Path:
    """The file of scenes that a setting ``scenes=`` means: a benchmark's, or any other.

    A name of a benchmark means the benchmark, also where a file is called so (``./NAME`` is it).

    Raises:
        InputError: it is neither; lists the benchmarks. Or what `benchmark_path` raises.
    """
    names = benchmark_names()
    if name_or_path in names:
        return benchmark_path(name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "no such file"
        raise InputError(
            f"scenes={name_or_path}: cannot be read as a file of scenes ({reason}), nor is it a "
            f"benchmark ({', '.join(names)})"
        )
    return path
