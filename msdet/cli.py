# SPDX-License-Identifier: Apache-2.0
"""The command line: ``msdet simulate | import | train | ...``, with Hydra overrides."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from msdet import __version__
from msdet.composing import compose
from msdet.ending import ending

_COMMANDS = {
    "train": "train a model, and score it on unseen voices and rooms",
    "study": "train methods with several seeds, score them on the same scenes, compare them",
    "evaluate": "score a checkpoint: rows, summary, pictures, audio",
    "simulate": "write scenes, and on request their audio",
    "bank": "make the responses of rooms ahead of training",
    "import": "turn a description of scenes made elsewhere into scenes and a corpus",
    "separate": "separate and localise the speakers of recordings",
    "serve": "open a local page to separate recordings and simulated rooms, and to listen",
    "models": "list the trained models that ship with msdet",
    "export": "write a model as ONNX, to run without torch",
}
_FLAGS = ("dry_run", "report_only", "no_training")
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
            multirun=getattr(options, "multirun", False),
            **{name: True for name in _FLAGS if getattr(options, name, False)},
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
    multirun: bool = False,
    **flags: bool,
) -> None:
    """Compose the command's config and run it.

    Args:
        multirun: of `train`, a run for each combination of the values.
        flags: of the command alone, such as `simulate`'s ``dry_run``.
    Raises:
        InputError: a key or value is wrong, or what the command says.
    """
    if multirun or command == "study":
        name = "multirun" if multirun else "study"
        import_module(f"msdet.commands.{name}").run(overrides, print_config, **flags)
        return
    values = compose(command, overrides) if command != "models" else {}
    if print_config:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(OmegaConf.create(values)), end="")
        return
    name = "import_scenes" if command == "import" else command  # Python keeps the short name
    import_module(f"msdet.commands.{name}").run(values, **flags)


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
        command.add_argument("--config", action="store_true", help="print the config and stop")
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
        if name == "train":
            purpose = "a run for each combination of values, such as seed=0,1,2, or a search"
            command.add_argument("-m", "--multirun", action="store_true", help=purpose)
        if name == "separate":
            purpose = "the files are one recording, a microphone each; so are those of a folder"
            command.add_argument("--together", action="store_true", help=purpose)
        if name == "study":
            purpose = "list the runs and how far they are"
            command.add_argument("--dry-run", action="store_true", help=purpose)
            purpose = "write the page of what is scored"
            command.add_argument("--report-only", action="store_true", help=purpose)
            purpose = "score what is trained, and write the page"
            command.add_argument("--no-training", action="store_true", help=purpose)
        if name == "simulate":
            purpose = "measure a few scenes and tell what all would cost; write nothing"
            command.add_argument("--dry-run", action="store_true", help=purpose)
    return parser
