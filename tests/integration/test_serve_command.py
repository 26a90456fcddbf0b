# SPDX-License-Identifier: Apache-2.0
"""``msdet serve`` as a process, in a real browser and by hand-made requests.

The browser's part needs selenium, chromium and its driver; see test_report_in_browser.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile

from tests.integration.browsing import DESK, PHONE, requested, resize, too_wide, use_scheme
from tests.integration.conftest import Command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from selenium.webdriver import Chrome

pytest.importorskip("gradio", reason="gradio is not installed")
pytestmark = pytest.mark.integration

RATE = 8000
SECONDS = 300.0  # that a job may take on a machine that has other things to do


@pytest.fixture(scope="module")
def port() -> int:
    with closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def server(
    start: Callable[..., Command],
    environment: dict[str, str],
    saved: Path,
    port: int,
    temporary: Path,
) -> Iterator[Command]:
    """A page of the tiny checkpoint that takes files of a megabyte and of 12 seconds."""
    before = environment.get("TMPDIR")
    environment["TMPDIR"] = str(temporary)
    try:
        command = start(
            "serve",
            f"checkpoint={saved}",
            f"port={port}",
            "max_megabytes=1",
            "max_minutes=0.2",
            script=Path(__file__).with_name("everybody.py"),
        )
    finally:
        environment.pop("TMPDIR")
        if before is not None:
            environment["TMPDIR"] = before
    command.wait_until(lambda: answers(port))
    yield command
    if command.process.poll() is None:
        command.interrupt()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.fixture
def page(browser: Chrome, server: Command, port: int) -> Chrome:
    """The page, freshly opened on a desk."""
    resize(browser, *DESK)
    browser.get(f"http://127.0.0.1:{port}/")
    wait_for(browser, "#msdet-room svg .thing, #msdet-file input[type=file]")
    return browser


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory, recording: NDArray[np.float32]) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "two voices.wav"
    soundfile.write(path, recording.T, RATE)
    return path


# --- in a browser -------------------------------------------------------------------------


def test_a_recording_is_separated_and_heard(page: Chrome, wav: Path, port: int) -> None:
    upload(page, wav)
    click(page, "#msdet-separate")
    wait_for(page, ".msdet-outcome")
    assert texts(page, ".msdet-outcome h2") == ["two voices.wav"]
    assert len(texts(page, ".msdet-speaker .azimuth")) == 2
    before = compass(page)
    assert len(before) == 2
    heard = page.execute_async_script(
        """const [limit, done] = arguments;
        const players = [...document.querySelectorAll('#msdet-result audio')];
        const play = async (player) => {
          await player.play();
          const end = performance.now() + limit;
          while (player.currentTime === 0 && performance.now() < end)
            await new Promise((next) => setTimeout(next, 10));
          return {time: player.currentTime, duration: player.duration,
                  playing: players.filter((p) => !p.paused).length};
        };
        (async () => {
          const states = [];
          for (const player of players) states.push(await play(player));
          players.forEach((p) => p.pause());
          done(states);
        })().catch((error) => done([{error: String(error)}]));""",
        15000,
    )
    assert [round(state["duration"], 2) for state in heard] == [1.0] * 3, heard
    assert all(state["time"] > 0 and state["playing"] == 1 for state in heard), heard
    assert links(page) == {"speaker1.wav", "speaker2.wav", "speakers.json"}
    assert complaints(page) == []
    assert [u for u in requested(page) if not u.startswith(f"http://127.0.0.1:{port}/")] == []


def test_an_arrow_fades_while_its_speaker_is_silent(page: Chrome, wav: Path) -> None:
    upload(page, wav)
    click(page, "#msdet-separate")
    wait_for(page, ".msdet-outcome")
    # Which frames a random network finds active is not known: say when each one speaks.
    silent = page.execute_async_script(
        """const done = arguments[0];
        const outcome = document.querySelector('.msdet-outcome');
        const moving = JSON.parse(outcome.dataset.moving);
        moving.speakers[0].segments = [[0, 0.5]];
        moving.speakers[1].segments = [[0.5, 1]];
        moving.times = [0.25, 0.75];
        moving.speakers[0].windows = [10, 20];
        outcome.dataset.moving = JSON.stringify(moving);
        const player = outcome.querySelector('audio');
        const at = (time) => new Promise((next) => {
          player.addEventListener('seeked', () => setTimeout(() => next(
            [...outcome.querySelectorAll('.arrow')].map((a) =>
              [a.classList.contains('silent'), a.getAttribute('transform')])), 50), {once: true});
          player.currentTime = time;
        });
        (async () => done([await at(0.2), await at(0.8)]))();"""
    )
    assert [[arrow[0] for arrow in arrows] for arrows in silent] == [[False, True], [True, False]]
    assert silent[0][0][1] == "rotate(-10)"
    assert silent[1][0][1] == "rotate(-20)"


def test_a_room_is_set_up_by_hand_and_by_keys(page: Chrome, port: int) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_tab(page, "Set up a room")
    wait_for(page, "#msdet-room .thing")
    speaker = page.find_element(By.CSS_SELECTOR, "#msdet-room .speaker-0")
    assert "Speaker 1 at 4.3, 3.1 m" in str(speaker.get_attribute("aria-label"))
    ActionChains(page).click_and_hold(speaker).move_by_offset(20, 30).release().perform()
    dragged = name_of(page, ".speaker-0")
    assert "Speaker 1 at 4.3, 3.1 m" not in dragged
    speaker = page.find_element(By.CSS_SELECTOR, "#msdet-room .speaker-0")
    speaker.send_keys(Keys.ARROW_LEFT)
    x, y = place_of(dragged)
    assert place_of(name_of(page, ".speaker-0")) == (pytest.approx(x - 0.1, abs=0.051), y)
    page.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)  # it kept the focus
    assert place_of(name_of(page, ".speaker-0"))[0] == pytest.approx(x - 0.6, abs=0.051)

    wanted = float(name_of(page, ".speaker-0").rpartition("azimuth ")[2].rstrip("°"))
    click(page, "#msdet-render")
    wait_for(page, ".msdet-outcome")
    truths = [float(t.partition("°")[0]) for t in texts(page, ".msdet-speaker dd.truth")]
    assert len(truths) == 2
    assert min(abs(truth - wanted) for truth in truths) < 0.6
    assert "microphones.wav" in links(page)
    assert complaints(page) == []
    assert [u for u in requested(page) if not u.startswith(f"http://127.0.0.1:{port}/")] == []


def test_bad_files_get_a_message_and_the_page_goes_on(
    page: Chrome, wav: Path, recording: NDArray[np.float32], tmp_path: Path
) -> None:
    click(page, "#msdet-separate")
    assert "no recording was chosen" in message(page)
    text = tmp_path / "text.wav"
    text.write_text("this is no audio")
    upload(page, text)
    click(page, "#msdet-separate")
    assert message(page, unlike="no recording").startswith("text.wav: cannot be read as audio")
    assert texts(page, ".msdet-outcome") == []
    upload(page, wav)
    click(page, "#msdet-separate")
    wait_for(page, ".msdet-outcome")
    assert texts(page, ".msdet-error") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(page: Chrome, scheme: str, wav: Path) -> None:
    resize(page, *PHONE)
    use_scheme(page, scheme)
    try:
        upload(page, wav)
        click(page, "#msdet-separate")
        wait_for(page, ".msdet-outcome")
        assert too_wide(page, but="svg, [role=tablist], .overflow-menu, .tab-container") == []
        open_tab(page, "Set up a room")
        wait_for(page, "#msdet-room .thing")
        assert too_wide(page, but="svg, [role=tablist], .overflow-menu, .tab-container") == []
    finally:
        use_scheme(page, "")


def test_controls_have_names(page: Chrome) -> None:
    open_tab(page, "Set up a room")
    wait_for(page, "#msdet-room .thing")
    nameless = page.execute_script(
        """return [...document.querySelectorAll('button, input, textarea, [tabindex="0"]')]
          .filter((e) => e.checkVisibility() && !(e.getAttribute('aria-label')
            || e.getAttribute('aria-labelledby') || e.title || e.textContent.trim()
            || [...(e.labels ?? [])].some((label) => label.textContent.trim())))
          .map((e) => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


# --- by hand-made requests ----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../../../etc/passwd",
        "/gradio_api/file=%2Fetc%2Fpasswd",
        "/gradio_api/file={temporary}/../../../../etc/passwd",
        "/gradio_api/file={session}/../../../../../../../etc/passwd",
        "/gradio_api/file=http://127.0.0.1:1/",
        "/gradio_api/file={cwd}/pyproject.toml",
        "/gradio_api/file=pyproject.toml",
        "/static/../../../../../../etc/passwd",
        "/proxy=http://127.0.0.1:1/",
    ],
)
def test_no_file_but_its_own_is_given(
    path: str, server: Command, port: int, temporary: Path
) -> None:
    (session,) = temporary.glob("msdet-serve-*")
    asked = path.format(temporary=temporary, session=session, cwd=os.getcwd())
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(port, asked)
    assert caught.value.code in (403, 404)
    assert b"root:" not in caught.value.read()


def test_a_file_of_the_session_is_given(server: Command, port: int, temporary: Path) -> None:
    (session,) = temporary.glob("msdet-serve-*")
    (session / "own.txt").write_text("own")
    assert ask(port, f"/gradio_api/file={session}/own.txt").read() == b"own"


def test_other_sites_are_not_let_in(server: Command, port: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        ask(port, "/", Host="elsewhere.example")
    assert caught.value.code == 400
    assert "default-src 'self'" in str(ask(port, "/").headers["content-security-policy"])


def test_a_job_cannot_name_a_file_elsewhere(server: Command, port: int, temporary: Path) -> None:
    """The page sends where its upload lies: another place is refused before it is opened."""
    config = json.load(ask(port, "/config"))
    labels = {c["id"]: c["props"].get("elem_id") for c in config["components"]}
    (job,) = [
        d
        for d in config["dependencies"]
        if [labels.get(target[0]) for target in d["targets"]] == ["msdet-separate"]
    ]
    data = [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, "own", "[]"]
    body = {"data": data, "fn_index": job["id"], "session_hash": "test"}
    ask(port, "/gradio_api/queue/join", json.dumps(body).encode(), **JSON)
    events = ask(port, "/gradio_api/queue/data?session_hash=test").read().decode()
    (done,) = [
        json.loads(line.removeprefix("data: "))
        for line in events.splitlines()
        if '"process_completed"' in line
    ]
    assert done["success"] is False, done
    assert not any(temporary.rglob("passwd")), "nor is it copied"
    assert "root:" not in events


def test_uploads_beyond_the_limit_are_refused(server: Command, port: int, temporary: Path) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
    body += bytes(2_000_000) + b"\r\n--x--\r\n"
    with pytest.raises((urllib.error.URLError, ConnectionError)) as caught:
        ask(port, "/gradio_api/upload", body, **{"Content-Type": "multipart/form-data; boundary=x"})
    if isinstance(caught.value, urllib.error.HTTPError):  # else it was cut off while it came
        assert caught.value.code == 413
    assert max((p.stat().st_size for p in temporary.rglob("*")), default=0) <= 1_000_000


# --- beginning and end --------------------------------------------------------------------


def test_an_address_that_others_reach_must_be_asked_for(
    start: Callable[..., Command], saved: Path
) -> None:
    refused = start("serve", f"checkpoint={saved}", "host=0.0.0.0").finish()
    assert refused.code == 2
    assert refused.err.startswith("msdet serve: host=0.0.0.0: other machines could reach the page")
    assert "allow_remote=true" in refused.err


def test_a_port_that_is_taken_is_said(start: Callable[..., Command], saved: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = start("serve", f"checkpoint={saved}", f"port={port}").finish()
    assert refused.code == 2
    assert f"port={port}: cannot be listened on" in refused.err


def test_ctrl_c_ends_it_and_its_folder(server: Command, temporary: Path) -> None:
    """Runs last: the page is gone after it."""
    assert list(temporary.glob("msdet-serve-*"))
    os.killpg(server.process.pid, signal.SIGINT)
    ended = server.finish()
    assert ended.code == 130
    assert ended.out.startswith("The page is at http://127.0.0.1:")
    assert ended.err.strip().endswith("stopped")
    refused = ended.err.rfind("InvalidPathError")  # gradio prints where it refused a file above
    assert "Traceback" not in ended.err[max(refused, 0) :]
    assert list(temporary.glob("msdet-serve-*")) == []


# --- what a person does -------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


def ask(port: int, path: str, body: bytes | None = None, **headers: str) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    return urllib.request.urlopen(request, timeout=SECONDS)


def wait_for(browser: Chrome, selector: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, SECONDS).until(
        lambda b: (
            any(e.is_displayed() for e in b.find_elements(By.CSS_SELECTOR, selector))
            or (
                selector.endswith("input[type=file]") and b.find_elements(By.CSS_SELECTOR, selector)
            )
        )
    )


def click(browser: Chrome, selector: str) -> None:
    browser.execute_script("document.querySelector(arguments[0]).click()", selector)


def upload(browser: Chrome, file: Path) -> None:
    """Choose a file, in place of the one that was chosen before."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    for clear in browser.find_elements(By.CSS_SELECTOR, "#msdet-file [aria-label='Clear']"):
        clear.click()
    box = WebDriverWait(browser, SECONDS).until(
        lambda b: b.find_element(By.CSS_SELECTOR, "#msdet-file input[type=file]")
    )
    box.send_keys(str(file))
    WebDriverWait(browser, SECONDS).until(
        lambda b: file.stem in b.find_element(By.CSS_SELECTOR, "#msdet-file").text
    )


def open_tab(browser: Chrome, name: str) -> None:
    browser.execute_script(
        """[...document.querySelectorAll('[role=tab]')]
          .find((tab) => tab.textContent.trim() === arguments[0]).click()""",
        name,
    )


def message(browser: Chrome, unlike: str | None = None) -> str:
    from selenium.webdriver.support.ui import WebDriverWait

    def said(_: object) -> str | None:
        found = texts(browser, ".msdet-error")
        return found[0] if found and not (unlike and unlike in found[0]) else None

    return str(WebDriverWait(browser, SECONDS).until(said))


def texts(browser: Chrome, selector: str) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())",
        selector,
    )
    return found


def links(browser: Chrome) -> set[str]:
    return set(
        browser.execute_script(
            "return [...document.querySelectorAll('.msdet-outcome a[download]')]"
            ".map((a) => a.download)"
        )
    )


def compass(browser: Chrome) -> list[str]:
    found: list[str] = browser.execute_script(
        "return [...document.querySelectorAll('.arrow')].map((a) => a.getAttribute('transform'))"
    )
    return found


def name_of(browser: Chrome, thing: str) -> str:
    return str(
        browser.execute_script(
            "return document.querySelector('#msdet-room ' + arguments[0]).ariaLabel", thing
        )
    )


def place_of(name: str) -> tuple[float, float]:
    """From "Speaker 1 at 4.3, 3.1 m, ..."."""
    x, y, *_ = name.partition(" at ")[2].replace(" m", "").split(", ")
    return float(x), float(y)


def complaints(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
