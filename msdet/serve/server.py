# SPDX-License-Identifier: Apache-2.0
"""The web server: what it lets in and out, and its end."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from msdet.errors import InputError
from msdet.serve.command import is_loopback
from msdet.serve.config import ServeConfig

_ASSETS = Path(__file__).parent / "assets"

# Nothing from elsewhere, nor to elsewhere. Gradio compiles the templates of its components in the
# page, and takes the styles of its elements from their attributes.
_POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; frame-ancestors 'none'; "
    "form-action 'self'; base-uri 'self'"
)

_REFUSED = ("../", "file=http:", "file=https:", "/proxy=")
"""Of paths, decoded: gradio would fetch what has an address of its own."""


def make_app(page: gr.Blocks, config: ServeConfig) -> FastAPI:
    """The page with what guards it: no file but its own, no other site's requests."""
    middleware = [Middleware(_Guard)]
    if is_loopback(config.host):
        # A site whose name is made to point here would otherwise be let in (DNS rebinding).
        names = ["localhost", "127.0.0.1", "::1", "[::1]", config.host]
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=names))
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=middleware)
    gr.mount_gradio_app(
        app,
        page,
        "/",
        allowed_paths=[],
        max_file_size=round(config.max_megabytes * 1e6),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        theme=_theme(),
        css_paths=_ASSETS / "page.css",
    )
    # Else gradio, mounted on another app, takes any file of this machine for an upload.
    page.has_launched = True
    return app


def run_server(page: gr.Blocks, config: ServeConfig) -> None:
    """Serve until Ctrl-C or SIGTERM, which come out as what they raise in any command.

    Raises:
        InputError: the server does not start.
    """
    settings = uvicorn.Config(
        make_app(page, config),
        host=config.host,
        port=config.port,
        log_level="warning",
        timeout_graceful_shutdown=1,  # an open page holds a connection that never ends
    )
    server = uvicorn.Server(settings)
    server.run()
    if not server.started:
        raise InputError(f"host={config.host} port={config.port}: the server did not start")
    raise KeyboardInterrupt  # also in a job in the background, which is told by SIGTERM alone


class _Guard:
    """Refuses what leads elsewhere, and tells browsers to ask for nothing from there."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(mark in scope["path"] for mark in _REFUSED):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"not of this page"})
            return

        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = {
                    b"content-security-policy": _POLICY.encode(),
                    b"referrer-policy": b"no-referrer",
                    b"x-content-type-options": b"nosniff",
                }
                message["headers"] = [*message["headers"], *added.items()]
            await send(message)

        await self._app(scope, receive, with_policy)


def _theme() -> gr.themes.Base:
    """System fonts: gradio's own would come from a server of Google's."""
    sans = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
    mono = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
    return gr.themes.Default(
        primary_hue="sky",
        secondary_hue="sky",
        neutral_hue="slate",
        font=list(sans),
        font_mono=list(mono),
    ).set(  # white on gradio's own blue does not read well
        button_primary_background_fill="#0b5c8f",
        button_primary_background_fill_hover="#094a74",
        button_primary_background_fill_dark="#1f78b4",
        button_primary_background_fill_hover_dark="#0b5c8f",
    )
