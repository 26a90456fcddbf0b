# SPDX-License-Identifier: Apache-2.0
"""The page itself: template, style and script put together with what they show."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from msdet.evaluation.report import tables
from msdet.evaluation.report.content import ReportContent
from msdet.evaluation.report.error_plot import error_plot
from msdet.evaluation.report.plots import (
    before_and_after,
    condition_plots,
    overall_plots,
    training_plots,
)
from msdet.evaluation.report.scene_views import view_of
from msdet.evaluation.report.svg import legend
from msdet.files import write_atomically
from msdet.metrics.summary import FEW_SCENES


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report as one HTML file that needs nothing beside it and asks nothing of a network.

    The same content gives the same bytes.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomically(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The page as text."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_piece),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    num_scenes = len(content.rows)
    script, scenes = _piece("report.js"), tables.scene_table(content)
    return environment.get_template("report.html.j2").render(
        policy=_policy(script),
        style=Markup(_piece("report.css")),
        script=Markup(script),
        title=content.title,
        command=content.command,
        made_with=content.made_with,
        main=content.systems[0],
        num_scenes=num_scenes,
        few_scenes=1 < num_scenes < FEW_SCENES,
        highlights=tables.highlights(content),
        clipped=content.summary.get("clipped", {}),
        summary=tables.summary_table(content),
        comparisons=tables.comparison_table(content),
        legend=legend(content.systems),
        overall=[*overall_plots(content), *error_plot(content)],
        scatters=before_and_after(content),
        conditions=condition_plots(content),
        training=training_plots(content),
        scenes=scenes,
        scenes_json=_json_for_html(scenes),
        views=[view_of(content, number) for number in range(len(content.scenes))],
    )


def _json_for_html(value: Any) -> Markup:
    """JSON that nothing inside can break out of: no ``<``, ``>`` or ``&`` is left in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(script: str) -> str:
    """The content policy: the browser may run this very script, inline styles, embedded data."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


@cache
def _piece(name: str) -> str:
    """A file of this package, lines ending in ``\\n`` as browsers hash them."""
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    return text.replace("\r\n", "\n").rstrip("\n")
