# SPDX-License-Identifier: Apache-2.0
"""The bank: what it hands out is right whatever happened to its files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from msdet.errors import InputError
from msdet.files import PART, ProcessPaths
from msdet.geometry import MicrophoneArray
from msdet.simulation import (
    RirBank,
    Rirs,
    Room,
    SceneConfig,
    compute_rirs,
    draw_room,
    pool_room,
    rotated,
)
from msdet.simulation.rooms import random_generator

RATE = 8000


def rooms_of(count: int, array: MicrophoneArray) -> list[Room]:
    return [draw_room(SceneConfig(), array, random_generator(9, i)) for i in range(count)]


def assert_same(ours: Rirs, theirs: Rirs, atol: float = 0.0) -> None:
    for name in ("image", "direct", "drr_db"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=atol, rtol=0)
    assert (ours.delay, ours.sample_rate) == (theirs.delay, theirs.sample_rate)
    assert ours.t60_measured == pytest.approx(theirs.t60_measured, abs=atol)


def test_it_hands_out_what_would_be_computed(circle: MicrophoneArray, tmp_path: Path) -> None:
    rooms = rooms_of(4, circle)
    bank = RirBank(tmp_path, circle, RATE)
    assert bank.fill(rooms, num_workers=2, progress=False) == 4
    assert bank.fill(rooms, progress=False) == 0
    for room in rooms:
        assert_same(bank.get(room), compute_rirs(room, circle, RATE), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 4


def test_symmetric_rooms_share_a_file(circle: MicrophoneArray, tmp_path: Path) -> None:
    (room,) = rooms_of(1, circle)
    bank = RirBank(tmp_path, circle, RATE)
    for quarter in range(4):
        turned = rotated(room, circle, 90.0 * quarter)
        assert_same(bank.get(turned), compute_rirs(turned, circle, RATE), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_line_has_a_file_for_each_pose(line: MicrophoneArray, tmp_path: Path) -> None:
    (room,) = rooms_of(1, line)
    bank = RirBank(tmp_path, line, RATE)
    for turn in (0.0, 180.0):
        turned = rotated(room, line, turn)
        assert_same(bank.get(turned), compute_rirs(turned, line, RATE), atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_shapes_a_response_names_its_file(
    circle: MicrophoneArray, l_shape: MicrophoneArray, tmp_path: Path
) -> None:
    (room,) = rooms_of(1, circle)
    changed = room.model_copy(update={"t60": room.t60 + 1e-4})
    for array, rate, asked in (
        (circle, 8000, room),
        (circle, 16000, room),
        (l_shape, 8000, room),
        (circle, 8000, changed),
    ):
        RirBank(tmp_path, array, rate).get(asked)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "header", "other", "number"])
def test_a_damaged_file_is_made_again(
    damage: str, circle: MicrophoneArray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (room,) = rooms_of(1, circle)
    bank = RirBank(tmp_path, circle, RATE)
    bank.get(room)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(
        {
            "cut": content[:middle],
            "empty": b"",
            "flipped": flipped,
            "header": content[:20],
            "other": b"[1, 2]\n",
            "number": content.replace(b'"delay": 40', b'"delay": 41'),
        }[damage]
    )
    assert_same(bank.get(room), compute_rirs(room, circle, RATE), atol=1e-5)
    assert f"{path.name} is damaged" in caplog.text
    assert path.read_bytes() == content


def test_two_fill_the_same_directory(circle: MicrophoneArray, tmp_path: Path) -> None:
    rooms = rooms_of(6, circle)
    banks = [RirBank(tmp_path, circle, RATE) for _ in range(2)]
    threads = [
        threading.Thread(target=bank.fill, args=(rooms, 2), kwargs={"progress": False})
        for bank in banks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 6
    assert banks[0].fill(rooms, progress=False) == 0


def test_a_killed_fill_is_gone_on_with(circle: MicrophoneArray, tmp_path: Path) -> None:
    code = (
        "import sys; from msdet.geometry import Circle; from msdet.simulation import *; "
        "a = Circle(shape='circle', num_mics=4, radius=.05).build(); "
        "make = lambda i: pool_room(SceneConfig(), a, seed=0, split='train', room_index=i); "
        "RirBank(sys.argv[1], a, 8000).fill(map(make, range(80)), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 300
    while len(list(tmp_path.glob("*.rirs"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = len(list(tmp_path.glob("*.rirs")))
    assert 5 <= there < 80
    own = ProcessPaths(tmp_path, ".rirs.", PART).new()
    leftover = tmp_path / own.name.replace(f"-{os.getpid()}-", f"-{process.pid}-")
    leftover.write_bytes(b"half")
    rooms = [
        pool_room(SceneConfig(), circle, seed=0, split="train", room_index=i) for i in range(80)
    ]
    bank = RirBank(tmp_path, circle, RATE)
    assert bank.fill(rooms, progress=False) == 80 - there
    assert not leftover.exists()
    assert_same(bank.get(rooms[0]), compute_rirs(rooms[0], circle, RATE), atol=1e-5)


def test_a_place_that_cannot_hold_it_is_named(circle: MicrophoneArray, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file: cannot hold room responses"):
        RirBank(tmp_path / "file", circle, RATE)


def test_others_can_read_a_bank(circle: MicrophoneArray, tmp_path: Path) -> None:
    (room,) = rooms_of(1, circle)
    before = os.umask(0o022)
    try:
        RirBank(tmp_path, circle, RATE).get(room)
    finally:
        os.umask(before)
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644
