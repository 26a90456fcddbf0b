# SPDX-License-Identifier: Apache-2.0
"""Impossible requests are refused by name before anything is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from msdet.errors import InputError
from msdet.geometry import MicrophoneArray
from msdet.simulation import SceneConfig, check_scene_config, compute_rirs, draw_room
from msdet.simulation.checks import check_ranges
from msdet.simulation.config import sabine_absorption
from msdet.simulation.rooms import random_generator


def test_the_quickstart_task_is_possible(circle: MicrophoneArray, line: MicrophoneArray) -> None:
    check_scene_config(SceneConfig(), circle)
    check_scene_config(SceneConfig(), line)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t60": [0.05, 0.1]}, r"scene\.t60=\[0\.05, 0\.1\]: not reachable .* at least 0\.151 s"),
        ({"t60": [0.2, 3]}, r"scene\.t60=\[0\.2, 3\.0\]: too long .* at most 1\.05 s"),
        ({"t60": [0.3, 0.2]}, r"scene\.t60=\[0\.3, 0\.2\]: .*did you mean \[0\.2, 0\.3\]"),
        ({"t60": [0.0, 0.2]}, r"scene\.t60=.* above 0"),
        ({"t60": [0.2, float("nan")]}, r"scene\.t60=.*finite"),
        ({"num_speakers": [0, 2]}, r"scene\.num_speakers=\[0, 2\]: expected 1 to 5"),
        ({"num_speakers": [2, 6]}, r"scene\.num_speakers=\[2, 6\]: expected 1 to 5"),
        ({"num_speakers": [4, 4], "speaker": {"min_angle": 91}}, r"scene\.speaker\.min_angle=91"),
        ({"speaker": {"min_angle": 40, "azimuth": [0, 30]}}, r"scene\.speaker\.min_angle=40"),
        ({"speaker": {"min_angle": -1}}, r"scene\.speaker\.min_angle=-1"),
        ({"speaker": {"azimuth": [-10, 400]}}, r"scene\.speaker\.azimuth="),
        ({"speaker": {"distance": [0.7, 12]}}, r"scene\.speaker\.distance=.* at 12 m do not fit"),
        ({"speaker": {"distance": [5, 6]}}, r"scene\.speaker\.distance=.* at 5 m do not fit"),
        ({"speaker": {"wall_distance": 3.9}}, r"scene\.speaker\."),
        ({"speaker": {"height_offset": [0.8, 0.9]}}, r"scene\.speaker\.height_offset="),
        ({"speaker": {"wall_distance": 1.3}}, r"scene\.speaker\."),
        ({"room": {"length": [0.5, 8]}}, r"scene\.speaker\.distance|scene\.array\.wall_distance"),
        ({"room": {"height": [-1, 8]}}, r"scene\.room\.height=.* above 0"),
        ({"array": {"wall_distance": 2.1}}, r"scene\.array\.wall_distance=2\.1: .* does not fit"),
        ({"array": {"wall_distance": 0.04}}, r"scene\.array\.wall_distance=0\.04: .*microphones"),
        ({"array": {"height": [1, 2.6]}}, r"scene\.array\.height=\[1\.0, 2\.6\]"),
        ({"overlap": [0.5, 1.5]}, r"scene\.overlap="),
        ({"t60_per_octave": [1.0, 1.0]}, r"scene\.t60_per_octave=.* 7 factors above 0, for 125, "),
        ({"t60_per_octave": [1, 1, 1, 1, 1, 1, 0]}, r"scene\.t60_per_octave=.*above 0"),
        ({"t60_per_octave": [1, 1, 1, 1, 1, 1, 0.5]}, r"scene\.t60=.*not reachable"),
        ({"background": {"talkers": [0, 3]}}, r"scene\.background\.talkers=\[0, 3\]"),
        ({"background": {"sources": [2, 1]}}, r"scene\.background\.sources=.*did you mean"),
        ({"background": {"snr_db": [9, 1]}}, r"scene\.background\.snr_db=.*did you mean"),
        ({"background": {"recordings": "x"}}, r"scene\.background\.recordings=x: is for"),
        ({"imperfections": {"tilt": -1}}, r"scene\.imperfections\.tilt=-1.*0 to 90 degrees"),
        ({"imperfections": {"position": 1}}, r"scene\.array\.wall_distance=.*imperfections move"),
        (
            {
                "imperfections": {"position": 0.12},
                "array": {"wall_distance": 2, "height": [0.4, 1]},
            },
            r"scene\.array\.height=",
        ),
        ({"level_db": [900, 900]}, r"scene\.level_db=.*-100 to 100 dB"),
        ({"snr_db": [0, 9000]}, r"scene\.snr_db=.*-100 to 100 dB"),
        ({"background": {"snr_db": [-200, 0]}}, r"scene\.background\.snr_db=.*-100 to 100 dB"),
        ({"array": {"offset": -0.1}}, r"scene\.array\.offset=-0\.1.*0 or more"),
        ({"reference_mic": 4}, r"scene\.reference_mic=4: .* 0 to 3"),
    ],
)
def test_an_impossible_request_names_its_key(
    changes: dict[str, Any], message: str, circle: MicrophoneArray
) -> None:
    config = SceneConfig.model_validate(changes)
    with pytest.raises(InputError, match=message):
        check_scene_config(config, circle)


def test_what_fits_alone_but_not_together_is_found_by_trying(circle: MicrophoneArray) -> None:
    config = SceneConfig.model_validate(
        {
            "num_speakers": [4, 4],
            "room": {"length": [4, 4], "width": [4, 4]},
            "speaker": {"distance": [3, 3], "min_angle": 80},
        }
    )
    check_ranges(config, circle)
    with pytest.raises(InputError, match=r"scene\.speaker\.distance=\[3\.0, 3\.0\]: no room was"):
        check_scene_config(config, circle)


def test_a_line_observes_half_a_circle(line: MicrophoneArray, circle: MicrophoneArray) -> None:
    wide = SceneConfig.model_validate({"num_speakers": [4, 4], "speaker": {"min_angle": 61}})
    check_scene_config(wide, circle)
    with pytest.raises(InputError, match=r"scene\.speaker\.min_angle=61.*180 degrees"):
        check_scene_config(wide, line)
    behind = SceneConfig.model_validate({"speaker": {"azimuth": [200, 300]}})
    with pytest.raises(InputError, match=r"scene\.speaker\.azimuth=.*line"):
        check_scene_config(behind, line)


def test_a_typo_is_no_option() -> None:
    with pytest.raises(ValidationError, match="hight"):
        SceneConfig.model_validate({"room": {"hight": [2, 3]}})


def test_absorption_is_sabines() -> None:
    # 5 x 4 x 3 m: 60 m3, 94 m2; 0.1611 s/m at 343 m/s
    assert sabine_absorption((5, 4, 3), 0.5) == pytest.approx(0.1611 * 60 / (94 * 0.5), rel=1e-3)


def test_a_t60_within_a_percent_of_what_can_be_is_drawn(circle: MicrophoneArray) -> None:
    """Walls that would have to absorb 100.9 % absorb it all."""
    config = SceneConfig.model_validate(
        {
            "room": {"length": [8, 8], "width": [8, 8], "height": [3.5, 3.5]},
            "t60": [0.1497, 0.1497],
        }
    )
    assert 1 < sabine_absorption((8, 8, 3.5), 0.1497) < 1.01
    check_scene_config(config, circle)
    room = draw_room(config, circle, random_generator(0))
    assert np.isfinite(compute_rirs(room, circle, 8000).image).all()
    hybrid = compute_rirs(room.model_copy(update={"rirs": "hybrid"}), circle, 8000)
    assert np.isfinite(hybrid.image).all()
