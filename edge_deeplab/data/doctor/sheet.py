"""Pictures of suspicious pairs: a contact sheet for each finding, and a page that shows them all.

    write_report(Path("doctor"), diagnosis)     # doctor/index.html, doctor/constant-mask.png ...

A tile is a picture, the same with its labels in colour over it, and its name below; void is light grey, what means
nothing magenta. Tiles are decoded again, one by one, within imaging/decode.py's bounds.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.data.doctor.examination import Diagnosis
from edge_deeplab.data.doctor.examine import Facts
from edge_deeplab.data.doctor.findings import Finding
from edge_deeplab.data.labelling import NO_MEANING
from edge_deeplab.errors import InputError, OutputError
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.imaging.resize import resize_image
from edge_deeplab.labels import IGNORE

MOST_TILES, COLUMNS = 24, 3
TILE_HW = (150, 190)  # of one picture; a tile has two side by side and a line of text
LINE_PX, GAP_PX, OPACITY = 16, 8, 0.6
GROUND, TEXT = (246, 247, 249), (28, 33, 39)
VOID_COLOUR, UNKNOWN_COLOUR = (224, 224, 192), (255, 0, 255)
PAGE = "index.html"


def write_report(folder: Path, diagnosis: Diagnosis, *, overwrite: bool = False) -> Path:
    """Writes the page and its sheets. Returns: the page.

    Raises: OutputError when the folder holds a page already and overwrite is False, or cannot be written.
    """
    page = folder / PAGE
    if page.exists() and not overwrite:
        raise OutputError(f"{page}: exists already", next_step="choose another folder, or pass --force")
    sheets: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for finding in diagnosis.findings:
            if finding.samples:
                sheets[finding.code] = f"{finding.code}.png"
                write_image(folder / sheets[finding.code], contact_sheet(finding, diagnosis), overwrite=True)
        page.write_text(_page(diagnosis, sheets), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written", came=error.strerror) from error
    return page


def contact_sheet(finding: Finding, diagnosis: Diagnosis) -> np.ndarray:
    """The first pairs of a finding as tiles, (H, W, 3) uint8 RGB."""
    tiles = [_tile(one, diagnosis) for one in finding.samples[:MOST_TILES]]
    height, width = tiles[0].shape[:2]
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.empty((rows * (height + GAP_PX) + GAP_PX, columns * (width + GAP_PX) + GAP_PX, 3), np.uint8)
    sheet[:] = GROUND
    for index, tile in enumerate(tiles):
        top, left = (GAP_PX + at * (side + GAP_PX) for at, side in zip(divmod(index, columns), (height, width)))
        sheet[top : top + height, left : left + width] = tile
    return sheet


def _tile(one: Facts, diagnosis: Diagnosis) -> np.ndarray:
    height, width = TILE_HW
    tile = np.empty((height + LINE_PX, 2 * width + 4, 3), np.uint8)
    tile[:] = GROUND
    image = _read(one.pair.read_image)
    coloured = _read(lambda: _colour(one, diagnosis))
    for left, shown in ((0, image), (width + 4, _over(image, coloured))):
        if shown is None:
            cv2.putText(tile, "cannot be read", (left + 40, height // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.4, TEXT, 1,
                        cv2.LINE_AA)  # fmt: skip
        else:
            small = _fit(shown)
            tile[: small.shape[0], left : left + small.shape[1]] = small
    name = f"{one.split}: {one.name}".encode("ascii", "replace").decode()  # OpenCV's fonts hold nothing else
    most = (2 * width) // 6
    name = name if len(name) <= most else f"...{name[3 - most :]}"
    cv2.putText(tile, name, (1, height + LINE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.35, TEXT, 1, cv2.LINE_AA)
    return tile


def _read(read: Callable[[], np.ndarray]) -> np.ndarray | None:
    try:
        return read()
    except InputError:
        return None


def _colour(one: Facts, diagnosis: Diagnosis) -> np.ndarray:
    """The mask in its classes' colours, whatever is wrong with it: (H, W, 3) uint8 RGB."""
    assert one.pair.mask_path is not None
    if one.stored is None:
        return read_image(one.pair.mask_path)
    palette = np.empty((256 + 1, 3), np.uint8)
    palette[:] = UNKNOWN_COLOUR
    own = diagnosis.data[0].palette(len(diagnosis.labels))
    palette[: len(own)] = own
    palette[IGNORE] = VOID_COLOUR
    stored = one.labelling.stored(one.pair.mask_path)
    labels = one.labels(len(diagnosis.labels))
    return palette[np.where(labels == NO_MEANING, 256, labels)[np.searchsorted(one.stored.values, stored)]]


def _over(image: np.ndarray | None, coloured: np.ndarray | None) -> np.ndarray | None:
    if image is None or coloured is None or image.shape != coloured.shape:
        return coloured
    return cv2.addWeighted(image, 1 - OPACITY, coloured, OPACITY, 0)


def _fit(image: np.ndarray) -> np.ndarray:
    scale = min(TILE_HW[0] / image.shape[0], TILE_HW[1] / image.shape[1])
    return resize_image(image, (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))))


_STYLE = """
:root { color-scheme: light dark; --edge: #8885; --faint: #7a828c; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1240px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 25px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 4px; }
h3 { font-size: 16px; margin: 30px 0 2px; } p { margin: 2px 0 8px; max-width: 90ch; } .faint { color: var(--faint); }
b.error { color: #c62828; } b.warning { color: #b26a00; } b.note { color: #2f6f9f; }
@media (prefers-color-scheme: dark) {
  b.error { color: #ff8a80; } b.warning { color: #f0b44a; } b.note { color: #7db8ef; }
}
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 2px 12px 2px 0; text-align: right; border-bottom: 1px solid var(--edge); }
th:first-child, td:first-child { text-align: left; } .scroll { overflow-x: auto; }
i { display: inline-block; width: 12px; height: 12px; margin-right: 7px; border: 1px solid var(--edge); }
img { max-width: 100%; border: 1px solid var(--edge); } p.sheet { max-width: none; }
code { font-size: 13px; overflow-wrap: anywhere; }
"""


def _page(diagnosis: Diagnosis, sheets: dict[str, str]) -> str:
    data = diagnosis.data[0]
    title = f"{data.root.resolve().name}: {data.data_set.title}"
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>{_STYLE}</style><h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(summary(diagnosis))}</p>", _class_table(diagnosis), "<h2>Findings</h2>",
    ]  # fmt: skip
    for finding in diagnosis.findings:
        parts.append(
            f'<h3><b class="{finding.level}">{finding.level}</b> {html.escape(finding.title)}</h3>'
            + (f"<p>{html.escape(finding.detail)}</p>" if finding.detail else "")
            + f"<p><b>Next:</b> {html.escape(finding.next_step)}</p>"
        )
        if finding.code in sheets:
            shown = min(len(finding.samples), MOST_TILES)
            words = f"{shown} of {len(finding.samples)}, each beside itself with its labels over it"
            parts.append(
                f'<p class="sheet"><img src="{sheets[finding.code]}" alt="{words}"></p><p class="faint">{words}</p>'
            )
        names, count = html.escape(finding.examples(60)), len(finding.names or finding.samples)
        if names:
            parts.append(f"<details><summary>{count} name{'' if count == 1 else 's'}</summary>{names}</details>")
    if not diagnosis.findings:
        parts.append("<p>Nothing was found.</p>")
    return "\n".join(parts) + "\n"


def summary(diagnosis: Diagnosis) -> str:
    """The splits with their pairs, void and sizes, in one line."""
    said = []
    for name, census in diagnosis.censuses.items():
        sizes = census.sizes.most_common()
        size = "{1}x{0}".format(*sizes[0][0]) if sizes else "no size"
        more = f" and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
        said.append(f"{name}: {census.pairs} pairs, {size}{more}, {census.void_share:.1%} ignored")
    return "; ".join(said)


def _class_table(diagnosis: Diagnosis) -> str:
    _, counted = diagnosis.weighed
    colours = diagnosis.data[0].palette(len(diagnosis.labels))
    names = [html.escape(name) for name in diagnosis.censuses]
    head = "".join(f"<th>{name}, pixels</th><th>pictures</th>" for name in names)
    rows = []
    for at, label in enumerate(diagnosis.labels):
        cells = "".join(
            f"<td>{census.shares[at]:.2%}</td><td>{census.pictures[at]}</td>" for census in diagnosis.censuses.values()
        )
        colour = "#{:02x}{:02x}{:02x}".format(*colours[at])
        rows.append(
            f'<tr><td><i style="background:{colour}"></i>{html.escape(label)}</td>{cells}'
            f"<td>{counted.median_frequency()[at]:.2f}</td><td>{counted.enet()[at]:.2f}</td></tr>"
        )
    return (
        f'<div class="scroll"><table><tr><th>class</th>{head}<th>median frequency weight</th><th>ENet weight</th></tr>'
        f"{''.join(rows)}</table></div>"
    )
