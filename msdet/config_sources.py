# SPDX-License-Identifier: Apache-2.0
"""Where Hydra finds configs: in a folder of the user's, then in ``configs/``, then in its
ConfigStore, which is handed the defaults of the config classes and files of the user's here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from pydantic import BaseModel

from msdet.errors import InputError, in_one_line, shortened

OURS = ("main", "msdet")
"""Providers of configs that are not the user's: ``configs/`` (Hydra's word) and the classes."""

_CONFIGS = {
    "train": "msdet.training.config:TrainConfig",
    "evaluate": "msdet.evaluation.config:EvaluationConfig",
    "simulate": "msdet.commands.simulate:SimulateConfig",
    "bank": "msdet.commands.bank:BankConfig",
    "import": "msdet.commands.import_scenes:ImportConfig",
    "separate": "msdet.inference.config:SeparateConfig",
    "listen": "msdet.inference.config:ListenConfig",
    "serve": "msdet.serve.config:ServeConfig",
    "export": "msdet.inference.config:ExportConfig",
}
"""Class of each command's config, imported when the command is composed."""

_NAMES = {"array": "circle4", "model": "small", "criterion": "msdet"}
"""Options that hold a group's defaults, where they are not called ``default``."""


@cache
def register(command: str) -> frozenset[str]:
    """Hand Hydra the defaults of a command's config; return the groups that it may be without."""
    if command not in _CONFIGS:  # one that has its own file
        return frozenset()
    module, _, name = _CONFIGS[command].partition(":")
    config: type[BaseModel] = getattr(import_module(module), name)
    node = _store(config, None, command)
    chosen = [entry for entry in node["defaults"] if isinstance(entry, dict)]
    return frozenset(key for entry in chosen for key, option in entry.items() if option is None)


def _store(config: type[BaseModel], group: str | None, option: str) -> dict[str, Any]:
    """Store a class's defaults as an option of a group; parts that have options, as groups."""
    node: dict[str, Any] = {}
    defaults: list[Any] = ["_self_"]
    for key, field in config.model_fields.items():
        default = field.get_default(call_default_factory=True)
        classes = list(_classes_in(field.annotation))
        below = f"{group}/{key}" if group else key
        options = {name: c for c in classes if (name := _name_of(c)) is not None}
        if options or (classes and not group):
            if not options and key != "array":  # its options are files
                options = {_NAMES.get(key, "default"): classes[0]}
            for name, part in options.items():
                _store(part, below, name)
            first = _name_of(type(default)) or _NAMES.get(key, "default")
            defaults.append({key: None if default is None else first})
            if default is not None:
                continue
        if isinstance(default, BaseModel):
            default = default.model_dump(mode="json")
        node[key] = "???" if field.is_required() else default
    if group is None:
        defaults.append({"experiment": None})
    node["defaults"] = defaults
    ConfigStore.instance().store(option, node, group, provider=OURS[-1])
    return node


def _classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not tuple:
        for part in get_args(annotation):
            yield from _classes_in(part)


def _name_of(config: type) -> str | None:
    """Return what a config's ``name`` must be, of one that is told from others by its name."""
    field = getattr(config, "model_fields", {}).get("name")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    return str(get_args(field.annotation)[0])


class UserFolders(SearchPathPlugin):
    """Folders of the user's, which Hydra looks into before ours."""

    own: ClassVar[Sequence[str]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(self.own):
            search_path.prepend("--config-dir", folder)


Plugins.instance().register(UserFolders)


def options_of(group: str) -> list[str]:
    """The options of a group; empty where there is no such group."""
    return [name for name in loader().get_group_options(group) if not name.startswith("_")]


def loader() -> ConfigLoader:
    """Hydra's, while it composes."""
    return GlobalHydra.instance().config_loader()


def store_file(group: str, file: str) -> str:
    """Make a file an option of a group; return the option's name.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    path = Path(file)
    package = "_global_" if group == "experiment" else None
    if path.suffix.lower() in (".json", ".csv"):
        from msdet.named_arrays import read_positions

        positions = [list(point) for point in read_positions(path)]
        node: Any = {"shape": "positions", "name": path.stem, "positions": positions}
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
            node = OmegaConf.create(text)
        except Exception as error:  # the system's, PyYAML's and OmegaConf's many
            why = getattr(error, "strerror", None) or in_one_line(error)
            raise InputError(f"{group}={file}: cannot be read ({shortened(why, 240)})") from error
        if found := re.search(r"^# *@package +(\S+)", text, re.MULTILINE):
            package = found[1]
    name = "_" + re.sub(r"\W", "-", str(path.resolve().with_suffix("")))
    ConfigStore.instance().store(name, node, group, package, provider=file)
    return name
