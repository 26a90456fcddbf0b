# SPDX-License-Identifier: Apache-2.0
"""``msdet serve``: checks, the folder that all files of a session live in, the page, the end."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msdet.errors import InputError
from msdet.files import ProcessPaths
from msdet.parsing import parse
from msdet.serve.config import ServeConfig, is_loopback
from msdet.shipped import default_model, find_checkpoint


def run(values: dict[str, Any]) -> None:
    """Run ``msdet serve``: the page until Ctrl-C, which comes out as ``KeyboardInterrupt``.

    Raises:
        InputError: gradio is missing, the address is not of this machine alone or is taken, or
            the checkpoint cannot be loaded, or names classes of the user's without ``trust``.
    """
    config = parse(ServeConfig, values)
    if find_spec("gradio") is None:
        raise InputError("the page needs gradio; in the clone of msdet: pip install '.[serve]'")
    check_address(config)
    checkpoint = find_checkpoint(config.checkpoint) if config.checkpoint else default_model().path
    print(f"Loading {checkpoint.name} ...", flush=True)
    from msdet.inference.separator import load  # after that line: torch takes seconds to import
    from msdet.serve.worker import Worker

    separator = load(checkpoint, trust=config.trust)
    place = ProcessPaths(Path(tempfile.gettempdir()), "msdet-serve-")
    place.remove_leftovers()
    with (
        tempfile.TemporaryDirectory(prefix=place.prefix) as name,
        closing(Worker(separator.path, config.max_job_seconds, trust=config.trust)) as worker,
    ):
        folder = Path(name).resolve()
        # Gradio reads these when imported: to write below the folder alone, and to tell nobody.
        os.environ["GRADIO_TEMP_DIR"] = str(folder)
        os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_OFFLINE"] = "1"
        from msdet.serve.guard import Storage
        from msdet.serve.page import build_page
        from msdet.serve.server import run_server

        storage = Storage(folder, config.max_stored_megabytes)
        page = build_page(separator, worker, config, storage)
        shown = f"[{config.host}]" if ":" in config.host else config.host
        where = f"http://{shown}:{config.port} (model {separator.path.name})"
        print(f"The page is at {where}; Ctrl-C ends it", flush=True)
        run_server(page, config, storage)


def check_address(config: ServeConfig) -> None:
    """Refuse an address that others reach, unless that was asked for, and one that is taken.

    Raises:
        InputError: names the key.
    """
    if not config.allow_remote and not is_loopback(config.host):
        raise InputError(
            f"host={config.host}: other machines could reach the page, which asks nobody for a "
            "password; leave host at 127.0.0.1, or give allow_remote=true as well"
        )
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        with closing(socket.socket(family)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((config.host, config.port))
    except OSError as error:
        raise InputError(
            f"host={config.host} port={config.port}: cannot be listened on ({error.strerror}); "
            "give another port"
        ) from error
