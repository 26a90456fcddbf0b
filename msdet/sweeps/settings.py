# SPDX-License-Identifier: Apache-2.0
"""What a sweep was asked for: Hydra's overrides, some of them with several values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from pydantic import BaseModel, ConfigDict, Field

from msdet.composing import in_quotes, quoted
from msdet.errors import InputError
from msdet.resources import configs_dir

_LONGEST_NAME = 100


class _Config(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )


class GridConfig(_Config):
    """All combinations. ``params``: values by key, in Hydra's grammar, beside the command's."""

    method: Literal["grid"]
    params: dict[str, str]


class SearchConfig(_Config):
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


class SweepConfig(_Config):
    """How the runs of a sweep are chosen."""

    sweep: Annotated[GridConfig | SearchConfig, Field(discriminator="method")]


def is_about_sweep(override: str) -> bool:
    """Whether a setting is of the sweep, not of its runs."""
    key = override.partition("=")[0].lstrip("+~")
    return key == "sweep" or key.startswith("sweep.")


def read_settings(params: Mapping[str, str], overrides: Sequence[str]) -> list[Override]:
    """Settings of the runs, each key once: the command's come after those of the sweep's file.

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
    """Keys with several values.

    Raises:
        InputError: there are none.
    """
    keys = [o.get_key_element() for o in settings if o.is_sweep_override()]
    if not keys:
        raise InputError("--multirun: no key has several values; give some, such as seed=0,1,2")
    return keys


def combinations(settings: Sequence[Override]) -> list[dict[str, str]]:
    """Every combination of all values, the last key's changing fastest: values by key.

    Raises:
        InputError: a key has an interval, or no value at all.
    """
    for override in settings:
        if override.is_sweep_override():
            values_of(override)
    [found] = BasicSweeper.split_arguments(list(settings), None)
    rows = [dict(readable(text).split("=", 1) for text in combination) for combination in found]
    return list({tuple(row.items()): row for row in rows}.values())  # a value may come twice


def values_of(override: Override) -> list[str]:
    """The values of a key that has a list of them, as texts that Hydra reads.

    Raises:
        InputError: it has an interval, or a pattern that nothing matches.
    """
    if not override.is_discrete_sweep():
        raise InputError(
            f"{override.input_line}: a grid needs single values, as in choice() or range(); "
            "sweep=optuna searches intervals"
        )
    key = override.get_key_element()
    texts = [readable(f"{key}={value}") for value in override.sweep_string_iterator()]
    if not texts:
        raise InputError(f"{override.input_line}: matches nothing")
    return [text.partition("=")[2] for text in texts]


def readable(override: str) -> str:
    """The same setting as `msdet.composing.quoted` leaves it: a text with backslashes in quotes."""
    key, _, value = override.partition("=")
    if "\\" not in value or value.startswith(("'", '"', "[", "{")):
        return override
    return f"{key}={in_quotes(str(OverridesParser.create().parse_override(override).value()))}"


def run_name(values: Mapping[str, str]) -> str:
    """A folder's name that tells a run's values and no other's.

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
    """Keys without their groups, where they differ then."""
    whole = [key.lstrip("+") for key in keys]
    last = [key.rpartition(".")[2] for key in whole]
    return last if len(set(last)) == len(last) else whole
