# SPDX-License-Identifier: Apache-2.0
"""The page's guard: who may ask, for what, and how much may be sent and is kept."""

from __future__ import annotations

import ipaddress
import logging
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msdet.errors import InputError
from msdet.serve.config import is_loopback

_log = logging.getLogger(__name__)

# Nothing from elsewhere, nor to elsewhere. Gradio compiles the templates of its components in the
# page, and takes the styles of its elements from their attributes.
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)
_ADDED = {
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
}

_ELSEWHERE = ("../", "file=http:", "file=https:", "/proxy=")
"""Parts of decoded paths that are refused: gradio would fetch what has an address of its own."""

_UPLOAD = "/gradio_api/upload"
_POSTS = (_UPLOAD, "/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset")
"""Paths that the page posts to. Gradio has more, for components that are not on it."""

_MOST_BYTES = 1_000_000
"""Size of a request that is no upload: the page sends a few hundred."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^\[\]:/@,]+)(:[0-9]*)?")
"""One host, with or without a port."""


class Guard:
    """Middleware that refuses in one line what the page itself never asks.

    Args:
        host: address that is listened on. storage: which uploads must fit in.
    """

    def __init__(self, app: ASGIApp, host: str, storage: Storage) -> None:
        self._app, self._storage = app, storage
        self._names = {"localhost", host.lower()}
        self._any_address = not is_loopback(host)
        if self._any_address:
            name = socket.gethostname().lower()
            self._names |= {name, f"{name}.local"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close"})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or let gradio answer. What it raises comes of the request: jobs run elsewhere."""
        started = failed = False

        async def sent(message: Message) -> None:
            nonlocal started, failed
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_ADDED.items()]
                failed = message["status"] == 500  # which comes before what is raised
            if not failed:
                started = True
                await send(message)

        try:
            answer: ASGIApp
            with ExitStack() as uploads:
                answer = self._refused(scope, uploads) or self._app
                await answer(scope, receive, sent)
        except Exception as error:
            log = "%s %.200r: cannot be answered (%s: %.200r)"
            _log.warning(log, scope["method"], scope["path"], type(error).__name__, str(error))
        if not started:
            with suppress(Exception):  # nobody may be there any more
                await PlainTextResponse("this cannot be answered", 400)(scope, receive, sent)

    def _refused(self, scope: Scope, uploads: ExitStack) -> PlainTextResponse | None:
        """Return the answer to a request that the page never makes; None for one that it may.

        Args:
            uploads: closed as soon as an upload, for which there is room, is there.
        """
        headers = Headers(scope=scope)
        refusal = self._host(headers) or _sender(scope, headers) or _request(scope, headers)
        if refusal is None and scope["method"] == "POST" and scope["path"] == _UPLOAD:
            try:
                uploads.enter_context(self._storage.arriving(int(headers["content-length"])))
            except InputError as error:
                refusal = 413, str(error)
        return None if refusal is None else PlainTextResponse(refusal[1], refusal[0])

    def _host(self, headers: Headers) -> tuple[int, str] | None:
        """Refuse a site whose name was made to point here (DNS rebinding).

        It has a name: an address of digits cannot be made to point elsewhere.
        """
        found = _HOST.fullmatch(",".join(headers.getlist("host")).lower())
        name = "" if found is None else found["name"].strip("[]")
        try:
            address = ipaddress.ip_address(name)
            let_in = self._any_address or address.is_loopback
        except ValueError:
            let_in = False
        if let_in or name in self._names:
            return None
        return 400, "Host: open the page by the address that msdet serve printed"


def _sender(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    """Let other sites lead to the page by a link, and do nothing else with it.

    Programs send none of these headers; browsers send them of their own accord.
    """
    looks = scope["method"] in ("GET", "HEAD")
    ours = tuple(f"{scheme}://{headers['host']}/".lower() for scheme in ("http", "https"))
    senders = [f"{origin}/" for origin in headers.getlist("origin")]
    if not senders and not looks:
        senders = headers.getlist("referer")
    foreign = not all(sender.lower().startswith(ours) for sender in senders)
    elsewhere = headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin")
    if foreign or (elsewhere and not (looks and scope["path"] == "/")):
        return 403, "this request comes from another site, which may not use this page"
    return None


def _request(scope: Scope, headers: Headers) -> tuple[int, str] | None:
    path = scope["path"]
    if any(mark in path for mark in _ELSEWHERE):
        return 403, "this leads elsewhere"
    if scope["method"] in ("GET", "HEAD"):
        return None
    if scope["method"] != "POST" or path not in _POSTS:
        return 405, f"{scope['method']}: the page has nothing of this kind here"
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not length.isdecimal():
        return 411, "Content-Length: say how much is sent"
    if path != _UPLOAD and int(length) > _MOST_BYTES:
        return 413, f"Content-Length: at most {_MOST_BYTES} bytes, and this has {length}"
    return None


class Storage:
    """The folder of a page, with a folder for each upload and each result, whose oldest make room
    for new ones.

    Args:
        folder: where gradio keeps uploads. max_megabytes: of all files in it.
    """

    def __init__(self, folder: Path, max_megabytes: float) -> None:
        self.folder = folder
        self._max_megabytes = max_megabytes
        self._arriving = 0
        self._held: list[Path] = []
        self._lock = threading.Lock()

    @contextmanager
    def arriving(self, size: int) -> Iterator[None]:
        """Keep room for an upload while it comes.

        Args:
            size: bytes.
        Raises:
            InputError: all that may be deleted would not make room for it.
        """
        with self._lock:
            if self._clean(size) > 0:
                raise InputError(
                    f"there is no room for this upload of {size / 1e6:.1f} MB: the page keeps at "
                    f"most {self._max_megabytes:g} MB (max_stored_megabytes), and what is in use "
                    "stays; try again later"
                )
            self._arriving += size
        try:
            yield
        finally:
            with self._lock:
                self._arriving -= size

    @contextmanager
    def held(self, *uploads: Path) -> Iterator[Path]:
        """Yield a folder for a result, which is not made; keep it and uploads while a job works.

        Room for the result is made afterwards.
        """
        result = self.folder / uuid4().hex
        with self._lock:
            self._held += (result, *uploads)
        try:
            yield result
        finally:
            with self._lock:
                for path in (result, *uploads):
                    self._held.remove(path)
                self._clean(0)

    def _clean(self, needed: int) -> float:
        """Delete the oldest until so many bytes more fit; return how many are still missing."""
        sizes = {}
        for path in self.folder.iterdir():
            if path.is_dir():
                sizes[path] = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
            elif not self._arriving:  # else an upload in the middle, which has its room
                path.unlink(missing_ok=True)
        excess = sum(sizes.values()) + self._arriving + needed - 1e6 * self._max_megabytes
        for path in sorted(sizes, key=lambda path: path.stat().st_mtime):
            if excess <= 0:
                break
            if sizes[path] and not any(held.is_relative_to(path) for held in self._held):
                shutil.rmtree(path, ignore_errors=True)
                excess -= sizes[path]
        return excess
