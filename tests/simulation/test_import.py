# SPDX-License-Identifier: Apache-2.0
"""Scenes made elsewhere: what a description says is what is rendered, and mistakes are named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from msdet.commands.import_scenes import ImportConfig, import_scenes, pose
from msdet.commands.simulate import SimulateConfig
from msdet.composing import compose
from msdet.corpora import Corpus, FolderConfig, open_corpus
from msdet.errors import InputError
from msdet.geometry import angular_error
from msdet.parsing import parse
from msdet.simulation import (
    Scene,
    check_corpus,
    check_scene_config,
    compute_rirs,
    draw_room,
    read_scenes,
    render,
    render_parts,
)
from msdet.simulation.config import MOST_SPEAKERS
from msdet.simulation.descriptions import SceneDescription
from msdet.simulation.rooms import random_generator

RATE = 8000
DEFAULTS = parse(ImportConfig, compose("import", ["scenes=a.json", "output=b"]))
SECONDS = {"ann": 1.5, "bob": 1.0, "eve": 0.8}
MICS = [[3.05, 2.0, 1.2], [3.0, 2.05, 1.2], [2.95, 2.0, 1.2], [3.0, 1.95, 1.2]]


def described(**changes: Any) -> dict[str, Any]:
    """A scene in msdet's words: two people, to the east and to the north of an array."""
    scene: dict[str, Any] = {
        "id": "office-1",
        "room_size": [6.0, 5.0, 3.0],
        "t60": 0.25,
        "microphones": MICS,
        "speakers": [
            {"position": [4.5, 2.0, 1.2], "file": "speech/ann.wav", "speaker": "ann"},
            {"position": [3.0, 3.5, 1.2], "file": "speech/bob.wav", "speaker": "bob"},
        ],
        "snr_db": 20.0,
    }
    return scene | changes


def sms_wsj(**changes: Any) -> dict[str, Any]:
    """The same place in SMS-WSJ's words, with what its files hold besides."""
    files = [f"speech/{name}.wav" for name in ("ann", "bob")]
    scene: dict[str, Any] = {
        "room_dimensions": [[6.0], [5.0], [3.0]],
        "sound_decay_time": 0.25,
        "source_position": [[4.5, 3.0], [2.0, 3.5], [1.2, 1.2]],
        "sensor_position": np.transpose(MICS).tolist(),
        "example_id": "0",
        "num_speakers": 2,
        "speaker_id": ["ann", "bob"],
        "gender": ["female", "male"],
        "kaldi_transcription": ["ONE", "TWO"],
        "log_weights": [1.5, -1.5],
        "num_samples": {"original_source": [12000, 8000], "observation": 12000},
        "offset": [0, 2500],
        "snr": 25.0,
        "audio_path": {"original_source": files, "rir": ["h_0.wav", "h_1.wav"]},
    }
    return scene | changes


@dataclass(frozen=True)
class Imported:
    folder: Path
    scenes: tuple[Scene, ...]
    corpus: Corpus


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``speech/NAME.wav``: noise in syllables, no two alike."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "speech").mkdir()
    for seed, (name, seconds) in enumerate(SECONDS.items()):
        rng = np.random.default_rng(seed)
        syllables = np.repeat(rng.gamma(2.0, 0.5, round(seconds * 10)), RATE // 10)
        audio = 0.05 * rng.standard_normal(len(syllables)) * syllables
        soundfile.write(folder / "speech" / f"{name}.wav", audio, RATE, subtype="FLOAT")
    return folder


@pytest.fixture
def bring(speech: Path, tmp_path: Path) -> Callable[..., Imported]:
    """Import a file of these records, and read back what was written."""

    def brought(content: object, **changes: Any) -> Imported:
        path = speech / f"{tmp_path.name}.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        folder = tmp_path / "imported"
        keys = {"scenes": str(path), "output": str(folder), "sample_rate": RATE} | changes
        config = parse(ImportConfig, compose("import", [f"{k}={v}" for k, v in keys.items()]))
        import_scenes(config)
        opened = open_corpus(FolderConfig(path=str(folder)), config.sample_rate)
        return Imported(folder, read_scenes(folder / "scenes.jsonl"), opened.split(config.split))

    return brought


# --- what comes of a description ----------------------------------------------------------


def test_a_scene_is_what_its_description_says(bring: Callable[..., Imported]) -> None:
    imported = bring([described()])
    (scene,) = imported.scenes
    check_corpus(imported.scenes, imported.corpus)
    assert (scene.id, scene.split, scene.index) == ("office-1", "test", 0)
    np.testing.assert_allclose(scene.room.microphones(scene.microphone_array()), MICS, atol=1e-9)
    assert [s.azimuth for s in scene.room.speakers] == pytest.approx([0.0, 90.0], abs=1e-6)
    assert [s.distance for s in scene.room.speakers] == pytest.approx([1.5, 1.5])
    assert [imported.corpus.by_id(c.utterance).speaker for c in scene.speech] == ["ann", "bob"]
    assert [(c.offset, c.onset, c.length) for c in scene.speech] == [(0, 0, 12000), (0, 0, 8000)]
    assert scene.num_samples == 12000
    assert (scene.noise.snr_db, scene.target, scene.reference_mic) == (20.0, "direct", 0)
    assert (scene.room.t60, scene.room.rirs) == (0.25, "exact")


def test_an_imported_scene_renders(bring: Callable[..., Imported]) -> None:
    imported = bring([described(), described(id="free", t60=0)])
    for scene in imported.scenes:
        rirs = compute_rirs(scene.room, scene.microphone_array(), RATE)
        example = render(scene, imported.corpus, rirs)
        parts = render_parts(scene, imported.corpus, rirs)
        assert example.mixture.shape == (4, 12000)
        speech_power = np.mean(parts.images.sum(axis=0)[0] ** 2)
        noise_power = np.mean(parts.noise[0] ** 2)
        assert 10 * np.log10(speech_power / noise_power) == pytest.approx(20.0, abs=0.05)
    free = imported.scenes[1]
    assert free.room.rirs == "anechoic"
    # Nothing but the direct paths: the targets and the noise are all of the mixture.
    left = example.mixture[0] - example.targets.sum(axis=0) - parts.noise[0]
    assert np.abs(left).max() < 1e-4 * np.abs(example.mixture[0]).max()


def test_times_levels_and_defaults(bring: Callable[..., Imported]) -> None:
    scene = described(seconds=1.25, target="early", reference_mic=3)
    del scene["snr_db"], scene["id"]
    first, second = scene["speakers"]
    first |= {"offset_seconds": 0.5, "seconds": 0.75, "level_db": 2.0}
    second |= {"onset_seconds": 0.5, "level_db": -1.0}
    imported = bring({"scenes": [scene]}, snr_db=33, target="image", split="valid", rirs="hybrid")
    (found,) = imported.scenes
    assert [(c.offset, c.onset, c.length) for c in found.speech] == [
        (4000, 0, 6000),
        (0, 4000, 6000),
    ]
    assert [c.level_db for c in found.speech] == [0.0, -3.0], "relative to the first"
    assert found.num_samples == 10000
    assert (found.id, found.split, found.room.rirs) == ("scene-000001", "valid", "hybrid")
    assert (found.noise.snr_db, found.target, found.reference_mic) == (33.0, "early", 3)


@settings(deadline=None)
@given(
    turn=st.floats(-360, 360),
    rotation=st.floats(-360, 360),
    sources=st.lists(
        st.tuples(st.floats(0, 360), st.floats(0.5, 2), st.floats(-0.5, 0.5)),
        min_size=2,
        max_size=3,
    ),
)
def test_labels_turn_with_the_array_s_rotation(
    turn: float, rotation: float, sources: list[tuple[float, float, float]]
) -> None:
    """In the frame that ``array_rotation`` gives, an array looks the same however it is turned."""
    centre = np.array([4.0, 4.0, 1.5])

    def at(degrees: float, radius: float, height: float) -> list[float]:
        a = np.radians(degrees + turn)
        return np.add(centre, [radius * np.cos(a), radius * np.sin(a), height]).tolist()

    record = SceneDescription.model_validate(
        {
            "id": "a",
            "room_size": [8, 8, 3],
            "t60": 0.3,
            "microphones": [at(d, 0.1, 0) for d in (0, 70, 180, 200)],
            "speakers": [{"position": at(*s), "file": "a.wav"} for s in sources],
            "array_rotation": rotation,
        }
    )
    array, room = pose(record, DEFAULTS.rirs)
    np.testing.assert_allclose(room.microphones(array), record.microphones, atol=1e-8)
    # The mean of these microphones, not the circle's centre, is where the array is.
    offset = np.subtract([s.position for s in record.speakers], room.array_centre)
    bearing = np.degrees(np.arctan2(offset[:, 1], offset[:, 0])) - rotation
    labels = [s.azimuth for s in room.speakers]
    assert angular_error(labels, bearing).max() < 1e-6


def test_one_array_is_the_same_wherever_it_stands(bring: Callable[..., Imported]) -> None:
    moved = described(id="b", microphones=np.add(MICS, [0.123, 0.456, 0.1]).tolist())
    first, second = bring([described(), moved]).scenes
    assert first.array == second.array


def test_a_line_has_a_line_s_labels(bring: Callable[..., Imported]) -> None:
    line = [[2.9 + 0.05 * m, 2.0, 1.2] for m in range(5)]
    (scene,) = bring([described(microphones=line)]).scenes
    assert scene.microphone_array().is_linear
    assert [s.azimuth for s in scene.room.speakers] == pytest.approx([0.0, 90.0], abs=1e-4)


def test_a_description_that_moves_with_its_speech_stays_the_same(
    bring: Callable[..., Imported], speech: Path, tmp_path: Path
) -> None:
    here = bring([described()])
    for file in (speech / "speech").iterdir():
        (tmp_path / "speech").mkdir(exist_ok=True)
        (tmp_path / "speech" / file.name).write_bytes(file.read_bytes())
    moved = tmp_path / "scenes.json"
    moved.write_text(json.dumps([described()]))
    keys = [f"scenes={moved}", f"output={tmp_path / 'there'}", f"sample_rate={RATE}"]
    import_scenes(parse(ImportConfig, compose("import", keys)))
    assert read_scenes(tmp_path / "there" / "scenes.jsonl") == here.scenes


def test_other_rates_and_several_channels(
    bring: Callable[..., Imported], speech: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ann, _ = soundfile.read(speech / "speech" / "ann.wav")
    soundfile.write(speech / "stereo.wav", np.stack([ann, -ann], 1), 2 * RATE, subtype="FLOAT")
    scene = described()
    scene["speakers"][0]["file"] = "stereo.wav"
    imported = bring([scene])
    assert imported.scenes[0].speech[0].length == 6000, "half as long at twice the rate"
    assert "1 speech files have several channels: the first is taken" in caplog.text
    heard = imported.corpus.read(imported.corpus.by_id("stereo.wav"))
    again = np.interp(np.arange(6000) * 2, np.arange(12000), ann)
    assert np.corrcoef(heard, again)[0, 1] > 0.5, "not the second channel, which is its negative"


def test_the_documentation_s_example_is_a_description() -> None:
    page = Path(__file__).parents[2] / "docs" / "simulation_import.md"
    (example,) = re.findall(r"```json\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for record in json.loads(example):
        _, room = pose(SceneDescription.model_validate(record), DEFAULTS.rirs)
        assert len(room.speakers) == 2


# --- SMS-WSJ ------------------------------------------------------------------------------


def test_sms_wsj_says_the_same(bring: Callable[..., Imported]) -> None:
    data = {"datasets": {"train_si284": {}, "test_eval92": {"0_ann_bob": sms_wsj()}}}
    imported = bring(data)
    (scene,) = imported.scenes
    assert scene.id == "0_ann_bob"
    assert [s.azimuth for s in scene.room.speakers] == pytest.approx([0.0, 90.0], abs=1e-6)
    assert (scene.room.size, scene.room.t60) == ((6.0, 5.0, 3.0), 0.25)
    assert [(c.offset, c.onset, c.length) for c in scene.speech] == [
        (0, 0, 12000),
        (0, 2500, 8000),
    ]
    assert (scene.num_samples, scene.noise.snr_db) == (12000, 25.0)


@pytest.mark.parametrize("weights", [[1.5, -1.5], [-2.0, 2.0]])
def test_sms_wsj_weights_are_levels_over_the_whole_mixture(
    bring: Callable[..., Imported], weights: list[float]
) -> None:
    imported = bring([sms_wsj(id="a", log_weights=weights)])
    (scene,) = imported.scenes
    rirs = compute_rirs(scene.room, scene.microphone_array(), RATE)
    images = render_parts(scene, imported.corpus, rirs).images
    powers = 10 * np.log10(np.mean(images[:, scene.reference_mic] ** 2, axis=-1))
    # The second speaker's reverberation goes on behind the speech: a little more than was set.
    assert powers[1] - powers[0] == pytest.approx(weights[1] - weights[0], abs=0.1)


def test_sms_wsj_data_sets_are_its_splits(bring: Callable[..., Imported]) -> None:
    data = {"datasets": {"cv_dev93": {"v": sms_wsj()}, "test_eval92": {"t": sms_wsj()}}}
    assert [s.id for s in bring(data, split="valid").scenes] == ["v"]
    with pytest.raises(InputError, match="'train_si284', there are cv_dev93, test_eval92"):
        bring(data, split="train", output="elsewhere")


@pytest.fixture(scope="module")
def preset() -> SimulateConfig:
    keys = ["scene=sms_wsj", "array=sms_wsj", "output=a", "sample_rate=8000"]
    return parse(SimulateConfig, compose("simulate", keys))


def test_the_preset_draws_what_sms_wsj_publishes(preset: SimulateConfig) -> None:
    array = preset.array.build()
    check_scene_config(preset.scene, array)
    rooms = [draw_room(preset.scene, array, random_generator(i)) for i in range(400)]
    centres = np.array([room.array_centre for room in rooms])
    # Within 0.2 m of the middle, which is itself within 0.1 m of (4, 3).
    assert np.abs(centres - [4.0, 3.0, 1.5]).max(axis=0) == pytest.approx([0.3, 0.3, 0.2], abs=0.05)
    assert all(s.position[2] == r.array_centre[2] for r in rooms for s in r.speakers)
    distance = np.array([s.distance for room in rooms for s in room.speakers])
    assert (distance.min(), distance.max()) == pytest.approx((1.0, 2.0), abs=0.02)
    assert np.mean(distance**2) == pytest.approx(2.5, abs=0.1), "even over the area"
    between = [angular_error(*(s.azimuth for s in room.speakers)) for room in rooms]
    assert np.mean(np.array(between) < 15) == pytest.approx(15 / 180, abs=0.04), "independent"
    lean = np.array([plane_of(room.microphones(array)) for room in rooms])
    assert 3.0 < lean.max() <= np.hypot(3.6, 3.6)
    np.testing.assert_allclose(np.linalg.norm(array.as_array(), axis=1), 0.1)


def plane_of(points: np.ndarray) -> float:
    """Angle of a plane of microphones to the floor, degrees."""
    normal = np.linalg.svd(points - points.mean(axis=0))[2][-1]
    return float(np.degrees(np.arccos(min(1.0, abs(normal[2])))))


# --- mistakes -----------------------------------------------------------------------------


def speaker(number: int, **changes: Any) -> dict[str, Any]:
    """The scene with something else about a speaker."""
    scene = described()
    scene["speakers"][number] |= changes
    return scene


WHERE = "scene 1 ('office-1'): "
BAD_SCENES: list[tuple[object, str]] = [
    (described(microphones=[*MICS[:3], [3.0, 5.2, 1.2]]), WHERE + "microphones.3: 3 x 5.2 x 1.2 m"),
    (described(microphones=MICS[:1]), WHERE + "microphones"),
    (described(microphones=[*MICS, MICS[0]]), WHERE + "microphones: .* same place"),
    (described(microphones=[[1, 2], [3, 4]]), WHERE + "microphones.0"),
    (described(microphones=None), WHERE + "microphones"),
    (speaker(1, position=[3.0, 5.0, 1.2]), WHERE + "speakers.1: .* is not inside the room"),
    (speaker(0, position=[4.5, 2.0, -1.0]), WHERE + "speakers.0: .* is not inside the room"),
    (speaker(0, position=[3.0, 2.0, 2.0]), WHERE + "speakers.0.position: .* no azimuth"),
    (speaker(0, position=MICS[2]), WHERE + "speakers.0.position: is that of a microphone"),
    (speaker(0, position=[4.5, 2.0, float("nan")]), WHERE + "speakers.0.position.2=nan"),
    (speaker(0, position="door"), WHERE + "speakers.0.position='door'"),
    (
        speaker(0, file="speech/none.wav"),
        WHERE + "speakers.0.file: .*none.wav: the file is missing",
    ),
    (speaker(0, file="speech"), WHERE + "speakers.0.file: .* is a folder"),
    (speaker(0, file="text.wav"), WHERE + "speakers.0.file: .*text.wav: cannot be read as audio"),
    (speaker(0, file="empty.wav"), WHERE + "speakers.0.file: .*empty.wav: holds no samples"),
    (speaker(0, file="silent.wav"), WHERE + "speakers.0.file: .*silent.wav: is silent"),
    (speaker(0, file="nan.wav"), WHERE + "speakers.0.file: .*nan.wav: holds NaN"),
    (speaker(0, file="low.wav"), WHERE + "speakers.0.file: .*low.wav: is at 4000 Hz"),
    (speaker(1, speaker="ann"), WHERE + "speakers.0.speaker='ann': all files are of this speaker"),
    (speaker(1, file="speech/ann.wav"), WHERE + "speakers.1.speaker='bob': the same file"),
    (speaker(0, seconds=1.6), WHERE + "speakers.0: seconds=1.6: speech/ann.wav has 1.500 s"),
    (speaker(0, offset_seconds=2), WHERE + "speakers.0: offset_seconds=2: .* lasts 1.500 s"),
    (speaker(0, offset_seconds=-1), WHERE + "speakers.0.offset_seconds=-1"),
    (speaker(0, level="loud"), WHERE + "speakers.0.level='loud'"),
    (speaker(0, level_db="3"), WHERE + "speakers.0.level_db='3'"),
    (speaker(0, level_db=10**400), WHERE + "speakers.0.level_db"),
    (speaker(0, file="late.wav", seconds=0.2), WHERE + "speakers.0: late.wav is silent from 0.000"),
    (described(speakers=described()["speakers"][:1]), WHERE + "speakers"),
    (described(seconds=0.5) | {"speakers": speaker(0, onset_seconds=0.6)["speakers"]}, "over then"),
    (described(seconds="long"), WHERE + "seconds='long'"),
    (
        described(t60=0.02),
        WHERE + "t60=0.02: not reachable in a room of 6 x 5 x 3 m, at least 0.116 s is",
    ),
    (described(snr_db=101), WHERE + "snr_db=101: .* less than or equal to 100"),
    (speaker(1, level_db=-1e5), WHERE + "speakers.1.level_db=-100000.0: .* equal to -100"),
    (
        described(speakers=3 * described()["speakers"][:2]),
        WHERE + f"speakers: .* at most {MOST_SPEAKERS}",
    ),
    (described(t60=5.0), WHERE + "t60=5: too long .* rirs=hybrid"),
    (described(t60=-0.2), WHERE + "t60=-0.2"),
    (described(room_size=[6, 5]), WHERE + "room_size"),
    (described(room_size=[6, 5, 0]), WHERE + "room_size.2=0"),
    (described(reference_mic=4), WHERE + "reference_mic=4: there are microphones 0 to 3"),
    (described(target="dry"), WHERE + "target='dry'"),
    (described(snr_db=True), WHERE + "snr_db=True"),
    (described(colour="red"), WHERE + "colour='red'"),
    (described(id="../up"), "id='../up': String should match"),
    (described(id="a.b"), "id='a.b': String should match"),
    (described(id=""), "id='': String should match"),
    ("office", 'scene 1: expected an object with keys, got "office"'),
    (sms_wsj(id="a", source_position=[[1, 2], [1], [1, 2]]), "is not as SMS-WSJ's examples are"),
    (sms_wsj(id="a", speaker_id=["ann"]), "speaker_id: is of 1 speakers, the files of 2"),
    (sms_wsj(id="a", audio_path={}), "has no 'original_source', which SMS-WSJ"),
    (sms_wsj(id="a", offset=[0, -3]), "speakers.1.onset_seconds=-"),
    (sms_wsj(id="a", sensor_position=[[1, 2], [1, 2], [1, 9]]), "microphones.1: .* not inside"),
]


@pytest.fixture
def bad_audio(speech: Path) -> None:
    """Files that are no speech."""
    (speech / "text.wav").write_text("RIFF, so to speak")
    files = {
        "empty": np.zeros(0),
        "silent": np.zeros(RATE),
        "nan": np.full(RATE, np.nan),
        "low": 0.1 * np.random.default_rng(5).standard_normal(RATE),
        "late": np.r_[np.zeros(RATE), 0.1 * np.random.default_rng(6).standard_normal(RATE)],
    }
    for name, audio in files.items():
        rate = RATE // 2 if name == "low" else RATE
        soundfile.write(speech / f"{name}.wav", audio, rate, subtype="FLOAT")


@pytest.mark.usefixtures("bad_audio")
@pytest.mark.parametrize(
    ("scene", "says"), BAD_SCENES, ids=[says.removeprefix(WHERE) for _, says in BAD_SCENES]
)
def test_mistakes_are_named_and_leave_nothing(
    bring: Callable[..., Imported], tmp_path: Path, scene: object, says: str
) -> None:
    says = says.replace(WHERE, r"scene 1 \('office-1'\): ")
    with pytest.raises(InputError, match=says) as caught:
        bring([scene])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [], "nothing was written"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "not JSON"),
        ("office, two people", "not JSON .* line 1, column 1"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "holds no scenes"),
        ({"scenes": []}, "holds no scenes"),
        ({"rooms": []}, "expected a list of scenes.*rooms"),
        ("3", "expected a list of scenes.*got 3"),
        ({"datasets": {}}, "split=test is SMS-WSJ's 'test_eval92', there are none"),
        ([described(), described()], r"scene 2 \('office-1'\): scene 1 has this id too"),
    ],
    ids=str,
)
def test_files_that_are_no_descriptions(
    bring: Callable[..., Imported], content: object, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        bring(content)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(bring: Callable[..., Imported], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: cannot be read"):
        bring([], scenes=tmp_path / "gone.json")
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match=r"binary\.json: cannot be read"):
        bring([], scenes=tmp_path / "binary.json")


@pytest.mark.parametrize("snr_db", ["101", "-1e9", "nan"])
def test_the_command_s_snr_is_checked_too(
    bring: Callable[..., Imported], tmp_path: Path, snr_db: str
) -> None:
    with pytest.raises(InputError, match="snr_db=") as caught:
        bring([described()], snr_db=snr_db)
    assert "100" in str(caught.value) or "finite" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(bring: Callable[..., Imported], tmp_path: Path) -> None:
    folder = bring([described()]).folder
    before = {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(InputError, match="is not empty"):
        bring([described()])
    assert {path: path.lstat().st_mtime_ns for path in folder.rglob("*")} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        bring([described()], output=tmp_path / "file")
    with pytest.raises(InputError, match="cannot be written"):
        bring([described()], output=tmp_path / "file" / "deeper")
