# SPDX-License-Identifier: Apache-2.0
"""``engine=ray``: a machine that is lost in the middle costs time, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from msdet.cli import main

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ray = pytest.importorskip("ray")

SCENES = 24
SETTINGS = (
    f"num_scenes={SCENES}",
    "shard_size=1",
    "seconds=1",
    "sample_rate=8000",
    "audio=true",
    "format=tar",
    "scene.t60=[0.15,0.16]",
    "scene.room.length=[4,5]",
    "scene.room.width=[4,5]",
    "scene.room.height=[2.5,2.6]",
    "scene.speaker.distance=[0.7,1.2]",
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of one core each, as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def works(node: Any) -> bool:
    """Whether a worker of a machine is making a shard."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    with suppress(psutil.Error):
        return any("ray::_make" in " ".join(child.cmdline()) for child in raylet.children())
    return False


@pytest.mark.usefixtures("same_home")
def test_a_lost_machine_s_shards_are_made_elsewhere(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # workers start elsewhere and must find the relative output
    markers = tmp_path / "on_ray" / "scenes"
    there_when_lost: dict[str, int] = {}

    def lose() -> None:
        while not markers.exists() or len(os.listdir(markers)) < 3 or not works(cluster.second):
            time.sleep(0.002)
        there_when_lost.update({p.name: p.stat().st_mtime_ns for p in markers.iterdir()})
        cluster.remove_node(cluster.second, allow_graceful=False)

    losing = threading.Thread(target=lose, daemon=True)
    losing.start()
    assert main(["simulate", "output=on_ray", "engine=ray", *SETTINGS]) == 0
    losing.join(30)
    assert 3 <= len(there_when_lost) < SCENES, "it was lost in the middle"
    for name, changed in there_when_lost.items():
        assert (markers / name).stat().st_mtime_ns == changed, "made again"
    assert main(["simulate", "output=locally", "num_workers=1", *SETTINGS]) == 0
    found, expected = contents(tmp_path / "on_ray"), contents(tmp_path / "locally")
    assert found == expected
    assert len([name for name in found if name.endswith(".tar")]) == SCENES
