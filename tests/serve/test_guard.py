# SPDX-License-Identifier: Apache-2.0
"""Who may ask the page for what: requests of other sites, of programs and of the page itself."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from starlette.types import Message, Receive, Scope, Send

from msdet.serve.guard import Guard, Storage

JOIN = "/gradio_api/queue/join"
UPLOAD = "/gradio_api/upload"
HERE = "127.0.0.1:7860"


class Page:
    """The page behind a guard, and what it was asked for."""

    def __init__(self, folder: Path, host: str) -> None:
        self.storage = Storage(folder, max_megabytes=3)
        self.guard = Guard(self._answer, host, self.storage)
        self.reached = 0
        self.raises: Exception | None = None

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached += 1
        if self.raises is not None:  # as starlette does: an answer, then the error itself
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Internal Server Error"})
            raise self.raises
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})

    def ask(
        self, method: str = "POST", path: str = JOIN, host: str | None = HERE, **headers: Any
    ) -> tuple[int, str]:
        """Status and text; of ``headers``, `_` stands for `-`, and a list for several of a name."""
        given: dict[str, Any] = {"content_length": "2"} if method == "POST" else {}
        given |= {"host": host} | headers
        raw = [
            (name.replace("_", "-").encode(), one.encode())
            for name, value in given.items()
            if value is not None
            for one in (value if isinstance(value, list) else [value])
        ]
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}"}

        scope = {"type": "http", "method": method, "path": path, "headers": raw}
        asyncio.run(self.guard(scope, receive, send))
        start, *bodies = sent
        assert dict(start["headers"])[b"content-security-policy"].startswith(b"default-src 'self'")
        return start["status"], b"".join(body["body"] for body in bodies).decode()


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path, "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (HERE, "http://127.0.0.1:7860"),
        (HERE, "HTTP://127.0.0.1:7860"),
        ("localhost:7860", "http://localhost:7860"),
        ("LOCALHOST:7860", "http://LocalHost:7860"),
        ("[::1]:7860", "http://[::1]:7860"),
        ("localhost", "http://localhost"),
        ("localhost", "https://localhost"),  # browsers leave out a usual port in both
        ("localhost:9000", "http://localhost:9000"),  # a tunnel with another port at this end
    ],
)
def test_the_page_itself_may_ask(page: Page, host: str, origin: str) -> None:
    assert page.ask(host=host, origin=origin, sec_fetch_site="same-origin") == (200, "answered")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://elsewhere.example",
        "https://127.0.0.1:7860.elsewhere.example",
        "http://127.0.0.1:7860@elsewhere.example",
        "http://127.0.0.1:7861",
        "http://127.0.0.1",
        "https://127.0.0.1",
        "http://localhost:7860",  # another name of the same machine is another site
        "http://[::1]:7860",
        "http://[::1",
        "http://127.0.0.1:port",
        "file://",
        "chrome-extension://abc",
        "127.0.0.1:7860",
        ["http://127.0.0.1:7860", "http://elsewhere.example"],
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_no_other_site_may_ask(page: Page, method: str, origin: str | list[str]) -> None:
    status, text = page.ask(method, origin=origin)
    assert (status, page.reached) == (403, 0)
    assert "another site" in text
    assert "\n" not in text


@pytest.mark.parametrize("path", [JOIN, UPLOAD, "/gradio_api/cancel", "/gradio_api/reset"])
def test_whatever_changes_something_is_guarded(page: Page, path: str) -> None:
    assert page.ask(path=path, origin="http://elsewhere.example")[0] == 403
    assert page.ask(path=path)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "something-new"])
def test_without_an_origin_the_browser_says_where_it_comes_from(page: Page, site: str) -> None:
    assert page.ask(sec_fetch_site=site)[0] == 403
    assert page.ask("GET", "/gradio_api/file=/x.wav", sec_fetch_site=site)[0] == 403
    assert page.reached == 0
    assert page.ask("GET", "/", sec_fetch_site=site)[0] == 200  # a link to the page


def test_without_both_the_referer_counts(page: Page) -> None:
    assert page.ask(referer="http://elsewhere.example/page")[0] == 403
    assert page.ask(referer=f"http://{HERE}/?__theme=dark")[0] == 200
    assert page.ask("GET", "/", referer="http://elsewhere.example/page")[0] == 200


def test_programs_may_ask_and_so_may_what_is_typed_into_the_address_bar(page: Page) -> None:
    assert page.ask()[0] == 200
    assert page.ask("GET", "/")[0] == 200
    assert page.ask("GET", "/config", sec_fetch_site="none")[0] == 200


@pytest.mark.parametrize(
    ("served", "host", "let_in"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "localhost:8000", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "elsewhere.example:7860", False),
        ("127.0.0.1", "localhost.elsewhere.example", False),
        ("127.0.0.1", "192.168.1.5:7860", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", None, False),
        ("127.0.0.1", "[::", False),
        ("127.0.0.1", "127.0.0.1:port", False),
        ("::1", "[::1]:7860", True),
        # Whoever serves to others knows its addresses, which no site can take over, and its name.
        ("0.0.0.0", "192.168.1.5:7860", True),
        ("0.0.0.0", "[fd00::5]:7860", True),
        ("0.0.0.0", "localhost:7860", True),
        ("0.0.0.0", f"{socket.gethostname()}:7860", True),
        ("0.0.0.0", f"{socket.gethostname()}.local", True),
        ("0.0.0.0", "elsewhere.example:7860", False),
        ("lab.example", "LAB.example:7860", True),
        ("lab.example", "elsewhere.example:7860", False),
    ],
)
def test_a_name_that_points_here_is_not_enough(
    tmp_path: Path, served: str, host: str | None, let_in: bool
) -> None:
    page = Page(tmp_path, served)
    status, _ = page.ask("GET", "/", host=host)
    assert (status, page.reached) == ((200, 1) if let_in else (400, 0))


def test_two_hosts_are_none(page: Page) -> None:
    assert page.ask(host=[HERE, "elsewhere.example"])[0] == 400  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"])
def test_other_methods_have_nothing_to_do_here(page: Page, method: str) -> None:
    assert page.ask(method)[0] == 405
    assert page.reached == 0


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/login",
        "/gradio_api/run/predict",
        "/gradio_api/component_server",
        "//gradio_api/upload",
    ],
)
def test_what_the_page_does_not_use_is_shut(page: Page, path: str) -> None:
    assert page.ask(path=path)[0] == 405
    assert page.reached == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_length": None}, 411),
        ({"content_length": "many"}, 411),
        ({"content_length": "-2"}, 411),
        ({"transfer_encoding": "chunked"}, 411),
        ({"content_length": "1000001"}, 413),
    ],
)
def test_how_much_comes_is_said_and_is_little(
    page: Page, headers: dict[str, Any], status: int
) -> None:
    assert page.ask(**headers)[0] == status
    assert page.reached == 0


def test_an_upload_for_which_there_is_no_room_is_refused(page: Page) -> None:
    status, text = page.ask(path=UPLOAD, content_length="3000001")
    assert (status, page.reached) == (413, 0)
    assert text.startswith("there is no room for this upload of 3.0 MB")
    for _ in range(2):  # and what has come is reserved no longer
        assert page.ask(path=UPLOAD, content_length="2000000")[0] == 200


def test_what_gradio_fails_at_is_a_line_and_no_traceback(
    page: Page, caplog: pytest.LogCaptureFixture
) -> None:
    page.raises = KeyError("odd\x1b[2Jrequest")
    assert page.ask()[0] == 400
    (record,) = caplog.records
    line = record.getMessage()
    assert "KeyError" in line
    assert "\x1b" not in line
    assert record.exc_info is None


def test_websockets_are_closed(page: Page) -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [(b"host", HERE.encode())]}
    asyncio.run(page.guard(scope, receive, send))
    assert sent == [{"type": "websocket.close"}]
    assert page.reached == 0
