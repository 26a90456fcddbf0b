# SPDX-License-Identifier: Apache-2.0
"""Files of scenes, plain and compressed, hold the same and are read alike."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from msdet.corpora import FolderConfig, open_corpus
from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import Scene, SceneConfig, check_corpus, read_scenes, write_scenes
from msdet.simulation.chosen_scenes import chosen_rooms, to_seam, widest_angle
from msdet.simulation.config import BackgroundRanges, SpeakerRanges
from msdet.simulation.scene_files import open_scenes, sample_rate_of

Draw = Callable[..., Scene]


@pytest.fixture
def scenes(draw: Draw) -> tuple[Scene, ...]:
    return tuple(draw(index=index) for index in range(5))


def test_compressed_scenes_are_the_same_scenes(scenes: tuple[Scene, ...], tmp_path: Path) -> None:
    plain, compressed = tmp_path / "scenes.jsonl", tmp_path / "scenes.jsonl.xz"
    for path in (plain, compressed):
        write_scenes(path, scenes)
    assert read_scenes(compressed) == read_scenes(plain) == scenes
    assert lzma.decompress(compressed.read_bytes()) == plain.read_bytes()
    assert compressed.stat().st_size < plain.stat().st_size / 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scenes.jsonl", "scenes.jsonl.xz"]


def test_the_same_scenes_give_the_same_bytes(scenes: tuple[Scene, ...], tmp_path: Path) -> None:
    written = []
    for name in ("a.jsonl.xz", "b.jsonl.xz"):
        write_scenes(tmp_path / name, scenes)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_compressed_scenes_can_be_rendered(
    scenes: tuple[Scene, ...], corpus: Any, tmp_path: Path
) -> None:
    plain, compressed = tmp_path / "scenes.jsonl", tmp_path / "scenes.jsonl.xz"
    for path in (plain, compressed):
        write_scenes(path, scenes)
    assert sample_rate_of(compressed) == scenes[0].sample_rate
    source = open_scenes(compressed, corpus, "folder")
    assert source.read([4, 0, 2]) == [scenes[4], scenes[0], scenes[2]]
    assert source.request() == open_scenes(plain, corpus, "folder").request()


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[:-40], lambda b: b"x" + b, lambda b: b""],
    ids=["cut", "another format", "empty"],
)
def test_damage_is_named(
    spoil: Callable[[bytes], bytes], scenes: tuple[Scene, ...], corpus: Any, tmp_path: Path
) -> None:
    path = tmp_path / "scenes.jsonl.xz"
    write_scenes(path, scenes)
    path.write_bytes(spoil(path.read_bytes()))
    for read in (read_scenes, lambda path: open_scenes(path, corpus, "folder")):
        with pytest.raises(InputError, match=r"scenes\.jsonl\.xz: cannot be read as a file of"):
            read(path)


def test_a_bad_row_of_compressed_scenes_is_named(scenes: tuple[Scene, ...], tmp_path: Path) -> None:
    path = tmp_path / "scenes.jsonl.xz"
    path.write_bytes(lzma.compress(f"{scenes[0].model_dump_json()}\n{{}}\n".encode()))
    with pytest.raises(InputError, match=r"scenes\.jsonl\.xz:2: id: Field required"):
        read_scenes(path)


# --- the corpus of scenes -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, corpus: Any) -> Path:
    """A corpus on the disk, with the voices of the one in memory."""
    import soundfile

    root = tmp_path / "voices"
    for number in range(6):
        place = root / f"speaker{number}"
        place.mkdir(parents=True)
        audio = corpus.audio[f"s{number % 5}-0"] * (1 + number)
        soundfile.write(place / "a.wav", audio, corpus.sample_rate)
    return root


def opened(folder: Path) -> Any:
    config = FolderConfig(path=str(folder), cache=str(folder.with_name("cache")))
    return open_corpus(config, 8000)


def test_audio_that_is_missing_or_changed_is_named(folder: Path, draw: Draw) -> None:
    corpus = opened(folder).split("test")
    scene = draw(corpus=corpus, split="test")
    check_corpus([scene], corpus)
    path = folder / corpus.utterances[0].path
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"a\.wav: has .* bytes, the manifest says"):
        opened(folder)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.wav: the audio file is missing; delete .*listed"):
        opened(folder)
    path.write_bytes(content[:-100])
    for manifest in folder.with_name("cache").iterdir():
        manifest.unlink()
    listed = opened(folder).split("test")
    with pytest.raises(InputError, match=f"drawn from corpus {corpus.fingerprint}, but 'folder' "):
        check_corpus([scene], listed)


def test_another_corpus_says_which_and_what_to_do(
    draw: Draw, corpus: Any, make_corpus: Callable[..., Any]
) -> None:
    other = make_corpus(corpus.audio, fingerprint="ffff")
    wanted = r"drawn from corpus 0123abcd, but 'memory' is ffff; open the one .*\(corpus=\), or"
    with pytest.raises(InputError, match=wanted):
        check_corpus([draw()], other)


def test_speakers_of_another_split_are_noticed(folder: Path, draw: Draw) -> None:
    corpus = opened(folder)
    scene = draw(corpus=corpus.split("test"), split="test")
    with pytest.raises(InputError, match=r"scene test-e000-000000: .*is of the split 'test'\)"):
        check_corpus([scene], corpus.split("valid"))


def test_voices_of_a_babble_are_looked_up(draw: Draw, folder: Path) -> None:
    corpus = opened(folder).split("test")
    scene = draw(
        SceneConfig(background=BackgroundRanges(kinds=("babble",))), corpus=corpus, split="test"
    )
    check_corpus([scene], corpus)
    assert scene.background is not None
    talkers = tuple(
        crop.model_copy(update={"utterance": "gone"}) for crop in scene.background.talkers
    )
    other = scene.background.model_copy(update={"talkers": talkers})
    with pytest.raises(InputError, match=r"scene test-e000-000000: .* has no utterance 'gone'"):
        check_corpus([scene.model_copy(update={"background": other})], corpus)


# --- chosen rooms -------------------------------------------------------------------------


def test_rooms_are_drawn_until_enough_hold(circle: MicrophoneArray) -> None:
    def drawn(count: int, seed: int = 0) -> list[Any]:
        chosen = chosen_rooms(
            SceneConfig(),
            circle,
            lambda room: min(to_seam(room)) < 15,
            seed=seed,
            key=(2, 5),
            count=count,
            asked="some",
        )
        return [room for _, room in chosen]

    rooms = drawn(6)
    assert len(rooms) == 6
    assert all(min(to_seam(room)) < 15 for room in rooms)
    assert drawn(3) == rooms[:3], "how many are asked for does not change which they are"
    assert drawn(3, seed=1) != rooms[:3]
    assert drawn(0) == []


def test_what_cannot_be_found_is_refused(circle: MicrophoneArray) -> None:
    near = SceneConfig(speaker=SpeakerRanges(azimuth=(0.0, 90.0)))
    rooms = chosen_rooms(
        near, circle, lambda r: widest_angle(r) > 165, seed=0, key=(1,), count=1, asked="scenes=1"
    )
    with pytest.raises(InputError, match=r"scenes=1: not found among 300 rooms"):
        list(rooms)


def test_angles_of_a_room(draw: Draw) -> None:
    room = draw(SceneConfig(num_speakers=(3, 3))).room
    azimuths: NDArray[Any] = np.array([s.azimuth for s in room.speakers])
    gaps = np.abs((azimuths[:, None] - azimuths + 180) % 360 - 180)
    assert widest_angle(room) == pytest.approx(gaps.max())
    np.testing.assert_allclose(to_seam(room), np.minimum(azimuths, 360 - azimuths))
    assert widest_angle(draw(SceneConfig(num_speakers=(1, 1))).room) == 0.0
