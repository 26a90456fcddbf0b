# SPDX-License-Identifier: Apache-2.0
"""Settings as they are typed, ``KEY=VALUE``, become the values of a command's config: Hydra
composes them, and what it cannot use is told in one line that names the setting.

Hydra finds its configs in the folder of ``--config-dir``, then in ``configs/``, then among the
defaults of the config classes, which are handed to its ConfigStore here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args, get_origin

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf, open_dict
from pydantic import BaseModel

from msdet.errors import InputError, shortened
from msdet.parts import TARGET
from msdet.resources import configs_dir

_CONFIGS = {
    "train": "msdet.training.config:TrainConfig",
    "evaluate": "msdet.evaluation.config:EvaluationConfig",
    "simulate": "msdet.commands.simulate:SimulateConfig",
    "bank": "msdet.commands.bank:BankConfig",
    "import": "msdet.commands.import_scenes:ImportConfig",
    "separate": "msdet.commands.separate:SeparateConfig",
    "serve": "msdet.serve.config:ServeConfig",
    "export": "msdet.commands.export:ExportConfig",
}
"""Class of each command's config, imported when the command is composed."""

_NAMES = {"array": "circle4", "model": "small", "criterion": "msdet"}
"""Options that hold a group's defaults, where they are not called ``default``."""

_SEARCH_PATH = "hydra.searchpath"
_OURS = "msdet"


def compose(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The command's config as plain values.

    Raises:
        InputError: one line that names the key and what there is.
    """
    groups = _register(command)
    if command == "separate":
        overrides = named_recordings(overrides)
    folders, overrides = _search_path(overrides)
    _Folders.own = folders
    with initialize_config_dir(str(configs_dir()), version_base="1.3"):
        given = [text for o in _without_nulls(overrides, groups) for text in _for_hydra(command, o)]
        try:
            return _composed(command, given)
        except MissingMandatoryValue as error:
            raise InputError(f"{error}: is needed; give {error}=VALUE") from error
        except Exception as error:  # Hydra's own, and whatever falls out of it
            told = _unknown_key(command, given) or _culprit(command, given, error)
            raise InputError(told) from error


def _composed(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose overrides that Hydra's grammar can read.

    Raises:
        MissingMandatoryValue: with the key that has no value.
        Exception: whatever Hydra and OmegaConf raise.
    """
    config = hydra_compose(command, list(overrides))
    if places := list(_own_parts(OmegaConf.to_container(config))):
        _keep_to_own_arguments(config, places, command, overrides)
    if missing := OmegaConf.missing_keys(config):
        raise MissingMandatoryValue(min(missing))
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


# --- where configs come from --------------------------------------------------------------


@cache
def _register(command: str) -> frozenset[str]:
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
    ConfigStore.instance().store(option, node, group, provider=_OURS)
    return node


def _classes_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not tuple:
        for part in get_args(annotation):
            yield from _classes_in(part)


def _name_of(config: type) -> str | None:
    """What a config's ``name`` must be, of one that is told from others by its name."""
    field = getattr(config, "model_fields", {}).get("name")
    if field is None or get_origin(field.annotation) is not Literal:
        return None
    return str(get_args(field.annotation)[0])


class _Folders(SearchPathPlugin):
    """Folders of the user's, which Hydra looks into before ours."""

    own: ClassVar[Sequence[str]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for folder in reversed(self.own):
            search_path.prepend("--config-dir", folder)


Plugins.instance().register(_Folders)


def search_path(folder: str | Path) -> str:
    """``--config-dir`` as a setting, which compositions and child processes hand on.

    Raises:
        InputError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise InputError(f"--config-dir {folder}: is no folder")
    return f"{_SEARCH_PATH}=[{in_quotes(f'file://{Path(folder).resolve()}')}]"


def _search_path(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """The folders of ``hydra.searchpath``, and the other settings."""
    folders: list[str] = []
    rest = []
    for override in overrides:
        parsed = _parsed(override) if override.startswith(f"{_SEARCH_PATH}=[") else None
        if parsed is not None and isinstance(parsed.value(), list):
            folders += map(str, cast(list[Any], parsed.value()))
        else:
            rest.append(override)
    return folders, rest


def _options(group: str) -> list[str]:
    """The options of a group; empty where there is no such group."""
    return [name for name in _loader().get_group_options(group) if not name.startswith("_")]


def _loader() -> ConfigLoader:
    return GlobalHydra.instance().config_loader()


# --- settings as Hydra reads them ---------------------------------------------------------


def _without_nulls(overrides: Sequence[str], groups: frozenset[str]) -> list[str]:
    """``array=null`` and the like, where a command may be without: what chose an option before is
    left out. Hydra knows no option of this name."""
    kept: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key in groups and value == "null":
            kept = [other for other in kept if other.partition("=")[0] != key]
        else:
            kept.append(override)
    return kept


def named_recordings(overrides: Sequence[str]) -> list[str]:
    """``msdet separate a.wav b.wav KEY=VALUE``: what is no setting is a recording.

    >>> named_recordings(["my take.wav", "array=respeaker4"])
    ["recording='my take.wav'", 'array=respeaker4']

    Raises:
        InputError: recordings are named both ways.
    """
    bare = [o for o in overrides if "=" not in o or os.path.exists(o)]
    settings = [o for o in overrides if o not in bare]
    if not bare:
        return settings
    if any(setting.startswith("recording=") for setting in settings):
        raise InputError(
            f"{bare[0]!r}: recordings are also given by recording=; use one of the two"
        )
    names = [in_quotes(name) for name in bare]
    value = names[0] if len(names) == 1 else f"[{','.join(names)}]"
    return [f"recording={value}", *settings]


def _for_hydra(command: str, override: str) -> list[str]:
    """A setting in Hydra's grammar. A file that is named as a group's option is stored as one.

    Raises:
        InputError: it is none, or has several values, or its file cannot be used.
    """
    key, _, value = override.partition("=")
    parsed = _parsed(override)
    if command == "train":
        if key == "sweep" or key.startswith("sweep."):
            raise InputError(f"{override}: is of sweeps; add --multirun")
        if parsed is not None and parsed.is_sweep_override():
            raise InputError(
                f"{override}: has several values; add --multirun to train a run with each, or "
                f'quote it if it is one: "{key}={in_quotes(value)}"'
            )
    if value.lower().endswith((".yaml", ".yml", ".json", ".csv")) and _options(key):
        return [f"{key}={_store_file(key, value)}"]
    given = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    if isinstance(given, dict) and TARGET in given:
        return [f"~{key.lstrip('+')}"] * (not key.startswith("+")) + [f"+{override.lstrip('+')}"]
    return [quoted(override)]


def _store_file(group: str, file: str) -> str:
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
            why = getattr(error, "strerror", None) or _in_one_line(error)
            raise InputError(f"{group}={file}: cannot be read ({shortened(why, 240)})") from error
        if found := re.search(r"^# *@package +(\S+)", text, re.MULTILINE):
            package = found[1]
    name = "_" + re.sub(r"\W", "-", str(path.resolve().with_suffix("")))
    ConfigStore.instance().store(name, node, group, package, provider=file)
    return in_quotes(name)


def quoted(override: str) -> str:
    """An override that Hydra can parse: its value in quotes where its grammar would refuse it.

    >>> quoted("checkpoint=runs/a=b (1).ckpt")
    "checkpoint='runs/a=b (1).ckpt'"
    """
    key, equals, value = override.partition("=")
    if override.startswith("~") and not equals:
        value = ""  # ~KEY takes a key away
    elif not equals or not key.strip("+"):
        raise InputError(f"{shortened(repr(override))}: settings are written KEY=VALUE")
    elif key.strip("+").partition("/")[0].partition(".")[0] == "hydra":
        raise InputError(f"{shortened(override)}: Hydra's own settings have no effect here")
    if (parsed := _parsed(override)) is not None:
        structured = value.startswith(("'", '"', "[", "{"))
        if structured or not (parsed.is_sweep_override() or "\\" in value):
            return override
    in_quotation = f"{key}={in_quotes(value)}"
    if _parsed(in_quotation) is None:
        raise InputError(
            f"{shortened(override)}: {shortened(repr(key))} is no key; keys are words with dots "
            "between them"
        )
    return in_quotation


def _parsed(override: str) -> Override | None:
    """A setting as Hydra parses it; None where it does not."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def in_quotes(value: str) -> str:
    """A text as Hydra's grammar has it in single quotes."""
    # In quotes a backslash is itself, but for those before a quote, which are doubled.
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


# --- parts of the user's own --------------------------------------------------------------


def _own_parts(values: Any, place: str = "") -> Iterator[str]:
    """Where a class is named by its path."""
    if isinstance(values, dict):
        if TARGET in values:
            yield place
        for key, value in values.items():
            yield from _own_parts(value, f"{place}.{key}" if place else str(key))


def _keep_to_own_arguments(
    config: DictConfig, places: Sequence[str], command: str, overrides: Sequence[str]
) -> None:
    """Take from each class what is no argument of its: Hydra merges a part into the one that it
    replaces. Arguments are what the config that names the class says, and those after it, but not
    what a config of ours says of the part that it has."""
    layers = []
    for layer in _loader().compute_defaults_list(command, list(overrides), RunMode.RUN).defaults:
        for source in _loader().get_sources():
            if layer.config_path and source.is_config(layer.config_path):
                found = source.load_config(layer.config_path)
                if isinstance(found.config, DictConfig):
                    at: Any = found.config
                    if layer.package:
                        at = OmegaConf.create()
                        OmegaConf.update(at, layer.package, found.config)
                    layers.append((at, found.provider not in (_OURS, "main")))
                break
    for override in filter(None, map(_parsed, overrides)):
        if not _options(override.key_or_group) and not override.is_delete():
            at = OmegaConf.create()
            OmegaConf.update(at, override.key_or_group, override.value(), force_add=True)
            layers.append((at, True))
    for place in places:
        arguments: set[Any] = set()
        for layer, own in layers:
            part = OmegaConf.select(layer, place)
            if isinstance(part, DictConfig) and TARGET in part:
                arguments = set(part)
            elif isinstance(part, DictConfig) and own:
                arguments |= set(part)
        part = OmegaConf.select(config, place)
        with open_dict(config):
            for key in set(part) - arguments:
                del part[key]


# --- what a mistake is --------------------------------------------------------------------


def _unknown_key(command: str, overrides: Sequence[str]) -> str | None:
    """The first override whose key does not exist, with the nearest one that does."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = [o.input_line or "" for o in parsed if _options(o.key_or_group)]
    try:
        config = hydra_compose(command, chosen)
    except Exception:  # it is a group's option that does not exist; Hydra names them
        return None
    for override in parsed:
        *parents, last = override.key_or_group.split(".")
        node = OmegaConf.select(config, ".".join(parents)) if parents else config
        known = [str(key) for key in node] if isinstance(node, DictConfig) else []
        if override.is_add() or last in known or _options(override.key_or_group):
            continue
        if parents and not known:
            return f"{override.key_or_group}: there is no key {'.'.join(parents)!r} with keys in it"
        near = get_close_matches(last, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
        return f"{override.key_or_group}: no such key; {hint}"
    return None


def _culprit(command: str, overrides: Sequence[str], error: Exception) -> str:
    """The first override with which composing fails, and why."""
    for number, override in enumerate(overrides, 1):
        try:
            _composed(command, overrides[:number])
        except MissingMandatoryValue:
            continue
        except Exception as first:  # as in `compose`: whatever falls out of Hydra
            group, _, name = override.partition("=")
            options = _options(group)
            if options and name not in options:
                near = get_close_matches(name, options, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                return (
                    f"{shortened(override)}: no such {group}; there are {', '.join(options)}{hint}"
                )
            # What Hydra wraps says which override, what it wraps says why.
            why = _in_one_line(first.__cause__ or first) or type(first).__name__
            return f"{shortened(override)}: cannot be used ({shortened(why, 240)})"
    return _in_one_line(error)


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    dropped = ("Config search path", "provider=", "full_key:", "object_type=", "reference_type=")
    return "; ".join(line.rstrip(":;") for line in lines if not line.startswith(dropped))
