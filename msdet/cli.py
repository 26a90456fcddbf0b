# SPDX-License-Identifier: Apache-2.0
"""The command line: which command, with which options, and Hydra overrides handed on."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

from msdet import __version__
from msdet.ending import ending

_COMMANDS = {
    "train": "train a model, and score it on unseen voices and rooms",
    "study": "train methods with several seeds, score them on the same scenes, compare them",
    "evaluate": "score a checkpoint: rows, summary, pictures, audio",
    "simulate": "write scenes, and on request their audio",
    "bank": "make the responses of rooms ahead of training",
    "import": "turn a description of scenes made elsewhere into scenes and a corpus",
    "separate": "separate and localise the speakers of recordings",
    "listen": "separate and localise a stream as it comes, from a sound card, a pipe or a file",
    "serve": "open a local page to separate recordings and simulated rooms, and to listen",
    "models": "list the trained models that ship with msdet",
    "export": "write a model as ONNX, to run without torch",
}
_FLAGS = {
    "train": {"-m --multirun": "a run for each combination of values, or a search"},
    "study": {
        "--dry-run": "list the runs and how far they are",
        "--report-only": "write the page of what is scored",
        "--no-training": "score what is trained, and write the page",
    },
    "separate": {
        "--together": "the files are one recording, a microphone each; so are those of a folder"
    },
    "simulate": {"--dry-run": "measure a few scenes and tell what all would cost; write nothing"},
}
"""Flags of one command alone."""

_USAGE = """\
Settings are Hydra overrides, KEY=VALUE, such as experiment=quickstart or trainer.epochs=5;
--config prints all keys of a command as they would be used."""


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
    # A config names classes of modules that lie where the command is given; processes that it
    # starts get this path from multiprocessing, or come by here themselves.
    if (here := os.getcwd()) not in sys.path:
        sys.path.append(here)
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
    known = ("multirun", "dry_run", "report_only", "no_training")
    flags = {name for name in known if getattr(options, name, False)}

    def command() -> int:
        run(options.command, options.overrides, options.config_dir, options.config, flags)
        return 0

    return ending(
        f"msdet {options.command}",
        command,
        goes_on=options.command not in ("separate", "listen", "serve", "import", "export"),
        debug=options.debug or os.environ.get("HYDRA_FULL_ERROR") == "1",
    )


def run(
    command: str,
    overrides: Sequence[str],
    config_dir: str | None = None,
    print_config: bool = False,
    flags: Collection[str] = (),
) -> None:
    """Compose the command's config and run it.

    Args:
        config_dir: folder of the user's, beside our own configs.
        flags: of the command alone, such as ``multirun`` of `train` and ``dry_run`` of `simulate`.
    Raises:
        InputError: a key or value is wrong, or what the command says.
    """
    name = "import_scenes" if command == "import" else command  # Python keeps the short name
    if command == "models":
        import_module("msdet.commands.models").run({})
        return
    from msdet.composing import compose, search_path

    if config_dir is not None:
        overrides = [search_path(config_dir), *overrides]
    if "multirun" in flags:
        import_module("msdet.commands.multirun").run(overrides, print_config)
        return
    if command == "study":
        import_module("msdet.commands.study").run(overrides, print_config, flags)
        return
    values = compose(command, overrides)
    if print_config:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(values)), end="")
        return
    import_module(f"msdet.commands.{name}").run(values, **dict.fromkeys(flags, True))


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
        first = {"separate": "FILE or ", "study": "STUDY or "}.get(name, "")
        shown = f"{first}KEY=VALUE"
        command.add_argument("overrides", nargs="*", metavar=shown)
        purpose = "a folder of configs of yours, searched before msdet's"
        command.add_argument("--config-dir", metavar="DIR", help=purpose)
        command.add_argument("--config", action="store_true", help="print the config and stop")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        for names, purpose in _FLAGS.get(name, {}).items():
            command.add_argument(*names.split(), action="store_true", help=purpose)
    return parser
