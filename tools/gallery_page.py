"""The page of the gallery: plain HTML that needs no network, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 2rem; }
.row { display: flex; gap: 1rem; overflow-x: auto; padding-bottom: 1rem; }
figure { margin: 0; flex: none; }
img { background: repeating-conic-gradient(#8883 0 25%, transparent 0 50%) 0 0 / 24px 24px; display: block; }
figcaption { white-space: pre-line; font-size: 13px; margin-top: .4rem; max-width: 32rem; }
"""


@dataclass(frozen=True)
class Cell:
    file: str
    """Name of the picture's file, beside the page."""
    title: str
    facts: str
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    title: str
    cells: tuple[Cell, ...]


def page(rows: Sequence[Row], missing: Sequence[tuple[str, str]], side: int) -> str:
    """The whole page. missing: (title, reason) of models that are not on it. side: of the pieces, in input pixels."""
    sections = "".join(map(_section, rows))
    left_out = "".join(f"<li><b>{escape(title)}</b>: {escape(reason)}</li>" for title, reason in missing)
    note = f"<h2>Not here</h2><ul>{left_out}</ul>" if missing else ""
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>APISR models side by side</title>"
        f"<style>{STYLE}</style><h1>APISR models side by side</h1>"
        f"<p>Pieces of {side} x {side} pixels, all shown four times as large; results of 2x models are enlarged by "
        f"repeating pixels. Seconds are for the piece, in a second run.</p>{sections}{note}</html>"
    )


def _section(row: Row) -> str:
    return f"<h2>{escape(row.title)}</h2><div class=row>{''.join(map(_figure, row.cells))}</div>"


def _figure(cell: Cell) -> str:
    title, file = escape(cell.title), escape(cell.file)
    return (
        f'<figure><a href="{file}"><img src="{file}" alt="{title}" width={cell.width} height={cell.height}></a>'
        f"<figcaption><b>{title}</b>\n{escape(cell.facts)}</figcaption></figure>"
    )
