# SPDX-License-Identifier: Apache-2.0
"""The command line: quick answers, exit codes, one-line errors, and names that Hydra refuses."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import msdet
from msdet.cli import main
from msdet.composing import compose, quoted
from msdet.errors import InputError
from msdet.inference.config import SeparateConfig
from msdet.parsing import parse
from msdet.training.config import TrainConfig
from msdet.training.run import prepare

COMMANDS = ("train", "evaluate", "simulate", "separate", "bank", "import")


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


# --- quick answers ------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out.strip() == f"msdet {msdet.__version__}"


@pytest.mark.parametrize("own", [None, "ACTIVE"])
def test_threads_that_wait_sleep_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", own or "")
    if own is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    assert main(["models"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == (own or "PASSIVE")


def test_a_notebooks_backend_does_not_matter() -> None:
    """A shell that was opened from a notebook exports what only the notebook has."""
    code = "from msdet.cli import main; main(['models']); import matplotlib"
    environment = {**os.environ, "MPLBACKEND": "nowhere"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["--version"]])
def test_quick_answers_do_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from msdet.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as done: code = done.code\n"
        "slow = {'torch', 'lightning', 'hydra', 'scipy', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'imported {slow}' if slow else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "msdet" in done.stdout


@pytest.mark.parametrize("command", ["separate a.wav", "export checkpoint=a output=b", "serve"])
def test_settings_are_shown_without_torch(command: str) -> None:
    code = (
        "import sys\n"
        "from msdet.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.exit('imported torch' if 'torch' in sys.modules else code)\n"
    )
    arguments = [sys.executable, "-c", code, *command.split(), "--config"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "checkpoint:" in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "msdet", "--version"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, f"msdet {msdet.__version__}")


@pytest.mark.parametrize(
    "arguments", [[], ["sing"], ["train", "--loudly"], ["simulate", "-m", "seed=0,1"]]
)
def test_what_is_no_command_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    assert "usage: msdet" in capsys.readouterr().err


def test_public_names_are_there() -> None:
    assert all(hasattr(msdet, name) for name in msdet.__all__)
    with pytest.raises(AttributeError, match="sing"):
        msdet.sing  # noqa: B018


# --- errors -------------------------------------------------------------------------------

MISTAKES = [
    (["train", "trainer.epochz=3"], "epochz"),
    (["train", "criterion.weight=1.2"], "criterion.weight"),
    (["train", "array=octagon"], "octagon"),
    (["train", "quickstart"], "KEY=VALUE"),
    (["train", "init_from=gone.ckpt"], "gone.ckpt"),
    (["train", "init_parts=[encoder]"], "init_parts=['encoder']: are parts of a checkpoint"),
    (["train", "init_from=planar-pairs", "init_parts=[tail]"], "init_parts: there is no part"),
    (["train", "seed=0,1,2"], "--multirun"),
    (["train", "criterion.assignment=azimuth,cyclic"], "--multirun"),
    (["train", "array=circle4,line4"], "--multirun"),
    (["train", "name=choice(a,b)"], "--multirun"),
    (["train", "trainer.learning_rate=interval(1e-4,1e-2)"], "--multirun"),
    (["train", "scene.t60=[0.1,0.2],[0.2,0.3]"], "--multirun"),
    (["train", "sweep=optuna"], "--multirun"),
    (["train", "--multirun", "seed=0"], "seed=0,1,2"),
    (["train", "--multirun", "seed=0,1", "trainer.epochz=3"], "did you mean 'epochs'"),
    (["train", "-m", "sede=0,1"], "did you mean 'seed'"),
    (["train", "-m", "criterion.assignment=azimuth,cyclc"], "cyclc"),
    (["train", "-m", "array=circle4,octagon"], "octagon"),
    (["train", "-m", "array=circle4,line4", "criterion.assignment=cyclic"], "array=line4"),
    (["train", "-m", "criterion.weight=interval(0.1,0.9)"], "sweep=optuna"),
    (["train", "-m", "output=a,b"], "output"),
    (["train", "-m", "experiment=debug,quickstart"], "output=FOLDER"),
    (["train", "-m", "sweep=random", "seed=0,1"], "random"),
    (["train", "-m", "corpus=folder", "corpus.path=gone", "seed=0,1"], "gone"),
    (["train", "-m", "seed=0,1", "trainer.freeze=[tail]"], "tail"),
    (["evaluate"], "checkpoint"),
    (["evaluate", "checkpoint=gone.ckpt"], "gone.ckpt"),
    (["simulate", "output=out", "num_scenes=0"], "num_scenes"),
    (["separate", "checkpoint=gone.ckpt"], "recording"),
    (["separate", "recording=a.wav", "checkpoint=gone.ckpt"], "gone.ckpt"),
]


@pytest.mark.parametrize(
    ("arguments", "says"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else v
)
def test_mistakes_are_one_line_and_exit_with_2(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith(f"msdet {arguments[0]}: ")
    assert says in lines[0]
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == [], "nothing was written"


@pytest.mark.parametrize("way", ["--debug", "HYDRA_FULL_ERROR"])
def test_the_traceback_is_shown_on_request(
    way: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["train", "criterion.weight=1.2"]
    if way == "--debug":
        arguments.append(way)
    else:
        monkeypatch.setenv(way, "1")
    assert main(arguments) == 2
    lines = errors(capsys)
    assert lines[0].startswith("Traceback")
    assert "criterion.weight" in lines[-1]


def test_ctrl_c_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("msdet.cli.run", stopped)
    assert main(["train"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_separating_leaves_a_file_and_a_full_folder_alone(
    tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "speaker1.wav").write_text("mine")
    for name in ("file", "full"):
        arguments = [f"checkpoint={saved}", "recording=a.wav", f"output={tmp_path / name}"]
        assert main(["separate", *arguments]) == 2
        assert name in errors(capsys)[-1]
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "full" / "speaker1.wav").read_text() == "mine"


# --- configs ------------------------------------------------------------------------------


def test_the_printed_config_is_the_one_that_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    overrides = ["experiment=quickstart", "trainer.epochs=7", "seed=3"]
    assert main(["train", *overrides, "--config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    config = parse(TrainConfig, printed)
    assert config == parse(TrainConfig, compose("train", overrides))
    assert (config.trainer.epochs, config.seed, config.name) == (7, 3, "quickstart")


@pytest.mark.parametrize(
    "arguments", [["--config", "seed=3"], ["seed=3", "--config"], ["name=a", "--config", "seed=3"]]
)
def test_options_and_settings_may_be_mixed(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["seed"] == 3


NAMES = (
    "plain.wav",
    "two words.wav",
    "a=b.wav",
    "runs/a=b (1)/model.ckpt",
    "it's.wav",
    'say "hi".wav',
    "one,two.wav",
    "[draft].wav",
    "{old}.wav",
    "back\\slash = 1.wav",
    "colon: yes.wav",
    "50%.wav",
    "#3.wav",
    "~home.wav",
    "a;b&c!.wav",
    "größe.wav",
    "-start.wav",
    "dots...wav",
    "trailing\\",
)


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_reaches_the_command(name: str) -> None:
    values = compose("separate", [f"recording={name}", "checkpoint=model.ckpt"])
    assert parse(SeparateConfig, values).recording == name


@settings(deadline=None, max_examples=150)
@given(st.text("abc12.-_/ =,()[]{}'\"\\;:&#%+!@~é", min_size=1, max_size=12))
def test_any_name_is_parsed_back_to_itself(name: str) -> None:
    """What Hydra makes of a quoted override, for all names but those that read as other values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    name = f"x{name}x"  # no spaces at the ends, no number, no list
    override = OverridesParser.create().parse_override(quoted(f"recording={name}"))
    assert not override.is_sweep_override()
    assert override.value() == name


def test_a_value_with_a_comma_is_quoted_as_the_refusal_says() -> None:
    with pytest.raises(InputError) as refused:
        compose("train", ["init_from=my a,b.ckpt"])
    advice = shlex.split(str(refused.value))[-1]
    assert compose("train", [advice])["init_from"] == "my a,b.ckpt"


@pytest.mark.parametrize("command", ["evaluate", "simulate", "separate", "bank", "import"])
def test_many_runs_are_for_training(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--multirun", "seed=0,1"])
    assert done.value.code == 2
    assert errors(capsys)[-1].endswith(f"--multirun is for train: {command} makes one run")


def test_the_runs_of_a_sweep_are_printed_and_not_trained(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ["criterion.assignment=azimuth,cyclic", "seed=range(2)", "experiment=debug"]
    assert main(["train", "--multirun", *sweep, "--config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["output"] == "outputs/sweeps/debug"
    configs = [compose("train", overrides) for overrides in printed["runs"].values()]
    found = [(config["criterion"]["assignment"], config["seed"]) for config in configs]
    assert found == [("azimuth", 0), ("azimuth", 1), ("cyclic", 0), ("cyclic", 1)]
    assert list(tmp_path.iterdir()) == []


def test_a_bare_word_is_not_a_setting() -> None:
    with pytest.raises(InputError, match=r"recording\.wav.*KEY=VALUE"):
        quoted("recording.wav")


def test_values_keep_their_types() -> None:
    values = compose("train", ["trainer.freeze=[encoder]", "trainer.ema_decay=0.99", "seed=4"])
    assert values["trainer"]["freeze"] == ["encoder"]
    assert values["trainer"]["ema_decay"] == 0.99
    assert values["seed"] == 4
    assert values["init_from"] is None


# --- settings that nobody means -----------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        *("~nope", "~", "+", "++", "=", "+=", "=x", "", "a b=1", "/seed=1", "seed", "a.b.c="),
        *("scene@x=1", "@x=1", "array@a:b=circle4", "model@foo=small", "array@_global_=circle4"),
        *("+scene.t60.low=1", "scene.t60.low=0.2", "scene.t60[0]=0.2", "scene.t60={a:1}"),
        *("scene=[1,2]", "scene={a:1}", "scene=null", "trainer=null", "model=3", "experiment=nope"),
        *("seed=${..}", "seed=${x.y}", "name=${name}", "seed=${oc.env:NOPE}", "name=${"),
        *("name=${oc.decode:'['}", "output=${output}", "seed=glob(*)"),
        *("hydra.run.dir=x", "+hydra.x=1", "hydra/launcher=basic", "+experiment=debug"),
    ],
)
def test_odd_settings_are_refused_in_a_line_that_names_them(
    odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "experiment=debug", odd, "--config"]) == 2
    (line,) = errors(capsys)
    key = odd.partition("=")[0].strip("~+").partition("@")[0]
    assert key in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "x" * 300),
        ("output", "a\0b"),
        ("seed", 10**30),
        ("trainer.epochs", 10**12),
        ("trainer.learning_rate", 1e300),
        ("data.valid_scenes", 10**12),
        ("data.crop_seconds", 1e12),
        ("data.train_rooms", 10**12),
        ("data.arrays.drawn", 10**12),
        ("model.encoder.channels", [10**6]),
        ("model.encoder.blocks", [10**5]),
        ("array.num_mics", 10**9),
        ("scene.imperfections.gain_db", 1e12),
        ("scene.background.talkers", [4, 10**12]),
        ("scene.t60_per_octave", [1.0] * 1000),
    ],
)
def test_numbers_and_texts_beyond_all_bounds_are_refused_in_a_short_line(
    key: str, value: object
) -> None:
    values = compose("train", ["experiment=debug"])
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    with pytest.raises(InputError) as caught:
        prepare(parse(TrainConfig, values))
    assert last in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 450


def test_more_scenes_than_can_be_counted_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "output=nowhere", "num_scenes=1000000000000"]) == 2
    (line,) = errors(capsys)
    assert "num_scenes=1000000000000" in line


def test_null_takes_a_choice_back_where_there_need_be_none() -> None:
    assert compose("separate", ["recording=x.wav", "array=circle6", "array=null"])["array"] is None
    plain = compose("train", [])
    assert compose("train", ["experiment=debug", "experiment=null"]) == plain
