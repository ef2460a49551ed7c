"""The demonstration: a person moved by pan, zoom and shake, blurred, looked at and timed. No camera, no file needed.

    result = run_demo(DemoOptions(folder=Path("demo")))
    result.video, result.sheet, result.report

It is the portrait program with a source of its own and a contact sheet; it computes nothing that `blur` does not.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.compositing.overlay import draw_text
from edge_deeplab.demo_apps.live import LiveReport
from edge_deeplab.demo_apps.options import DemoOptions, LiveOptions, PortraitOptions
from edge_deeplab.demo_apps.portrait import run_portrait
from edge_deeplab.errors import OutputError
from edge_deeplab.imaging.decode import write_image
from edge_deeplab.video.cameras import Camera, list_cameras
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.pipeline import Progress
from edge_deeplab.video.source import SourceOptions

VIDEO, SHEET = "portrait-blur.mp4", "contact-sheet.png"
CELL_WIDTH = 480  # pixels of one picture in the contact sheet
GAP = 6
COLUMNS = ("input", "matte", "result")


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demonstration made.

    Attributes:
        cameras: those at hand, for the line that says how to use one.
    """

    video: Path
    sheet: Path
    report: LiveReport
    cameras: tuple[Camera, ...]


def run_demo(
    options: DemoOptions,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_open: Callable[[Source], None] | None = None,
) -> DemoResult:
    """Writes the video and the contact sheet into the folder; other arguments as run_live's.

    Raises: OutputError when one of the files exists and is not to be replaced, or cannot be written; what run_portrait
        raises.
    """
    video, sheet = options.folder / VIDEO, options.folder / SHEET
    is_new = not options.folder.exists()
    _prepare_folder(options.folder, (video, sheet), overwrites=options.overwrites)
    try:
        report = _record(options, video, sheet, stop=stop, on_progress=on_progress, on_open=on_open)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # a stopped run has left its video there
                options.folder.rmdir()
        raise
    return DemoResult(video=video, sheet=sheet, report=report, cameras=list_cameras())


def _record(
    options: DemoOptions,
    video: Path,
    sheet: Path,
    *,
    stop: threading.Event | None,
    on_progress: Callable[[Progress], None] | None,
    on_open: Callable[[Source], None] | None,
) -> LiveReport:
    contact = ContactSheet()

    def plan(source: Source) -> None:
        contact.choose(_spread(source.frame_count or options.frames, options.sheet_rows))
        if on_open is not None:
            on_open(source)

    report = run_portrait(
        PortraitOptions(
            model=options.model, background=options.background, compositing=options.compositing,
            live=LiveOptions(
                source=options.source, output=str(video), threads=options.threads, overwrites=options.overwrites
            ),
        ),
        stop=stop, on_progress=on_progress, on_open=plan, watch=contact.watch,
        source_options=SourceOptions(size_wh=options.size_wh, synthetic_frames=options.frames),
    )  # fmt: skip
    contact.write(sheet, overwrites=options.overwrites)
    return report


class ContactSheet:
    """Rows of input, matte and result at several times, side by side."""

    def __init__(self) -> None:
        self._indices: frozenset[int] = frozenset()
        self._rows: list[np.ndarray] = []

    def choose(self, indices: tuple[int, ...]) -> None:
        """Says which frames to show, before they come."""
        self._indices = frozenset(indices)

    def watch(self, frame: Frame, alpha: np.ndarray, picture: np.ndarray) -> None:
        """Keeps a small copy of what belongs in the sheet. Arguments as run_portrait's `watch`."""
        if frame.index not in self._indices:
            return
        matte = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
        cells = [_cell(picture) for picture in (frame.bgr, matte, picture)]
        for cell, name in zip(cells, COLUMNS):
            draw_text(cell, f"{name} {frame.time_s:.1f} s", (10, cell.shape[0] - 12), 0.5)
        self._rows.append(np.hstack([_framed(cell) for cell in cells]))

    def picture(self) -> np.ndarray:
        """The sheet so far: (H, W, 3) uint8 BGR; one empty row where no frame came."""
        if not self._rows:
            return np.full((GAP, GAP, 3), 255, np.uint8)
        width = max(row.shape[1] for row in self._rows)  # pictures of a folder differ in shape
        rows = [
            cv2.copyMakeBorder(row, 0, 0, 0, width - row.shape[1], cv2.BORDER_CONSTANT, value=(255, 255, 255))
            for row in self._rows
        ]
        return np.vstack(rows)

    def write(self, path: Path, *, overwrites: bool) -> None:
        """Writes it as a picture. Raises OutputError."""
        write_image(path, cv2.cvtColor(self.picture(), cv2.COLOR_BGR2RGB), overwrite=overwrites)


def _cell(picture: np.ndarray) -> np.ndarray:
    height = max(1, round(picture.shape[0] * CELL_WIDTH / picture.shape[1]))
    way = cv2.INTER_AREA if picture.shape[1] > CELL_WIDTH else cv2.INTER_LINEAR
    return cv2.resize(picture, (CELL_WIDTH, height), interpolation=way)


def _framed(cell: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(cell, GAP, GAP, GAP, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _spread(frames: int, rows: int) -> tuple[int, ...]:
    """Indices spread over the frames, the ends left out: nothing has settled at the first one."""
    return tuple(sorted({int((row + 0.5) * frames / rows) for row in range(rows)}))


def _prepare_folder(folder: Path, files: tuple[Path, ...], *, overwrites: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written", came=error.strerror, allowed="a folder") from error
    for file in files:
        if file.exists() and not overwrites:
            raise OutputError(f"{file}: exists already", next_step="choose another folder, or pass --force")


def camera_line(cameras: tuple[Camera, ...]) -> str:
    """One line that says how to go on with a camera."""
    if not cameras:
        return "no camera found here; with one: edge-deeplab blur --source 0 (edge-deeplab blur --list-cameras)"
    return f"camera found: {cameras[0]}; to use it: edge-deeplab blur --source {cameras[0].index}"
