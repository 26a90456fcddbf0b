# SPDX-License-Identifier: Apache-2.0
"""Settings as they are typed, ``KEY=VALUE``, become the values of a command's config: Hydra
composes them, and what it cannot use is told in one line that names the setting."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf, open_dict

from msdet.config_sources import OURS, UserFolders, loader, options_of, register, store_file
from msdet.errors import InputError, in_one_line, shortened
from msdet.parts import TARGET
from msdet.resources import configs_dir

_SEARCH_PATH = "hydra.searchpath"


def compose(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The command's config as plain values.

    Raises:
        InputError: one line that names the key and what there is.
    """
    groups = register(command)
    if command == "separate":
        overrides = named_recordings(overrides)
    folders, overrides = _search_path(overrides)
    UserFolders.own = folders
    with initialize_config_dir(str(configs_dir()), version_base="1.3"):
        typed = _without_nulls(overrides, groups)
        given = [(one, text) for one in typed for text in _for_hydra(command, one)]
        try:
            return _composed(command, [text for _, text in given])
        except MissingMandatoryValue as error:
            raise InputError(f"{error}: is needed; give {error}=VALUE") from error
        except Exception as error:  # Hydra's own, and whatever falls out of it
            raise InputError(_mistake(command, given, error)) from error


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
    if value.lower().endswith((".yaml", ".yml", ".json", ".csv")) and options_of(key):
        return [f"{key}={in_quotes(store_file(key, value))}"]
    given = None if parsed is None or parsed.is_sweep_override() else parsed.value()
    if isinstance(given, dict) and TARGET in given:
        # A key must be there; a group is.
        there = [] if override.startswith("+") or options_of(key) else [f"{key}=null"]
        return [*there, f"++{override.lstrip('+')}"]  # its other arguments are taken out afterwards
    return [quoted(override)]


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
    elif re.match(r"\+*hydra\b", key) and key != _SEARCH_PATH:
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
    layers = list(_layers(command, overrides))
    for place in places:
        arguments: set[Any] = set()
        for layer, is_ours in layers:
            said = OmegaConf.select(layer, place)
            if isinstance(said, DictConfig) and not (is_ours and TARGET not in said):
                arguments = set(said) | (set() if TARGET in said else arguments)
        part = OmegaConf.select(config, place)
        with open_dict(config):
            for key in set(part) - arguments:
                del part[key]


def _layers(command: str, overrides: Sequence[str]) -> Iterator[tuple[DictConfig, bool]]:
    """Yield what Hydra merges, in its order, each at its place in the whole; whether it is ours."""
    found: list[tuple[str, Any, bool]] = []
    for default in loader().compute_defaults_list(command, list(overrides), RunMode.RUN).defaults:
        path = default.config_path or ""
        sources = (source for source in loader().get_sources() if source.is_config(path))
        if source := next(sources, None):
            loaded = source.load_config(path)
            ours = loaded.provider in OURS
            found.append((default.package or "", loaded.config, ours))
    keys = [o for o in map(_parsed, overrides) if o is not None and not o.is_delete()]
    found += [
        (o.key_or_group, o.value(), False)
        for o in keys
        if not (isinstance(o.value(), str) and options_of(o.key_or_group))
    ]
    for place, content, ours in found:
        layer = OmegaConf.create(content if place == "" else {})
        if place:
            OmegaConf.update(layer, place, content, force_add=True)
        yield layer, ours


# --- what a mistake is --------------------------------------------------------------------


def _mistake(command: str, given: Sequence[tuple[str, str]], error: Exception) -> str:
    """The first setting with which composing fails, groups before keys, and why.

    Args:
        given: settings as they were typed, and as Hydra has them.
    """
    before, so_far = hydra_compose(command), []
    for typed, override in sorted(
        given, key=lambda pair: not options_of(pair[0].partition("=")[0])
    ):
        so_far.append(override)
        try:
            config = hydra_compose(command, so_far)
            OmegaConf.to_container(config, resolve=True)
            before = config
        except Exception as first:  # as in `compose`: whatever falls out of Hydra
            if told := _no_such(typed, override, before):
                return told
            # What Hydra wraps says which override, what it wraps says why.
            why = in_one_line(first.__cause__ or first) or type(first).__name__
            return f"{shortened(typed)}: cannot be used ({shortened(why, 240)})"
    return in_one_line(error)


def _no_such(typed: str, override: str, config: DictConfig) -> str:
    """Say which option or key there is not, and which there are; empty where it is there."""
    group, _, value = override.partition("=")
    parsed = _parsed(override)
    if options := options_of(group):
        if value in options or typed.partition("=")[2] != value:  # a file, which is there
            return ""
        near = get_close_matches(value, options, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{shortened(typed)}: no such {group}; there are {', '.join(options)}{hint}"
    if parsed is None or parsed.is_add():
        return ""
    key = parsed.key_or_group
    *parents, last = key.split(".")
    node = OmegaConf.select(config, ".".join(parents)) if parents else config
    known = [str(name) for name in node] if isinstance(node, DictConfig) else []
    if last in known:
        return ""
    if parents and not known:
        return f"{key}: there is no key {'.'.join(parents)!r} with keys in it"
    near = get_close_matches(last, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
    return f"{key}: no such key; {hint}"
