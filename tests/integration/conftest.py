# SPDX-License-Identifier: Apache-2.0
"""Real commands in processes of their own, and one trained run that the tests share."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import soundfile

from msdet.cli import main
from msdet.corpora import BundledConfig, open_corpus
from tests.integration.browsing import SECONDS

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

RATE = 8000
Once = Callable[[str, Callable[[Path], None]], Path]
PATIENCE = 500.0
"""Seconds that a command may take; on a busy machine one takes minutes to import torch."""


@dataclass(frozen=True)
class Finished:
    """How a command ended; a signal's code is negative."""

    code: int
    out: str
    err: str


class Command:
    """A running command, in a process group of its own as a shell would start it."""

    def __init__(
        self, command: list[str], logs: Path, environment: dict[str, str], largest_file: int | None
    ) -> None:
        logs.mkdir(parents=True)
        self.out, self.err = logs / "out", logs / "err"

        def begin() -> None:
            # Tests that run in the background of a script inherit that Ctrl-C is ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                env=environment,
                start_new_session=True,
                preexec_fn=begin,
            )

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Return as soon as something is so; the command must not end before."""
        until = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.err.read_text()
            assert time.monotonic() < until, self.err.read_text()
            time.sleep(0.002)

    def interrupt(self, number: int = signal.SIGINT) -> Finished:
        """Ctrl-C, which a terminal sends to every process of the command, or what a scheduler
        sends to all of a job."""
        assert self.process.poll() is None, self.err.read_text()
        os.killpg(self.process.pid, number)
        return self.finish()

    def kill(self) -> Finished:
        """``kill -9`` of the command alone: the processes that it started must end with it."""
        assert self.process.poll() is None, self.err.read_text()
        self.process.kill()
        result = self.finish()
        assert result.code == -signal.SIGKILL
        self.must_leave_nothing()
        return result

    def must_leave_nothing(self) -> None:
        """See that all processes of a command that ended are gone, or soon are."""
        until = time.monotonic() + 30
        while (left := self._living()) and time.monotonic() < until:
            time.sleep(0.02)
        for process in left:
            process.kill()
        assert not left, "processes that outlive the one that started them"

    def _living(self) -> list[psutil.Process]:
        """What still runs of the command's processes."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                mine = os.getpgid(process.pid) == self.process.pid
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def finish(self) -> Finished:
        code = self.process.wait(PATIENCE)
        return Finished(code, self.out.read_text(), self.err.read_text())


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An empty home, one thread, no accelerator."""
    home = tmp_path_factory.mktemp("home")
    changed = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return {**os.environ, **changed}


def use_home(environment: dict[str, str], patch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        patch.setenv(name, environment[name])


@pytest.fixture
def same_home(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that a test calls as functions use the caches of those that run as processes."""
    use_home(environment, monkeypatch)


@pytest.fixture(scope="session")
def start(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Command]]:
    """Start ``python -m msdet ...``, or ``script=`` in its place.

    ``largest_file``, in bytes, is what a disk that is nearly full looks like: writing beyond it
    fails.
    """
    logs = tmp_path_factory.mktemp("logs")
    started: list[Command] = []

    def started_command(
        *arguments: str, script: Path | None = None, largest_file: int | None = None
    ) -> Command:
        program = ["-m", "msdet"] if script is None else [str(script)]
        command = Command(
            [sys.executable, *program, *arguments],
            logs / str(len(started)),
            environment,
            largest_file,
        )
        started.append(command)
        return command

    yield started_command
    for command in started:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
            command.process.wait()


@pytest.fixture(scope="session")
def run(start: Callable[..., Command]) -> Callable[..., Finished]:
    """Run a command to its end, which must be a good one."""

    def finished(*arguments: str, script: Path | None = None) -> Finished:
        result = start(*arguments, script=script).finish()
        assert result.code == 0, result.err
        return result

    return finished


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A folder that the first of the processes that run tests makes, and all of them read."""
    root = tmp_path_factory.getbasetemp()
    root = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "shared"
    root.mkdir(exist_ok=True)

    def folder_of(name: str, make: Callable[[Path], None]) -> Path:
        finished = root / f"{name}.finished"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                make(root / name)
                finished.touch()
        return root / name

    return folder_of


@pytest.fixture(scope="session")
def debug(once: Once) -> tuple[str, ...]:
    """The tiny experiment, on seconds of eight voices: decoding minutes of them takes longer."""

    def make(folder: Path) -> None:
        corpus = open_corpus(BundledConfig(), RATE)
        for speaker in corpus.speakers[:8]:
            audio = corpus.read(corpus.of_speaker(speaker)[0])
            (folder / speaker).mkdir(parents=True)
            for take in range(2):
                piece = audio[(5 + 5 * take) * RATE : (10 + 5 * take) * RATE]
                soundfile.write(folder / speaker / f"{take}.wav", piece, RATE)

    return "experiment=debug", "corpus=folder", f"corpus.path={once('speech', make)}"


@pytest.fixture(scope="session")
def trained(
    run: Callable[..., Finished],
    debug: tuple[str, ...],
    once: Once,
) -> Path:
    """The folder of a run that nothing interrupted."""

    def make(folder: Path) -> None:
        run("train", *debug, f"output={folder}")

    return once("trained", make)


@pytest.fixture(scope="session")
def simulated(
    start: Callable[..., Command],
    environment: dict[str, str],
    once: Once,
) -> Path:
    """The folder of 24 rendered scenes: killed after a few of them, then made complete."""
    return once("scenes", lambda folder: simulate_in_two(folder, start, environment))


def simulate_in_two(
    folder: Path, start: Callable[..., Command], environment: dict[str, str]
) -> None:
    command = [
        "simulate",
        f"output={folder}",
        "audio=true",
        "num_scenes=24",
        "seconds=2",
        "sample_rate=8000",
        "num_workers=1",
    ]
    killed = start(*command)
    killed.wait_until(lambda: len(list(folder.glob("audio/test-*"))) >= 3)
    killed.kill()
    shards = [path.read_text().splitlines() for path in (folder / "scenes").iterdir()]
    finished = [json.loads(row)["id"] for rows in shards for row in rows]
    there = {name: (folder / "audio" / name).stat().st_mtime_ns for name in finished}
    assert 1 <= len(there) < 24
    with pytest.MonkeyPatch.context() as patch:
        use_home(environment, patch)
        assert main(command) == 0
    for name, changed in there.items():
        assert (folder / "audio" / name).stat().st_mtime_ns == changed, "rendered again"


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    arguments = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"]
    arguments.append("--autoplay-policy=no-user-gesture-required")
    arguments.append("--force-prefers-reduced-motion")  # or clicks miss what still scrolls
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # chromium refuses root otherwise, as in containers
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()
