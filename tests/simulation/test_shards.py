# SPDX-License-Identifier: Apache-2.0
"""Shards: any division gives the same files; what is there stays; what failed leaves nothing."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msdet.errors import InputError
from msdet.files import ProcessPaths
from msdet.geometry import MicrophoneArray
from msdet.simulation import Scene, SceneConfig, fixed_scenes, read_scenes, write_scenes
from msdet.simulation import engines as engines_module
from msdet.simulation.config import ConversationRanges
from msdet.simulation.engines import make_locally
from msdet.simulation.scene_files import DrawnScenes, open_scenes, sample_rate_of
from msdet.simulation.shards import Shards, default_shard_size, sizes_path

SCENE = SceneConfig.model_validate(
    {
        "room": {"length": (4, 5), "width": (4, 5), "height": (2.5, 2.6)},
        "t60": (0.15, 0.18),
        "speaker": {"distance": (0.7, 1.2)},
    }
)


@pytest.fixture
def make(corpus: Any, circle: MicrophoneArray, tmp_path: Path) -> Callable[..., Shards]:
    """Seven scenes in shards of two, in archives."""

    def made(folder: str = "out", count: int = 7, **changes: Any) -> Shards:
        scenes = {"config": SCENE, "array": circle, "corpus": corpus, "seed": 0, "split": "test"}
        source = DrawnScenes(seconds=0.5, count=count, **scenes)
        keys: dict[str, Any] = {"size": 2, "audio": True, "format": "tar", "source": source}
        return Shards(output=tmp_path / folder, corpus=corpus, **keys | changes)

    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- which scenes are where ---------------------------------------------------------------


@given(st.integers(1, 10**6))
def test_the_size_of_shards_depends_on_the_number_of_scenes_alone(count: int) -> None:
    size = default_shard_size(count)
    assert 1 <= size <= 100
    assert size == 100 or -(-count // size) <= 16


@given(st.integers(1, 500), st.integers(1, 40), st.integers(1, 9))
def test_shares_divide_the_scenes(count: int, size: int, parts: int) -> None:
    source: Any = range(count)
    shards = Shards(Path("none"), source, None, size, True, "tar")  # type: ignore[arg-type]
    shares = [shards.missing(range(part, len(shards), parts)) for part in range(parts)]
    numbers = sorted(shard for share in shares for shard in share)
    assert numbers == list(range(len(shards)))
    assert [i for shard in numbers for i in shards.indices(shard)] == list(range(count))
    assert shards.scenes_in(numbers) == count


# --- making them --------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["tar", "folder"])
def test_any_division_gives_the_same_files(make: Callable[..., Shards], format: str) -> None:
    whole = make("whole", format=format)
    make_locally(whole, whole.missing(), 1)
    assert whole.put_together()
    divided = make("divided", format=format)
    for part in (2, 0, 1):
        assert not divided.put_together()
        numbers = divided.missing(range(part, 4, 3))
        make_locally(divided, numbers[::-1], 1)
    assert divided.put_together()
    expected = contents(whole.output)
    assert contents(divided.output) == expected
    assert {"scenes.jsonl", "metadata.csv", "scenes/shard-000003.jsonl"} <= expected.keys()
    assert not any(name.endswith(".part") for name in expected)


def test_drawn_scenes_are_those_of_evaluation(make: Callable[..., Shards]) -> None:
    shards = make(audio=False)
    make_locally(shards, shards.missing(), 1)
    shards.put_together()
    assert {path.name for path in shards.output.iterdir()} == {"files", "scenes", "scenes.jsonl"}
    source: Any = shards.source
    wanted = fixed_scenes(
        SCENE, source.array, source.corpus, seed=0, split="test", count=7, sample_rate=8000,
        seconds=0.5,
    )  # fmt: skip
    assert read_scenes(shards.output / "scenes.jsonl") == wanted


def test_what_is_there_is_not_made_again(make: Callable[..., Shards]) -> None:
    shards = make()
    shards(1)
    before = {path: path.stat().st_mtime_ns for path in shards.output.rglob("*")}
    shards(1)
    assert {path: path.stat().st_mtime_ns for path in shards.output.rglob("*")} == before
    assert shards.missing() == [0, 2, 3]


FILES = {
    "tar": ("shards/shard-000000.tar",),
    "folder": tuple(f"audio/test-e000-000001/{n}" for n in ("mixture.wav", "labels.json")),
}
COMMON = ("scenes/shard-000000.jsonl", "files/shard-000000.json")


@pytest.mark.parametrize("damage", ["gone", "cut"])
@pytest.mark.parametrize(
    ("format", "name"), [(f, name) for f, names in FILES.items() for name in (*names, *COMMON)]
)
def test_a_file_that_is_gone_or_cut_is_made_again(
    make: Callable[..., Shards], format: str, name: str, damage: str
) -> None:
    shards = make(format=format)
    shards(0)
    shards(1)
    before = contents(shards.output)
    path = shards.output / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(before[name][:-100])
    assert shards.missing() == [0, 2, 3]
    shards(0)
    assert contents(shards.output) == before
    assert shards.missing() == [2, 3]


def test_the_sizes_of_a_shard_s_files_are_written_down(make: Callable[..., Shards]) -> None:
    shards = make(format="folder")
    shards(3)
    found = contents(shards.output)
    sizes = json.loads(found.pop("files/shard-000003.json"))
    assert sizes == {name: len(content) for name, content in found.items()}
    for content in ("[]", "{}", "", "{"):
        sizes_path(shards.output, 3).write_text(content)
        assert shards.missing([3]) == [3]


def test_ids_may_hold_what_other_systems_take_for_the_end_of_a_line(
    make: Callable[..., Shards], draw: Callable[..., Any], corpus: Any, tmp_path: Path
) -> None:
    scenes = [draw().model_copy(update={"id": f"a{c}b"}) for c in "\u2028\u2029\x85\x1c\x0b"]
    path = tmp_path / "some.jsonl"
    write_scenes(path, scenes)
    assert [scene.id for scene in read_scenes(path)] == [scene.id for scene in scenes]
    shards = make(source=open_scenes(path, corpus, "tar"), format="tar")
    make_locally(shards, shards.missing(), 1)
    shards.put_together()
    assert read_scenes(shards.output / "scenes.jsonl") == tuple(scenes)
    with (shards.output / "metadata.csv").open(newline="", encoding="utf-8") as file:
        assert [row["mixture_ID"] for row in csv.DictReader(file)] == [s.id for s in scenes]


def test_the_marker_comes_last(
    make: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever rename a kill prevents, there is never a marker without its audio."""
    shards = make()
    seen = []
    replaced = Path.replace

    def noted(self: Path, target: Path) -> Path:
        seen.append(Path(target).relative_to(shards.output).as_posix())
        return replaced(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    shards(0)
    assert seen == [
        f"{folder}/shard-000000.{suffix}"
        for folder, suffix in (("shards", "tar"), ("files", "json"), ("scenes", "jsonl"))
    ]


def test_what_killed_processes_left_goes(make: Callable[..., Shards]) -> None:
    shards = make()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = ProcessPaths(shards.output, ".shard-000000.", ".part").new()
    theirs = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-"))
    for folder in (mine, theirs):
        folder.mkdir(parents=True)
        (folder / "shard.tar").write_bytes(b"half")
    shards(0)
    assert not theirs.exists()
    assert mine.exists(), "a process that runs may be writing it"
    make_locally(shards, shards.missing(), 1)
    shards.put_together()
    assert not list(shards.output.glob(".*"))


def failing() -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("format", ["tar", "folder"])
def test_a_full_disk_leaves_finished_shards_and_nothing_half(
    make: Callable[..., Shards], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = make(format=format)
    shards(0)
    before = contents(shards.output)

    def full(*_: Any) -> bytes:
        return failing()  # type: ignore[func-returns-value]

    monkeypatch.setattr("msdet.simulation.mixture_files.wav", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left") as error:
        shards(1)
    assert str(shards.output) in str(error.value)
    assert contents(shards.output) == before
    assert not list(shards.output.glob(".*"))


def test_one_that_is_overtaken_by_another_changes_nothing(
    make: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quicker one clears away the attempt of the slower one, which finds its shard there."""
    slow, quick = make(), make()
    render = Shards.render

    def overtaken(self: Shards, scene: Scene) -> Any:
        if self is slow:
            quick(0)
            for left in self.output.glob(".shard-*"):  # as putting together does
                shutil.rmtree(left)
        return render(self, scene)

    monkeypatch.setattr(Shards, "render", overtaken)
    slow(0)
    found = contents(slow.output)
    assert set(found) == {
        *("shards/shard-000000.tar", "files/shard-000000.json", "scenes/shard-000000.jsonl")
    }


def test_a_lost_process_is_replaced(
    make: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = make(audio=False)
    asked: list[list[int]] = []

    def unlucky(build: Any, argument: Shards, items: list[int], **_: Any) -> Any:
        asked.append(list(items))
        for item in items:
            yield build(argument)(item)
            if len(asked) == 1:
                raise BrokenProcessPool

    monkeypatch.setattr(engines_module, "in_processes", unlucky)
    make_locally(shards, shards.missing(), 2)
    assert shards.missing() == []
    assert asked == [[0, 1, 2, 3], [1, 2, 3]]


def test_processes_that_are_always_lost_end_it(
    make: Callable[..., Shards], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise BrokenProcessPool
        yield

    monkeypatch.setattr(engines_module, "in_processes", lost)
    with pytest.raises(InputError, match=r"num_workers=1"):
        make_locally(make(), [0, 1], 2)


def test_metadata_has_a_column_for_every_speaker(
    make: Callable[..., Shards], draw: Callable[..., Any], corpus: Any, tmp_path: Path
) -> None:
    two, three = draw(), draw(SceneConfig(num_speakers=(3, 3)), index=1)
    write_scenes(tmp_path / "some.jsonl", [two, three])
    shards = make(source=open_scenes(tmp_path / "some.jsonl", corpus, "folder"), format="folder")
    make_locally(shards, shards.missing(), 1)
    shards.put_together()
    with (shards.output / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture_ID"] for row in rows] == [two.id, three.id]
    assert (shards.output / rows[0]["mixture_path"]).is_file()
    assert rows[0]["source_3_path"] == rows[0]["azimuth_3"] == ""
    assert (shards.output / rows[1]["source_3_path"]).is_file()
    assert float(rows[1]["azimuth_3"]) == pytest.approx(three.room.speakers[2].azimuth, abs=1e-4)
    assert int(rows[0]["length"]) == two.num_samples


def test_metadata_of_a_conversation_tells_who_is_heard(
    make: Callable[..., Shards], draw: Callable[..., Any], corpus: Any, tmp_path: Path
) -> None:
    talk = SceneConfig(num_speakers=(4, 4), conversation=ConversationRanges(most_heard=2))
    scenes = [draw(talk, index=index, num_samples=3 * 8000) for index in range(12)]
    scene = next(s for s in scenes if len(s.heard) == 2 and s.heard != (0, 1))
    write_scenes(tmp_path / "some.jsonl", [scene])
    shards = make(source=open_scenes(tmp_path / "some.jsonl", corpus, "folder"), format="folder")
    make_locally(shards, shards.missing(), 1)
    shards.put_together()
    with (shards.output / "metadata.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert "source_3_path" not in row
    for number, speaker in enumerate(scene.heard, 1):
        assert (shards.output / row[f"source_{number}_path"]).is_file()
        azimuth = scene.room.speakers[speaker].azimuth
        assert float(row[f"azimuth_{number}"]) == pytest.approx(azimuth, abs=1e-4)


# --- scenes from a file -------------------------------------------------------------------


def test_scenes_of_a_file_are_those_that_it_holds(
    draw: Callable[..., Any], corpus: Any, tmp_path: Path
) -> None:
    scenes = [draw(index=index) for index in range(4)]
    path = tmp_path / "scenes.jsonl"
    write_scenes(path, scenes)
    path.write_text("\n" + path.read_text().replace("\n", "\n\n"))  # blank lines do no harm
    assert sample_rate_of(path) == 8000
    source = open_scenes(path, corpus, "tar")
    assert len(source) == 4
    assert source.read([2, 0]) == [scenes[2], scenes[0]]


def test_a_file_that_cannot_be_rendered_is_refused(
    draw: Callable[..., Any], corpus: Any, tmp_path: Path
) -> None:
    path = tmp_path / "scenes.jsonl"
    with pytest.raises(InputError, match=r"scenes\.jsonl: cannot be read"):
        sample_rate_of(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="holds no scenes"):
        sample_rate_of(path)
    path.write_bytes(b"\xff\xfe garbage")
    with pytest.raises(InputError, match="cannot be read"):
        sample_rate_of(path)
    path.write_text("garbage\n")
    with pytest.raises(InputError, match=r"scenes\.jsonl:1"):
        sample_rate_of(path)

    def says(*scenes: Any) -> str:
        write_scenes(path, scenes)
        with pytest.raises(InputError) as error:
            open_scenes(path, corpus, "tar")
        assert "\n" not in str(error.value)
        return str(error.value)

    good = draw()
    assert ":2: sample_rate: 16000" in says(good, good.model_copy(update={"sample_rate": 16000}))
    assert "comes twice" in says(good, good)
    assert "cannot name files" in says(good.model_copy(update={"id": "../up"}))
    assert "drawn from corpus" in says(good.model_copy(update={"corpus": "ffff"}))
