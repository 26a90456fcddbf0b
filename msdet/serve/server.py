# SPDX-License-Identifier: Apache-2.0
"""The web server: gradio's page behind its guard, and its end."""

from __future__ import annotations

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from msdet.errors import InputError
from msdet.serve.config import ServeConfig
from msdet.serve.guard import Guard, Storage
from msdet.serve.result import ASSETS


def make_app(page: gr.Blocks, config: ServeConfig, storage: Storage) -> FastAPI:
    """Mount the page behind what guards it: no file but its own, no other site's requests."""
    guard = Middleware(Guard, host=config.host, storage=storage)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, middleware=[guard])
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
        css_paths=ASSETS / "page.css",
    )
    # Else gradio, mounted on another app, takes any file of this machine for an upload.
    page.has_launched = True
    return app


def run_server(page: gr.Blocks, config: ServeConfig, storage: Storage) -> None:
    """Serve until Ctrl-C or SIGTERM, which come out as what they raise in any command.

    Raises:
        InputError: the server does not start.
    """
    settings = uvicorn.Config(
        make_app(page, config, storage),
        host=config.host,
        port=config.port,
        http="h11",  # refuses headers of more than 64 kB
        log_level="warning",
        timeout_graceful_shutdown=1,  # an open page holds a connection that never ends
    )
    server = uvicorn.Server(settings)
    server.run()
    if not server.started:
        raise InputError(f"host={config.host} port={config.port}: the server did not start")
    raise KeyboardInterrupt  # also in a job in the background, which is told by SIGTERM alone


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
