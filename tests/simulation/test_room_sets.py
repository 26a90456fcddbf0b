# SPDX-License-Identifier: Apache-2.0
"""Banks: rooms and responses made ahead, for whoever trains with the same ranges."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msdet.commands.bank import BankConfig, make_bank
from msdet.errors import InputError
from msdet.geometry import Circle, MicrophoneArray
from msdet.parsing import parse
from msdet.simulation import SceneConfig, compute_rirs
from msdet.simulation.bank import BANK_NAME, open_bank, shaping

RATE = 8000
SCENE: dict[str, Any] = {"rirs": "anechoic", "t60": [0.2, 0.3]}


def asked(folder: Path, **changes: Any) -> BankConfig:
    return parse(
        BankConfig,
        {
            "output": str(folder),
            "seed": 3,
            "sample_rate": RATE,
            "split": "train",
            "num_rooms": 4,
            "num_workers": 1,
            "array": {"shape": "circle", "num_mics": 4, "radius": 0.05},
            "scene": SCENE,
            **changes,
        },
    )


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    make_bank(asked(tmp_path / "bank"))
    return tmp_path / "bank"


def opened(folder: Path, array: MicrophoneArray, scene: Any = None, rate: int = RATE) -> Any:
    return open_bank(folder, SceneConfig.model_validate(scene or SCENE), array, rate)


def responses(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.rirs")}


def test_a_bank_hands_out_its_rooms(bank: Path, circle: MicrophoneArray) -> None:
    rooms, rirs = opened(bank, circle)
    assert len(rooms) == len(list(rooms)) == len(responses(bank)) == 4
    before = responses(bank)
    for room in rooms:
        np.testing.assert_array_equal(rirs.get(room).image, compute_rirs(room, circle, RATE).image)
    assert responses(bank) == before  # nothing had to be made


def test_what_does_not_shape_rooms_may_differ(bank: Path, circle: MicrophoneArray) -> None:
    other = {**SCENE, "snr_db": [0, 1], "target": "early", "background": {"kinds": ["diffuse"]}}
    assert list(opened(bank, circle, other)[0]) == list(opened(bank, circle)[0])
    point = SceneConfig.model_validate({"background": {"kinds": ["point"]}})
    assert "sources" in shaping(point)["background"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t60": [0.3, 0.4]}, r"scene\.t60 was \[0\.2, 0\.3\], is \[0\.3, 0\.4\]"),
        ({"rirs": "hybrid"}, r"scene\.rirs was 'anechoic', is 'hybrid'"),
        ({"speaker": {"distance": [1, 2]}}, r"scene\.speaker\.distance was \[0\.7, 2\.5\], is"),
        (
            {"background": {"kinds": ["point"]}},
            r"scene\.background\.kinds was 'without point', is 'with",
        ),
        ({"imperfections": {"tilt": 2}}, r"scene\.imperfections\.tilt was 0\.0, is 2\.0"),
    ],
)
def test_other_rooms_are_refused(
    changes: dict[str, Any], message: str, bank: Path, circle: MicrophoneArray
) -> None:
    with pytest.raises(InputError, match=rf"data\.bank=.*bank: {message}"):
        opened(bank, circle, {**SCENE, **changes})


def test_another_array_or_rate_is_refused(bank: Path, circle: MicrophoneArray) -> None:
    six = Circle(shape="circle", num_mics=6, radius=0.05).build()
    with pytest.raises(
        InputError, match=r"was made for array .* of 4 microphones, not for .* of 6"
    ):
        opened(bank, six)
    with pytest.raises(InputError, match=r"was made for 8000 Hz, sample_rate=16000"):
        opened(bank, circle, rate=16000)


def test_what_is_no_bank_is_refused(tmp_path: Path, circle: MicrophoneArray) -> None:
    with pytest.raises(InputError, match=r"data\.bank=.*nowhere: has no bank\.json; make a bank"):
        opened(tmp_path / "nowhere", circle)
    (tmp_path / BANK_NAME).write_text("{}")
    with pytest.raises(InputError, match=r"bank\.json: array"):
        opened(tmp_path, circle)
    (tmp_path / BANK_NAME).write_text("not json")
    with pytest.raises(InputError, match=r"bank\.json: is damaged.*make it again"):
        opened(tmp_path, circle)


def test_a_bank_goes_on_and_grows(bank: Path) -> None:
    before = responses(bank)
    first = next(iter(before))
    (bank / first).unlink()
    make_bank(asked(bank, num_rooms=6))
    assert responses(bank).items() > before.items()
    assert len(responses(bank)) == 6
    make_bank(asked(bank, num_rooms=2))  # fewer were asked for; none is taken away
    assert json.loads((bank / BANK_NAME).read_text())["num_rooms"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "holds another bank .seed was 3, is 4"),
        ({"sample_rate": 16000}, "holds another bank .sample_rate was 8000, is 16000"),
        ({"array": {"shape": "line", "num_mics": 4, "spacing": 0.04}}, "holds another bank .array"),
        (
            {"scene": {**SCENE, "rirs": "exact"}},
            r"holds another bank .scene\.rirs was 'anechoic'",
        ),
    ],
)
def test_another_bank_is_not_written_over(
    changes: dict[str, Any], message: str, bank: Path
) -> None:
    before = responses(bank), (bank / BANK_NAME).read_text()
    with pytest.raises(InputError, match=message):
        make_bank(asked(bank, **changes))
    assert (responses(bank), (bank / BANK_NAME).read_text()) == before


def test_other_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file; choose another"):
        make_bank(asked(tmp_path / "file"))
    with pytest.raises(InputError, match=r"is not empty and holds no bank\.json"):
        make_bank(asked(tmp_path))
    with pytest.raises(InputError, match="cannot be written"):
        make_bank(asked(tmp_path / "file" / "below"))


def test_another_version_is_told(
    bank: Path, circle: MicrophoneArray, caplog: pytest.LogCaptureFixture
) -> None:
    content = json.loads((bank / BANK_NAME).read_text())
    (bank / BANK_NAME).write_text(json.dumps({**content, "method": "older"}))
    with caplog.at_level(logging.WARNING):
        opened(bank, circle)
    assert "was made with another version (older" in caplog.text
