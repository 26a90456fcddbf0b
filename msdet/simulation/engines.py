# SPDX-License-Identifier: Apache-2.0
"""Engines that make shards: processes of this machine, or Ray's workers on many machines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from msdet.ending import heed_sigterm
from msdet.errors import InputError
from msdet.simulation.shards import Shards
from msdet.workers import in_processes, progress_bar

_RETRIES = 5
"""So often shards are made again whose worker was lost; more often it is the shard's fault."""


# --- this machine -------------------------------------------------------------------------


def make_locally(shards: Shards, numbers: Sequence[int], num_workers: int, done: int = 0) -> None:
    """Make shards in processes of this machine, or in this one if one worker is asked for.

    Args:
        done: shards that were there before, which the progress bar counts too.
    Raises:
        InputError: of a shard; or processes were lost again and again.
    """
    if min(num_workers, len(numbers)) <= 1:
        _show(map(shards, numbers), shards, len(numbers), done)
        return
    left, title = list(numbers), _title(shards)
    for _ in range(1 + _RETRIES):
        there = done + len(numbers) - len(left)
        try:
            for _ in in_processes(
                _itself, shards, left, num_workers=num_workers, title=title, done=there
            ):
                pass
        except BrokenProcessPool:
            left = shards.missing(numbers)
            Console(stderr=True).print("a process was lost; its shard is made again")
        else:
            return
    raise InputError(
        f"output={shards.output}: processes were lost {1 + _RETRIES} times, as when memory runs "
        f"out; with fewer (num_workers={max(1, num_workers // 2)}) the same command goes on"
    )


def _itself(shards: Shards) -> Shards:
    return shards


def _show(made: Iterable[object], shards: Shards, count: int, done: int) -> None:
    """Show how many of these shards are made."""
    with progress_bar(_title(shards), disable=not count) as bar:
        task = bar.add_task("", total=done + count, completed=done)
        for _ in made:
            bar.advance(task)


def _title(shards: Shards) -> str:
    return f"shards of {shards.size} scenes" if shards.size > 1 else "scenes"


# --- Ray ----------------------------------------------------------------------------------


def import_ray() -> Any:
    """Ray, which is an extra.

    Raises:
        InputError: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"engine=ray: Ray cannot be imported ({error}); in the clone of "
            "msdet: pip install '.[ray]'"
        ) from error
    return ray


def make_on_ray(
    shards: Shards, numbers: Sequence[int], num_workers: int | None, done: int = 0
) -> None:
    """Make shards as tasks of a Ray cluster: the one of ``RAY_ADDRESS``, one that runs on this
    machine, or one of its own with `num_workers` workers.

    Ray starts a task anew whose worker or machine is lost.

    Raises:
        InputError: of a shard; or there is no such cluster, or workers were lost again and again.
    """
    if not numbers:
        return
    ray = import_ray()
    with _connected(ray, num_workers):
        cores = int(ray.cluster_resources().get("CPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())
        noun = "node" if nodes == 1 else "nodes"
        Console(stderr=True).print(f"ray: {cores} cores on {nodes} {noun}")
        task = ray.remote(_make).options(num_cpus=1, max_retries=_RETRIES)
        sent = [ray.put(shards)]  # in a list, so that Ray does not unpack it for every task
        tasks = [task.remote(sent, shard, os.getcwd()) for shard in numbers]
        try:
            _show(map(ray.get, tasks), shards, len(tasks), done)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise InputError(str(error.cause)) from error
            raise
        except ray.exceptions.RayError as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"engine=ray: a worker was lost {1 + _RETRIES} times ({reason}); the same command "
                "goes on from here"
            ) from error


_received: dict[str, Shards] = {}
"""The set that this worker makes shards of, by Ray's name of it."""


def _make(sent: list[Any], shard: int, folder: str) -> None:
    """A task, in the folder of the command, which paths may be relative to."""
    os.chdir(folder)
    name = sent[0].hex()
    if name not in _received:
        _received.clear()
        _received[name] = import_ray().get(sent[0])
    _received[name](shard)


@contextmanager
def _connected(ray: Any, num_workers: int | None) -> Iterator[None]:
    """A connection to Ray; one that was there stays as it is."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers otherwise
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    try:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError as error:
            if address := os.environ.get("RAY_ADDRESS"):
                raise InputError(
                    f"engine=ray: no cluster answers at RAY_ADDRESS={address}"
                ) from error
            ray.init(address="local", num_cpus=num_workers, include_dashboard=False, **quiet)
        heed_sigterm()  # Ray would end this process without a word
        yield
    finally:
        ray.shutdown()  # which also ends the tasks that are left
