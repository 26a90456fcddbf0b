# SPDX-License-Identifier: Apache-2.0
"""Engines that make shards: processes of this machine, or Ray's workers on many machines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from rich.console import Console

from msdet.ending import heed_sigterm
from msdet.errors import InputError
from msdet.simulation.shards import Shards
from msdet.workers import in_processes, progress_bar

_RETRIES = 5
"""So often shards are made again whose worker was lost; more often it is the shard's fault."""


# --- this machine -------------------------------------------------------------------------


def make_locally(shards: Shards, numbers: Sequence[int], num_workers: int, done: int = 0) -> int:
    """Make shards in processes of this machine, or in this one if one worker is asked for.

    Args:
        done: shards that were there before, which the progress bar counts too.
    Returns:
        How many were not there yet.
    Raises:
        InputError: of a shard; or processes were lost again and again.
    """
    made, left = 0, list(numbers)
    for _ in range(1 + _RETRIES):
        try:
            for was_missing in _made(shards, left, num_workers, done):
                made += was_missing
        except BrokenProcessPool:
            left = [shard for shard in numbers if not shards.is_there(shard)]
            done += len(numbers) - len(left)
            Console(stderr=True).print("a process was lost; its shard is made again")
        else:
            return made
    raise InputError(
        f"output={shards.output}: processes were lost {1 + _RETRIES} times, as when memory runs "
        f"out; with fewer (num_workers={max(1, num_workers // 2)}) the same command goes on"
    )


def _made(shards: Shards, numbers: Sequence[int], num_workers: int, done: int) -> Iterator[bool]:
    title = _title(shards)
    if min(num_workers, len(numbers)) > 1:
        yield from in_processes(
            _itself, shards, numbers, num_workers=num_workers, title=title, done=done
        )
        return
    with progress_bar(title, disable=not numbers) as bar:
        task = bar.add_task("", total=done + len(numbers), completed=done)
        for shard in numbers:
            yield shards(shard)
            bar.advance(task)


def _itself(shards: Shards) -> Shards:
    return shards


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
) -> int:
    """Make shards as tasks of a Ray cluster: the one of ``RAY_ADDRESS``, one that runs on this
    machine, or one of its own with `num_workers` workers.

    Ray starts a task anew whose worker or machine is lost.

    Returns:
        How many shards were not there yet.
    Raises:
        InputError: of a shard; or there is no such cluster, or workers were lost again and again.
    """
    if not numbers:
        return 0
    ray = import_ray()
    with _connected(ray, num_workers):
        console = Console(stderr=True)
        cores = int(ray.cluster_resources().get("CPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())
        console.print(f"ray: {cores} cores on {nodes} {'node' if nodes == 1 else 'nodes'}")
        task = ray.remote(_make).options(num_cpus=1, max_retries=_RETRIES)
        # In a list, so that Ray does not unpack it anew for every task.
        sent = [ray.put(shards)]
        run = uuid4().hex
        waiting = {task.remote(run, sent, shard, os.getcwd()): shard for shard in numbers}
        made = 0
        with progress_bar(_title(shards)) as bar:
            shown = bar.add_task("", total=done + len(numbers), completed=done)
            while waiting:
                most = min(len(waiting), 100)
                for reference in ray.wait(list(waiting), num_returns=most, timeout=1.0)[0]:
                    made += _result(ray, reference, waiting.pop(reference))
                    bar.advance(shown)
        return made


def _result(ray: Any, reference: Any, shard: int) -> bool:
    try:
        return bool(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise InputError(str(error.cause)) from error
        raise
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"engine=ray: the worker of shard {shard} was lost {1 + _RETRIES} times ({reason}); "
            "the same command goes on from here"
        ) from error


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


_received: dict[str, Shards] = {}
"""The sets that this worker makes shards of, by the run that sent it."""


def _make(run: str, sent: list[Any], shard: int, folder: str) -> bool:
    """A task: one thread, in the folder of the command, which paths may be relative to."""
    import torch

    torch.set_num_threads(1)
    if run not in _received:
        os.chdir(folder)
        _received.clear()
        _received[run] = import_ray().get(sent[0])
    return _received[run](shard)
