# SPDX-License-Identifier: Apache-2.0
"""Settings as they are typed, ``KEY=VALUE``, become the values of a command's config: Hydra
composes them, and what it cannot use is told in one line that names the setting."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from msdet.errors import InputError, shortened
from msdet.resources import configs_dir


def compose(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """The command's config as plain values.

    Raises:
        InputError: one line that names the key and what there is.
    """
    if command == "train":
        _refuse_sweeps(overrides)
    if command == "separate":
        overrides = named_recordings(overrides)
    overrides = [quoted(o) for o in with_positions(without_nulls(command, overrides))]
    from hydra import initialize_config_dir
    from omegaconf import MissingMandatoryValue

    with initialize_config_dir(str(configs_dir()), version_base="1.3"):
        try:
            values = _composed(command, overrides)
        except MissingMandatoryValue as error:
            raise InputError(f"{error}: is needed; give {error}=VALUE") from error
        except Exception as error:  # Hydra's own, and whatever falls out of it
            told = _unknown_key(command, overrides) or _culprit(command, overrides, error)
            raise InputError(told) from error
    values.pop("experiment", None)
    return values


def _composed(command: str, overrides: Sequence[str]) -> dict[str, Any]:
    """Compose overrides that Hydra's grammar can read.

    Raises:
        MissingMandatoryValue: with the key that has no value.
        Exception: whatever Hydra and OmegaConf raise.
    """
    from hydra import compose as hydra_compose
    from omegaconf import MissingMandatoryValue, OmegaConf

    config = hydra_compose(command, list(overrides))
    if missing := OmegaConf.missing_keys(config):
        raise MissingMandatoryValue(min(missing))
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def without_nulls(command: str, overrides: Sequence[str]) -> list[str]:
    """``array=null`` and the like as Hydra has them, which knows no option of this name: what chose
    an option of the group before is left out, where the group may be without."""
    from omegaconf import OmegaConf

    primary: Any = OmegaConf.to_container(OmegaConf.load(configs_dir() / f"{command}.yaml"))
    chosen = primary.get("defaults", [])
    kept: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if value == "null" and {key: None} in chosen:
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


def with_positions(overrides: Sequence[str]) -> list[str]:
    """``array=FILE.json`` or ``.csv`` as the positions that the file holds.

    Raises:
        InputError: names the file and what is wrong with it.
    """
    found: list[str] = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key == "array" and value.lower().endswith((".json", ".csv")):
            from msdet.named_arrays import read_positions

            positions = [list(point) for point in read_positions(value)]
            stem = value.replace(os.sep, "/").rpartition("/")[2].rpartition(".")[0]
            found += ["array=positions", f"array.positions={positions}"]
            found.append(f"+array.name={in_quotes(stem)}")
        elif key == "array" and value.isidentifier() and not _is_config("array", value):
            from msdet.named_arrays import named_array

            named_array(value)  # which says what there is
        else:
            found.append(override)
    return found


def _is_config(group: str, name: str) -> bool:
    return (configs_dir() / group / f"{name}.yaml").is_file()


def quoted(override: str) -> str:
    """An override that Hydra can parse: its value in quotes where its grammar would refuse it.

    >>> quoted("checkpoint=runs/a=b (1).ckpt")
    "checkpoint='runs/a=b (1).ckpt'"
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, equals, value = override.partition("=")
    parser = OverridesParser.create()
    if override.startswith("~") and not equals:
        value = ""  # ~KEY takes a key away
    elif not equals or not key.strip("+"):
        raise InputError(f"{shortened(repr(override))}: settings are written KEY=VALUE")
    elif key.strip("+").partition("/")[0].partition(".")[0] == "hydra":
        raise InputError(f"{shortened(override)}: Hydra's own settings have no effect here")
    try:
        parsed = parser.parse_override(override)
        structured = value.startswith(("'", '"', "[", "{"))
        if structured or not (parsed.is_sweep_override() or "\\" in value):
            return override
    except HydraException:
        pass
    in_quotation = f"{key}={in_quotes(value)}"
    try:
        parser.parse_override(in_quotation)
    except HydraException as error:
        raise InputError(
            f"{shortened(override)}: {shortened(repr(key))} is no key; keys are words with dots "
            "between them"
        ) from error
    return in_quotation


def in_quotes(value: str) -> str:
    """A text as Hydra's grammar has it in single quotes."""
    # In quotes a backslash is itself, but for those before a quote, which are doubled.
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"'{escaped}'"


def _refuse_sweeps(overrides: Sequence[str]) -> None:
    """Several values train several runs: asked for by a word, not by a comma in a name."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for override in overrides:
        key, _, value = override.partition("=")
        if key == "sweep" or key.startswith("sweep."):
            raise InputError(f"{override}: is of sweeps; add --multirun")
        try:
            several = OverridesParser.create().parse_override(override).is_sweep_override()
        except HydraException:
            continue
        if several:
            raise InputError(
                f"{override}: has several values; add --multirun to train a run with each, or "
                f'quote it if it is one: "{key}={in_quotes(value)}"'
            )


def _unknown_key(command: str, overrides: Sequence[str]) -> str | None:
    """The first override whose key does not exist, with the nearest one that does."""
    from hydra import compose as hydra_compose
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import DictConfig, OmegaConf

    groups = {folder.name for folder in configs_dir().iterdir() if folder.is_dir()}
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in groups]
    try:
        config = hydra_compose(command, chosen)
    except Exception:  # it is a group's option that does not exist; Hydra names them
        return None
    for override in parsed:
        *parents, last = override.key_or_group.split(".")
        node = OmegaConf.select(config, ".".join(parents)) if parents else config
        known = [str(key) for key in node] if isinstance(node, DictConfig) else []
        if override.is_add() or last in known or (not parents and last in groups):
            continue
        if parents and not known:
            return f"{override.key_or_group}: there is no key {'.'.join(parents)!r} with keys in it"
        near = get_close_matches(last, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
        return f"{override.key_or_group}: no such key; {hint}"
    return None


def _culprit(command: str, overrides: Sequence[str], error: Exception) -> str:
    """The first override with which composing fails, and why."""
    from omegaconf import MissingMandatoryValue

    for number, override in enumerate(overrides, 1):
        try:
            _composed(command, overrides[:number])
        except MissingMandatoryValue:
            continue
        except Exception as first:  # as in `compose`: whatever falls out of Hydra
            group, _, name = override.partition("=")
            options = sorted(file.stem for file in (configs_dir() / group).glob("*.yaml"))
            if options and name not in options:
                return f"{shortened(override)}: no such {group}; there are {', '.join(options)}"
            # What Hydra wraps says which override, what it wraps says why.
            why = _in_one_line(first.__cause__ or first) or type(first).__name__
            return f"{shortened(override)}: cannot be used ({shortened(why, 240)})"
    return _in_one_line(error)


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    dropped = ("Config search path", "provider=", "full_key:", "object_type=", "reference_type=")
    return "; ".join(line.rstrip(":;") for line in lines if not line.startswith(dropped))
