# SPDX-License-Identifier: Apache-2.0
"""Simulated rooms: scenes are drawn, their room responses computed, and mixtures rendered."""

from msdet.simulation.bank import RirBank, RoomSet, fill_banks, open_bank, rirs_folder
from msdet.simulation.config import SceneConfig
from msdet.simulation.noise_sources import NoiseSource
from msdet.simulation.render import Example, Parts, render, render_parts
from msdet.simulation.rirs import Rirs, compute_rirs
from msdet.simulation.rooms import (
    Placement,
    Room,
    check_scene_config,
    draw_room,
    pool_room,
    rotated,
)
from msdet.simulation.scene import Scene, draw_scene, fixed_scenes
from msdet.simulation.scene_files import check_corpus, read_scenes, write_scenes
from msdet.simulation.stored import StoredMixtures, Wanted, open_mixtures

__all__ = [
    "Example",
    "NoiseSource",
    "Parts",
    "Placement",
    "RirBank",
    "Rirs",
    "Room",
    "RoomSet",
    "Scene",
    "SceneConfig",
    "StoredMixtures",
    "Wanted",
    "check_corpus",
    "check_scene_config",
    "compute_rirs",
    "draw_room",
    "draw_scene",
    "fill_banks",
    "fixed_scenes",
    "open_bank",
    "open_mixtures",
    "pool_room",
    "read_scenes",
    "render",
    "render_parts",
    "rirs_folder",
    "rotated",
    "write_scenes",
]
