# SPDX-License-Identifier: Apache-2.0
"""Settings of a sweep: Hydra's overrides, some of them with several values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Annotated, Literal

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from pydantic import Field

from msdet.composing import in_quotes, quoted
from msdet.errors import InputError
from msdet.parsing import Config
from msdet.resources import configs_dir

_LONGEST_NAME = 100
_SEARCH_PATH = "hydra.searchpath="


class GridConfig(Config):
    """All combinations.

    Attributes:
        jobs: runs side by side, each with its share of the cores.
        params: values by key, in Hydra's grammar, beside the command's.
    """

    method: Literal["grid"]
    jobs: int = Field(ge=1)
    params: dict[str, str]


class SearchConfig(Config):
    """A search for the best valid metric.

    Attributes:
        method: the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011).
        trials: runs that are to finish. seed: of what is drawn.
        params: values and intervals by key, in Hydra's grammar, beside the command's.
    """

    method: Literal["tpe"]
    trials: int = Field(ge=1)
    seed: int = Field(ge=0)
    params: dict[str, str]


class SweepConfig(Config):
    """How the runs of a sweep are chosen."""

    sweep: Annotated[GridConfig | SearchConfig, Field(discriminator="method")]


def is_about_sweep(override: str) -> bool:
    """Return whether a setting is of the sweep, not of its runs."""
    key = override.partition("=")[0].lstrip("+~")
    return key == "sweep" or key.startswith("sweep.")


def search_paths(overrides: Sequence[str]) -> list[str]:
    """Return the settings that say where Hydra finds configs, which every composition needs."""
    return [override for override in overrides if override.startswith(_SEARCH_PATH)]


def read_settings(params: Mapping[str, str], overrides: Sequence[str]) -> list[Override]:
    """Read the settings of the runs, each key once: the command's after those of the sweep's file.

    Raises:
        InputError: one of them cannot be read.
    """
    with initialize_config_dir(str(configs_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()  # knows the files that a glob matches
    parser = OverridesParser.create(loader)
    found: dict[str, Override] = {}
    for text in [*(f"{key}={value}" for key, value in params.items()), *overrides]:
        override = _parsed(parser, text)
        found.pop(override.get_key_element(), None)
        found[override.get_key_element()] = override
    return list(found.values())


def _parsed(parser: OverridesParser, text: str) -> Override:
    try:
        [override] = parser.parse_overrides([text])  # parse_override forgets the loader
    except HydraException as error:
        if "," in text:
            raise InputError(
                f"{text}: cannot be read as several values; a value with '=', brackets or commas "
                "of its own needs quotes around it, which the shell must leave"
            ) from error
    else:
        if override.is_sweep_override():
            return override
    [override] = parser.parse_overrides([quoted(text)])
    return override


def swept_keys(settings: Sequence[Override]) -> list[str]:
    """Return the keys with several values.

    Raises:
        InputError: there are none.
    """
    keys = [o.get_key_element() for o in settings if o.is_sweep_override()]
    if not keys:
        raise InputError("--multirun: no key has several values; give some, such as seed=0,1,2")
    return keys


def combinations(settings: Sequence[Override]) -> list[dict[str, str]]:
    """Return every combination of all values, by key; the last key's change fastest.

    Raises:
        InputError: a key has an interval, or no value at all.
    """
    keys = [override.get_key_element() for override in settings]
    values = [values_of(override) for override in settings]
    return [dict(zip(keys, row, strict=True)) for row in product(*values)]


def values_of(override: Override) -> list[str]:
    """Return the values of a key, each once, as texts that Hydra reads.

    Raises:
        InputError: it has an interval, or a pattern that nothing matches.
    """
    if not override.is_sweep_override():
        return [override.get_value_element_as_str()]
    if not override.is_discrete_sweep():
        raise InputError(
            f"{override.input_line}: a grid needs single values, as in choice() or range(); "
            "sweep=optuna searches intervals"
        )
    if not (texts := list(dict.fromkeys(override.sweep_string_iterator()))):
        raise InputError(f"{override.input_line}: matches nothing")
    return [readable(text) for text in texts]


def readable(value: str) -> str:
    """Return a value as `msdet.composing.quoted` leaves it: one with backslashes in quotes."""
    if "\\" not in value or value.startswith(("'", '"', "[", "{")):
        return value
    return in_quotes(str(OverridesParser.create().parse_override(f"key={value}").value()))


def run_name(values: Mapping[str, str]) -> str:
    """Return a folder's name that tells a run's values and no other's.

    >>> run_name({"criterion.assignment": "cyclic", "seed": "2"})
    'assignment=cyclic_seed=2'
    """
    keys = short_keys(values)
    text = "_".join(f"{k}={v.strip(chr(39))}" for k, v in zip(keys, values.values(), strict=True))
    name = re.sub(r"[^\w.+=-]+", "-", text)[:_LONGEST_NAME]
    if name == text and not any(v.startswith("'") for v in values.values()):
        return name
    exact = hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()
    return f"{name.rstrip('-')}-{exact[:6]}"


def short_keys(keys: Iterable[str]) -> list[str]:
    """Return keys without their groups, where they differ then."""
    whole = [key.lstrip("+") for key in keys]
    last = [key.rpartition(".")[2] for key in whole]
    return last if len(set(last)) == len(last) else whole
