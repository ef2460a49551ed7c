"""The whole frame of `blur` or `webcam` as a thing to measure: no camera, no window, one thread.

    frames, shows = moving_frames(None, (1280, 720))
    with FrameProgram(path, frames) as program:
        program.step()      # {"prepare": 0.4, "invoke": 2.1, ...} milliseconds
        program.picture     # what it made

Run as `python -m edge_deeplab.cli.frame_program MODEL --size-wh 1280 720` it is the program whose start and memory
`edge-deeplab profile` measures; it then prints its milestones as one line of JSON.
"""

from __future__ import annotations

from edge_deeplab.profiling.milestones import Milestones

if __name__ == "__main__":
    MILESTONES = Milestones()  # before anything heavy is imported: the first stamp is the bare interpreter

import importlib
import importlib.util
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# What a live program imports, numpy and OpenCV included; benchmarks/import_cost.py holds its cost.
DEVICE_SIDE = (
    "edge_deeplab.runtime.segmenter",
    "edge_deeplab.compositing.compositor",
    "edge_deeplab.video.source",
    "edge_deeplab.video.sink",
    "edge_deeplab.video.pipeline",
)
FRAMES = 8  # kept in memory; the view moves between them as a person before a webcam does
STEADY_FRAMES = 10
HEAD_AND_SHOULDERS_ROWS = 340  # of 512: the middle of the whole square picture would cut the head off a wide frame


class FrameProgram:
    """Segments and composes frames held in memory. A context manager; closing twice is harmless.

    A model with a person class makes portrait blur, any other the class overlay.

    Args:
        model: path of a .tflite with a manifest.
        frames: (H, W, 3) uint8 BGR each; taken in turns.
        threads, kernels: of the engine.

    Raises: ModelError for a model that cannot be used.
    """

    def __init__(self, model: Path, frames: Sequence[np.ndarray], *, threads: int = 1, kernels: str = "auto") -> None:
        import numpy as np

        from edge_deeplab.compositing.compositor import PortraitCompositor
        from edge_deeplab.manifest import read_manifest
        from edge_deeplab.runtime.segmenter import Segmenter

        manifest = read_manifest(model)
        self._has_person = manifest is not None and manifest.person_class is not None
        self._turn = itertools.cycle(frames)
        self._segmenter = Segmenter(model, threads=threads, kernels=kernels, trims_ends=self._has_person)
        self._compositor = PortraitCompositor()
        self._frame = np.empty_like(frames[0])
        self.picture = self._frame

    @property
    def result(self) -> str:
        """What a frame becomes, in two words."""
        return "portrait blur" if self._has_person else "class overlay"

    def step(self) -> dict[str, float]:
        """Does the next frame, leaves it in `picture`. Returns milliseconds by stage, in the order they ran.

        The first of them, "capture", is the copy that stands for a camera's or a decoder's writing of the frame.
        """
        began_ns = time.perf_counter_ns()
        self.capture()
        captured_ns = time.perf_counter_ns()
        return {"capture": (captured_ns - began_ns) / 1e6, **self.process()}

    def capture(self) -> None:
        """Brings the next frame into the array that process writes over."""
        import numpy as np

        np.copyto(self._frame, next(self._turn))

    def process(self) -> dict[str, float]:
        """Does the frame captured last. Returns as step, without the capture."""
        began_ns = time.perf_counter_ns()
        if self._has_person:
            edge_bgr = self._compositor.shrink(self._frame)
            shrunk_ms = (time.perf_counter_ns() - began_ns) / 1e6
            matte = self._segmenter.matte_bgr(edge_bgr)
            self.picture = self._compositor.compose(self._frame, matte, out=self._frame, edge_bgr=edge_bgr)
            stages = {"shrink": shrunk_ms, **self._segmenter.stage_ms, **self._compositor.stage_ms}
            return stages | {"shrink": shrunk_ms + self._compositor.stage_ms["shrink"]}
        from edge_deeplab.compositing.overlay import overlay_classes

        classes = self._segmenter.classes_bgr(self._frame)
        start = time.perf_counter_ns()
        self.picture = overlay_classes(self._frame, classes)
        return {**self._segmenter.stage_ms, "overlay": (time.perf_counter_ns() - start) / 1e6}

    def close(self) -> None:
        """Frees the model."""
        self._segmenter.close()

    def __enter__(self) -> FrameProgram:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def moving_frames(picture: Path | None, size_wh: tuple[int, int]) -> tuple[list[np.ndarray], str]:
    """FRAMES views wandering over a picture.

    Returns: frames, each (H, W, 3) uint8 BGR, and the name of what they show.
    """
    from edge_deeplab.video.synthetic import SyntheticSource, astronaut

    source: np.ndarray | Path
    if picture is not None:
        source, name = picture, picture.name
    elif importlib.util.find_spec("skimage"):
        source, name = astronaut()[:HEAD_AND_SHOULDERS_ROWS], "astronaut"
    else:
        source, name = drawn_figure()[:HEAD_AND_SHOULDERS_ROWS], "drawn figure"
    with SyntheticSource(source, size_wh=size_wh, frame_count=FRAMES) as frames:
        return [frame.bgr for frame in frames], name


def drawn_figure() -> np.ndarray:
    """Head and shoulders before a wall, (512, 512, 3) uint8 RGB, for machines without the photo.

    Speed depends little on what is seen, but a frame without anyone in it could be cheaper than a real one.
    """
    import cv2
    import numpy as np

    rows, columns = np.mgrid[0:512, 0:512]
    wall = np.stack([150 + rows // 8, 160 + columns // 10, 170 + (rows + columns) // 16], axis=-1).astype(np.uint8)
    picture = np.ascontiguousarray(wall)
    cv2.ellipse(picture, (256, 520), (200, 180), 0, 0, 360, (40, 50, 120), cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(picture, (256, 350), (50, 80), 0, 0, 360, (205, 150, 125), cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(picture, (256, 200), (105, 130), 0, 0, 360, (60, 40, 30), cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(picture, (256, 225), (85, 110), 0, 0, 360, (224, 172, 145), cv2.FILLED, cv2.LINE_AA)
    for x in (222, 290):
        cv2.circle(picture, (x, 205), 9, (40, 30, 30), cv2.FILLED, cv2.LINE_AA)
    cv2.ellipse(picture, (256, 275), (32, 12), 0, 0, 180, (160, 70, 70), cv2.FILLED, cv2.LINE_AA)
    grain = np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def main(arguments: list[str]) -> None:
    """Starts up, does a first and some steady frames, and prints the milestones."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m edge_deeplab.cli.frame_program")
    parser.add_argument("model", type=Path)
    parser.add_argument("--size-wh", type=int, nargs=2, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kernels", default="auto")
    options = parser.parse_args(arguments)

    import cv2

    for name in DEVICE_SIDE:
        importlib.import_module(name)
    from edge_deeplab.runtime.interpreter import engine_name

    engine_name()  # imports the engine's package
    MILESTONES.reach("imports")
    # Not the photo: scikit-image would count into the start and the memory of a program that has no use for it.
    frame_bgr = cv2.cvtColor(cv2.resize(drawn_figure(), tuple(options.size_wh)), cv2.COLOR_RGB2BGR)
    MILESTONES.reach("frame to work on")
    with FrameProgram(options.model, [frame_bgr], threads=options.threads, kernels=options.kernels) as program:
        MILESTONES.reach("load")
        program.step()
        MILESTONES.reach("first frame", is_ready=True)
        for _ in range(STEADY_FRAMES):
            program.step()
        MILESTONES.reach("steady frames")
    MILESTONES.write(sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
