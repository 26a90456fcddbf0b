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
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile

from tests.integration.browsing import (
    DESK,
    PHONE,
    SECONDS,
    WIDE,
    becomes,
    play_all,
    requested,
    resize,
    too_wide,
    use_scheme,
    wait_for,
    wait_until,
)
from tests.integration.conftest import Command
from tests.integration.serving import (
    FORM,
    JSON,
    MEGABYTE,
    a_file,
    answer,
    ask,
    boxes,
    choose,
    click,
    compass,
    complaints,
    join,
    links,
    message,
    name_of,
    open_tab,
    place_of,
    run_job,
    separate,
    stored,
    texts,
    upload,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from selenium.webdriver import Chrome

pytest.importorskip("gradio", reason="gradio is not installed")
pytestmark = pytest.mark.integration

RATE = 8000


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
    """A page of the tiny checkpoint: files of a megabyte and of 12 seconds, 3 MB of them all."""
    before = environment.get("TMPDIR")
    environment["TMPDIR"] = str(temporary)
    try:
        command = start(
            "serve",
            f"checkpoint={saved}",
            f"port={port}",
            "max_megabytes=1",
            "max_minutes=0.2",
            "max_stored_megabytes=3",
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
    wait_for(browser, "#msdet-separate")
    wait_until(browser, lambda: boxes(browser), len)
    return browser


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory, recording: NDArray[np.float32]) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "two voices.wav"
    soundfile.write(path, recording.T, RATE)
    return path


# --- in a browser -------------------------------------------------------------------------


def test_a_recording_is_separated_and_heard(page: Chrome, wav: Path, port: int) -> None:
    separate(page, wav)
    assert texts(page, ".msdet-outcome h2") == ["two voices.wav"]
    assert len(texts(page, ".msdet-speaker .azimuth")) == 2
    assert len(compass(page)) == 2
    heard = play_all(page, 3)
    assert [round(state["duration"], 2) for state in heard] == [1.0] * 3, heard
    assert all(state["time"] > 0 and state["playing"] == 1 for state in heard), heard
    assert links(page) == {"speaker1.wav", "speaker2.wav", "speakers.json"}
    assert complaints(page) == []
    assert [u for u in requested(page) if not u.startswith(f"http://127.0.0.1:{port}/")] == []


def test_an_arrow_fades_while_its_speaker_is_silent(page: Chrome, wav: Path) -> None:
    separate(page, wav)
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
          player.addEventListener('seeked', () => next(
            [...outcome.querySelectorAll('.arrow')].map((a) =>
              [a.classList.contains('silent'), a.getAttribute('transform')])), {once: true});
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

    def place() -> tuple[float, float]:
        return place_of(name_of(page, ".speaker-0"))

    x, y = wait_until(page, place, lambda seen: seen != (4.3, 3.1))
    speaker = page.find_element(By.CSS_SELECTOR, "#msdet-room .speaker-0")
    speaker.send_keys(Keys.ARROW_LEFT)
    becomes(page, place, (pytest.approx(x - 0.1, abs=0.051), y))
    page.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ARROW_LEFT)  # it kept the focus
    becomes(page, lambda: place()[0], pytest.approx(x - 0.6, abs=0.051))

    wanted = float(name_of(page, ".speaker-0").rpartition("azimuth ")[2].rstrip("°"))
    click(page, "#msdet-render")
    wait_for(page, ".msdet-outcome")
    truths = [float(t.partition("°")[0]) for t in texts(page, ".msdet-speaker dd.truth")]
    assert len(truths) == 2
    assert min(abs(truth - wanted) for truth in truths) < 0.6
    assert "microphones.wav" in links(page)
    assert "T60 0." in texts(page, ".msdet-outcome header p")[0]
    assert len(texts(page, ".msdet-true")) == 2
    heard = play_all(page, 5)  # the mixture, and of each speaker the estimate and the truth
    assert all(state["time"] > 0 and state["playing"] == 1 for state in heard), heard
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
    assert message(page, unlike="no recording").startswith("no microphones were chosen; choose")
    choose(page, "#msdet-array", "as in training")
    click(page, "#msdet-separate")
    assert message(page, unlike="were chosen").startswith("text.wav: cannot be read as audio")
    assert texts(page, ".msdet-outcome") == []
    separate(page, wav)
    assert texts(page, ".msdet-error") == []


def test_a_file_that_is_too_large_is_refused_on_the_page(page: Chrome, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(2 * MEGABYTE))
    boxes(page)[0].send_keys(str(large))
    shown = "return document.body.innerText"
    wait_until(
        page, lambda: page.execute_script(shown), lambda said: "maximum allowed size" in said
    )


def test_microphones_are_asked_for_before_the_button(page: Chrome) -> None:
    for tab, array, button in (
        ("Recording", "#msdet-array", "#msdet-separate"),
        ("Set up a room", "#msdet-room-array", "#msdet-render"),
    ):
        open_tab(page, tab)
        wait_for(page, f"{array} input")
        wait_for(page, button)
        top = "return document.querySelector(arguments[0]).getBoundingClientRect().top"
        above, below = (page.execute_script(top, selector) for selector in (array, button))
        assert above < below, tab


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_every_choice_of_a_dropdown_can_be_read(
    page: Chrome, size: tuple[int, int], port: int
) -> None:
    """Between its left edge and the arrow there is room for each, chosen or not."""
    dropdowns = {
        c["props"]["label"]: [shown for shown, _ in c["props"]["choices"]]
        for c in json.load(ask(port, "/config"))["components"]
        if c["type"] == "dropdown"
    }
    resize(page, *size)
    measured = set()
    for tab in ("Recording", "Example", "Set up a room"):
        open_tab(page, tab)
        wait_for(page, "[role=tabpanel] input[role=combobox]")
        found = page.execute_script(
            """const pen = document.createElement('canvas').getContext('2d');
            return [...document.querySelectorAll('input[role=combobox]')]
              .filter((e) => e.checkVisibility()).map((input) => {
                const style = getComputedStyle(input), box = input.getBoundingClientRect();
                const arrow = input.closest('.wrap').querySelector('svg').getBoundingClientRect();
                pen.font = style.font;
                const end = Math.min(arrow.left, box.right);
                const room = end - box.left - parseFloat(style.paddingLeft);
                const label = input.getAttribute('aria-label');
                return [label, room, arguments[0][label].map((c) => [c, pen.measureText(c).width])];
              })""",
            dropdowns,
        )
        for label, room, choices in found:
            measured.add(label)
            assert [c for c, width in choices if width > room] == [], (label, room, choices)
    assert measured == set(dropdowns)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(page: Chrome, scheme: str, wav: Path) -> None:
    resize(page, *PHONE)
    use_scheme(page, scheme)
    try:
        separate(page, wav)
        may = "svg, [role=tablist], .overflow-menu, .tab-container"
        becomes(page, lambda: too_wide(page, but=may), [])
        open_tab(page, "Set up a room")
        wait_for(page, "#msdet-room .thing")
        becomes(page, lambda: too_wide(page, but=may), [])
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


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"Host": "elsewhere.example"}),
        (403, {"Origin": "http://elsewhere.example"}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
    ],
)
def test_other_sites_cannot_upload(
    status: int, headers: dict[str, str], server: Command, port: int, temporary: Path
) -> None:
    before = stored(temporary)
    assert answer(port, "/gradio_api/upload", a_file(b"from elsewhere"), FORM | headers) == status
    assert stored(temporary) == before


def test_the_page_asks_browsers_to_load_nothing_from_elsewhere(server: Command, port: int) -> None:
    assert "default-src 'self'" in str(ask(port, "/").headers["content-security-policy"])


def test_a_job_cannot_name_a_file_elsewhere(server: Command, port: int, temporary: Path) -> None:
    """The page sends where its upload lies: another place is refused before it is opened."""
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    assert join(port, "msdet-separate", [file, "own", "[]"]) == 400
    assert not any(temporary.rglob("passwd")), "nor is it copied"


def test_uploads_beyond_the_limit_are_refused(server: Command, port: int, temporary: Path) -> None:
    body = a_file(bytes(2 * MEGABYTE))
    with suppress(urllib.error.URLError, ConnectionError):  # it is cut off while it comes
        assert answer(port, "/gradio_api/upload", body, FORM) == 413
    assert max((p.stat().st_size for p in temporary.rglob("*")), default=0) <= MEGABYTE


def test_uploads_together_stay_below_the_limit(server: Command, port: int, temporary: Path) -> None:
    """The oldest go; a job whose file went says so, and the newest is there."""
    paths = []
    for number in range(5):
        body = a_file(bytes([number]) * (9 * MEGABYTE // 10))
        paths += json.load(ask(port, "/gradio_api/upload", body, **FORM))
        assert sum(stored(temporary).values()) <= 3 * MEGABYTE
    assert [Path(path).exists() for path in paths] == [False, False, True, True, True]
    gone = {"path": paths[0], "meta": {"_type": "gradio.FileData"}}
    assert "a.wav: is no longer here" in run_job(port, "msdet-separate", [gone, "own", "[]"])


NULLS = [None] * 20
ODD = {"path": "a\0b", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("button", "data"),
    [
        ("msdet-separate", [None]),
        ("msdet-separate", [ODD, "own", "[]"]),
        ("msdet-separate", [3, "own", "[]"]),
        ("msdet-separate", [{}, "own", "[]"]),
        ("msdet-separate", [None, "/etc/passwd", "[]"]),
        ("msdet-separate", [None, ["own"], "[]"]),
        ("msdet-separate", {"file": None}),
        ("msdet-example", ["bundled-none", 0]),
        ("msdet-example", ["bundled-easy", "first"]),
        ("msdet-example", ["bundled-easy", 1e9]),
        ("msdet-example", ["bundled-easy", float("nan")]),
        ("msdet-render", NULLS),
        ("msdet-render", ["room"] * 20),
        (-1, []),
        (10_000, []),
        ("first", []),
        (None, []),
    ],
)
def test_no_control_sends_this(
    button: str | int | None, data: Any, server: Command, port: int
) -> None:
    assert 400 <= join(port, button, data) < 500


def test_nothing_that_a_page_does_takes_no_values(server: Command, port: int) -> None:
    for job in json.load(ask(port, "/config"))["dependencies"]:
        assert join(port, job["id"], []) == 400, job


def test_what_is_no_drawing_is_told_on_the_page(server: Command, port: int) -> None:
    values = [0.25, 4, 30, 0, "own", "[]", None, None]
    for drawn in (None, 5, {}, {"size": [6, "wide"]}):
        assert "room: " in run_job(port, "msdet-render", [drawn, 2.8, *values])


def test_who_is_not_known_is_told_so(server: Command, port: int) -> None:
    """In the stream, as gradio's page expects it, which then asks anew."""
    stream = ask(port, "/gradio_api/queue/data?session_hash=nobody")
    line = stream.readline().decode()
    assert json.loads(line.removeprefix("data: "))["session_not_found"] is True


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/gradio_api/queue/join", b"{", JSON, 422),
        ("/gradio_api/queue/join", b"[]", JSON, 422),
        ("/gradio_api/queue/join", b"[" * 100_000, JSON, 400),
        ("/gradio_api/queue/join", b"\xff\xfe{}", JSON, 422),
        ("/gradio_api/queue/join", b"{}", {}, 422),
        ("/gradio_api/queue/join", b"{", {**JSON, "Content-Length": str(MEGABYTE + 1)}, 413),
        ("/gradio_api/cancel", b"{}", JSON, 422),
        ("/gradio_api/reset", b"3", JSON, 422),
        ("/gradio_api/run/predict", b'{"data": []}', JSON, 405),
        ("/gradio_api/call/separate", b'{"data": []}', JSON, 405),
        ("/gradio_api/component_server", b"--x--\r\n", FORM, 405),
        ("/login", b"username=a&password=b", {}, 405),
        ("/", b"", {}, 405),
        ("/gradio_api/upload", b"junk", FORM, 400),
        ("/gradio_api/upload", b"x", {"Content-Type": "multipart/form-data"}, 400),
        ("/gradio_api/upload", b"{}", JSON, 400),
        ("/gradio_api/upload", b'--x\r\nA: "\r\n\r\nabc\r\n--x--\r\n', FORM, 400),
        ("/gradio_api/upload", "form-data", FORM, 400),
        ("/gradio_api/upload", 'form-data; name="files"', FORM, 400),
        ("/gradio_api/upload?upload_id=a", 'form-data; name="other"', FORM, 400),
        ("/gradio_api/upload", 'form-data; name="files"; filename=".."', FORM, 400),
        ("/gradio_api/upload", f'form-data; name="files"; filename="{"a" * 20_000}"', FORM, 413),
        ("/gradio_api/queue/data", None, {}, 422),
        ("/gradio_api/upload", None, {}, 405),
        ("/gradio_api/upload_progress", None, {}, 422),
        ("/gradio_api/stream/a/b/c/playlist.m3u8", None, {}, 422),
        ("/gradio_api/custom_component/1/client/component/x", None, {}, 404),
        ("/gradio_api/nothing", None, {}, 404),
        ("/gradio_api/file=a%00b", None, {}, 403),
        ("/gradio_api/file=%ff%fe", None, {}, 403),
        ("/gradio_api/file=" + "a" * 3000, None, {}, 403),
        ("/static/" + "a" * 3000, None, {}, 400),
        ("/static/a%00b", None, {}, 404),
        ("/", None, {"X-Forwarded-Host": "a:::"}, 400),
    ],
)
def test_malformed_requests_are_refused(
    path: str,
    body: bytes | str | None,
    headers: dict[str, str],
    status: int,
    server: Command,
    port: int,
) -> None:
    """That they leave no traceback is seen when the page ends, below."""
    sent = a_file(b"abc", body) if isinstance(body, str) else body
    assert answer(port, path, sent, headers) == status


@pytest.mark.parametrize(
    "lines",
    [
        b"junk",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: elsewhere.example",
        b"GET / HTTP/1.1\r\nHost: [::",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000,
        b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5",
        b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
        b"\r\n\r\nzz",
        b"PUT /gradio_api/queue/join HTTP/1.1\r\nHost: localhost",
        b"FOO / HTTP/1.1\r\nHost: localhost",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost",
    ],
)
def test_what_is_no_request_is_refused(lines: bytes, server: Command, port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port), SECONDS)) as connection:
        connection.sendall(lines + b"\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 4")


def test_an_upload_that_breaks_off_leaves_nothing(
    server: Command, port: int, temporary: Path
) -> None:
    head = b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n"
    head += b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    (session,) = temporary.glob("msdet-serve-*")

    def pieces() -> bool:
        return any(path.is_file() for path in session.iterdir())

    with closing(socket.create_connection(("127.0.0.1", port), SECONDS)) as connection:
        connection.sendall(head + a_file(bytes(200_000))[:-10])
        server.wait_until(pieces)
    # Whenever the server notices, the next upload finds the place clean.
    server.wait_until(
        lambda: answer(port, "/gradio_api/upload", a_file(b"next"), FORM) == 200 and not pieces()
    )


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
    loads, address, *_ = ended.out.splitlines()
    assert loads == "Loading model.ckpt ..."
    assert address.startswith("The page is at http://127.0.0.1:")
    assert ended.err.strip().endswith("stopped")
    assert "Traceback" not in ended.out + ended.err, "of none of the requests above"
    assert list(temporary.glob("msdet-serve-*")) == []
