# SPDX-License-Identifier: Apache-2.0
"""The command line: ``msdet simulate | import | train | ...``, with Hydra overrides."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from msdet import __version__
from msdet.ending import ending
from msdet.errors import InputError, shortened
from msdet.resources import configs_dir

_COMMANDS = {
    "train": "train a model, and score it on unseen voices and rooms",
    "evaluate": "score a checkpoint: rows, summary, pictures, audio",
    "simulate": "write scenes, and on request their audio",
    "bank": "make the responses of rooms ahead of training",
    "import": "turn a description of scenes made elsewhere into scenes and a corpus",
    "separate": "separate and localise the speakers of recordings",
    "serve": "open a local page to separate recordings and simulated rooms, and to listen",
    "models": "list the trained models that ship with msdet",
    "export": "write a model as ONNX, to run without torch",
}
_USAGE = """\
Settings are Hydra overrides, KEY=VALUE, such as experiment=quickstart or trainer.epochs=5; a
command's keys are in configs/COMMAND.yaml, and --config prints them as they would be used."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code (see `msdet.ending.ending`)."""
    # Threads of torch that wait for one another sleep. Spinning, they hold up whoever else works on
    # these cores, and that holds up them: beside one busy process, steps of the quickstart on two
    # cores took 1.48 times as long (1.01 times alone; scripts/bench_training.py). OpenMP reads this
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Commands draw files alone. A shell that was opened from a notebook exports the notebook's
    # backend, and where that is not installed matplotlib, which libraries import, raises.
    os.environ["MPLBACKEND"] = "agg"
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    for flag in rest:  # argparse takes no positional after an option that follows one
        if flag in ("-m", "--multirun"):
            parser.error(f"{flag} is for train: {options.command} makes one run")
        if flag.startswith("-"):
            parser.error(f"unrecognized argument {flag}")
    options.overrides += rest
    if getattr(options, "together", False):
        options.overrides.append("together=true")
    if options.command == "models" and options.overrides:
        parser.error(f"models takes no settings, got {options.overrides[0]}")

    def command() -> int:
        run(
            options.command,
            options.overrides,
            print_config=options.config,
            dry_run=getattr(options, "dry_run", False),
            multirun=getattr(options, "multirun", False),
        )
        return 0

    return ending(
        f"msdet {options.command}",
        command,
        goes_on=options.command not in ("separate", "serve", "import", "export"),
        debug=options.debug or os.environ.get("HYDRA_FULL_ERROR") == "1",
    )


def run(
    command: str,
    overrides: Sequence[str],
    print_config: bool = False,
    dry_run: bool = False,
    multirun: bool = False,
) -> None:
    """Compose the command's config and run it.

    Args:
        dry_run: of `simulate`, tell what it would cost instead.
        multirun: of `train`, a run for each combination of the values.
    Raises:
        InputError: a key or value is wrong, or what the command says.
    """
    if multirun:
        from msdet.sweeps.sweep import sweep

        sweep(overrides, print_config)
        return
    if command == "models":
        from msdet.shipped import print_models

        print_models()
        return
    values = compose(command, overrides)
    if print_config:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(values)), end="")
        return
    from msdet import commands

    name = "import_scenes" if command == "import" else command  # Python keeps the short name
    action: Callable[..., None] = getattr(commands, name)
    action(values, **({"dry_run": True} if dry_run else {}))


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
    """Of overrides that Hydra's grammar can read; raises what Hydra and OmegaConf raise, and
    `MissingMandatoryValue` with the key that has none."""
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
        except Exception as first:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="msdet",
        description="Multi-channel speaker separation and direction of arrival, trained together.",
        epilog=_USAGE,
    )
    parser.add_argument("--version", action="version", version=f"msdet {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in _COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose, epilog=_USAGE)
        shown = "FILE or KEY=VALUE" if name == "separate" else "KEY=VALUE"
        command.add_argument("overrides", nargs="*", metavar=shown)
        command.add_argument("--config", action="store_true", help="print the config and stop")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == "train":
            purpose = "a run for each combination of values, such as seed=0,1,2, or a search"
            command.add_argument("-m", "--multirun", action="store_true", help=purpose)
        if name == "separate":
            purpose = "the files are one recording, a microphone each; so are those of a folder"
            command.add_argument("--together", action="store_true", help=purpose)
        if name == "simulate":
            purpose = "measure a few scenes and tell what all would cost; write nothing"
            command.add_argument("--dry-run", action="store_true", help=purpose)
    return parser
