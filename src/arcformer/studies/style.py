"""How figures look: one palette, one set of sizes, and their way into a page as data."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

__all__ = ["BLACK", "GREY", "SQUARE", "colours", "data_uri", "figure", "png", "png_uri", "svg_uri", "written"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008): told apart by people with any of the usual colour deficiencies."""

BLACK, GREY = "#222222", "#8A8A8A"

SQUARE = 3.1
"""Side of a square panel, inches."""

STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": BLACK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "text.color": BLACK,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.fonttype": "path",  # letters look the same where the font is missing
    "svg.hashsalt": "arcformer",  # the same figure is the same text
}


@contextmanager
def figure(width: float, height: float, *, layout: Literal["constrained"] | None = "constrained") -> Iterator[Figure]:
    """An empty figure of this size, inches, to draw in while the style holds."""
    with matplotlib.rc_context(STYLE):
        yield Figure(figsize=(width, height), layout=layout)


def colours(classes: Sequence[str]) -> dict[str, str]:
    """The colour of each class: by its place in the preset, so the same in every figure."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(classes)}


def svg_uri(drawn: Figure) -> str:
    """A figure of lines as a ``data:`` URI of SVG."""
    return data_uri(_saved(drawn, "svg", metadata={"Date": None}), "image/svg+xml")


def png_uri(drawn: Figure) -> str:
    """A figure with images as a ``data:`` URI of PNG, sharp on a dense screen."""
    return data_uri(png(drawn), "image/png")


def png(drawn: Figure) -> bytes:
    """A figure as the content of a PNG file, sharp on a dense screen."""
    return _saved(drawn, "png", dpi=110)


def written(drawn: Figure, kind: str) -> bytes:
    """A figure as the content of a ``png``, ``pdf`` or ``svg`` file, fit for print."""
    dates = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    return _saved(drawn, kind, dpi=160, metadata=dates[kind])


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a ``data:`` URI, so that a page needs no other file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _saved(drawn: Figure, kind: str, **options: Any) -> bytes:
    file = BytesIO()
    with matplotlib.rc_context(STYLE):
        drawn.savefig(file, format=kind, **options)
    return file.getvalue()
