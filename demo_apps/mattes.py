"""Where the matte of a frame comes from: the model, or the last matte carried along the motion to this frame.

    mattes = MattesInTurn(segmenter)
    matte = mattes.of(frame.bgr, quality)               # made here, in this thread
    with MattesBeside(segmenter) as mattes:
        matte = mattes.of(frame.bgr, quality, patience_s=0.02)      # made in another thread, awaited as long as that

Compositing and frames' ways through threads are no matter here.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np

from edge_deeplab.compositing.motion import CUT_LEVELS, MatteMotion, motion_view
from edge_deeplab.runtime.segmenter import Prepared, Segmenter
from edge_deeplab.video.governor import Quality

# How much one more duration counts in what an inference is expected to take.
EXPECTATION_SHARE = 0.1


class Mattes(Protocol):
    """A matte for every frame of a video.

    Attributes:
        stage_ms: milliseconds of the last call by stage; "prepare", "invoke" and "decode" where a matte came from the
            model, "motion" where one was carried, "wait" where another thread's was awaited.
    """

    stage_ms: dict[str, float]

    def of(self, frame_bgr: np.ndarray, quality: Quality, *, patience_s: float = 0.0) -> np.ndarray:
        """The matte of the next frame.

        Args:
            frame_bgr: (H, W, 3) uint8; it may be written into once this returned.
            quality: its mask_every and uses_small_model count here.
            patience_s: how long a matte of this very frame may be awaited, where one is made in another thread.

        Returns: (h, w) float32 in 0..1, valid until the next call.
        """
        ...

    def reset(self) -> None:
        """Forgets the past, as for another video."""
        ...


class _Key(NamedTuple):
    """A matte as the model made it, and the view of its frame; empty where no matte will be carried."""

    matte: np.ndarray
    view: np.ndarray


_NO_VIEW = np.empty((0, 0), np.uint8)


class MattesInTurn:
    """Every matte made or carried in the caller's thread: the frame's own, or its last new one's.

    A frame that the motion since the last new matte does not explain (a cut) gets a new one at once.

    Args:
        segmenter: the model.
        small: a quicker one, for a quality that asks for it.
    """

    def __init__(self, segmenter: Segmenter, small: Segmenter | None = None) -> None:
        self.stage_ms: dict[str, float] = {}
        self._segmenter, self._small = segmenter, small
        self._motion = MatteMotion()
        self._key: _Key | None = None
        self._age = 0

    def of(self, frame_bgr: np.ndarray, quality: Quality, *, patience_s: float = 0.0) -> np.ndarray:
        """As Mattes.of; nothing is awaited."""
        began_ns = time.perf_counter_ns()
        view = motion_view(frame_bgr) if quality.mask_every > 1 else _NO_VIEW
        self._age += 1
        if self._key is not None and self._age < quality.mask_every:
            carried = self._motion.carry(self._key.matte, self._key.view, view)
            if carried.unexplained <= CUT_LEVELS:
                self.stage_ms = {"motion": (time.perf_counter_ns() - began_ns) / 1e6}
                return carried.matte
        segmenter = chosen(self._segmenter, self._small, quality)
        self._key, self._age = _Key(segmenter.matte_bgr(frame_bgr), view), 0
        self.stage_ms = dict(segmenter.stage_ms)
        return self._key.matte

    def reset(self) -> None:
        """As Mattes.reset."""
        self._key = None


class MattesBeside:
    """Mattes made in a thread beside the caller's: a frame whose own is not done in time gets the newest one, carried.

    So frames are shown at the rate at which they can be composed, however long the model takes. The first frame and the
    first after a cut wait for their own. A context manager; it ends the thread, not the models.

    Args:
        segmenter, small: as for MattesInTurn; used by the other thread while this object is open.
    """

    def __init__(self, segmenter: Segmenter, small: Segmenter | None = None) -> None:
        self.stage_ms: dict[str, float] = {}
        self._segmenter, self._small = segmenter, small
        self._motion = MatteMotion()
        self._key: _Key | None = None
        self._age = 0
        self._coming: Future[_Made] | None = None
        self._expected_ms: dict[Segmenter, float] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="video-infer")

    def of(self, frame_bgr: np.ndarray, quality: Quality, *, patience_s: float = 0.0) -> np.ndarray:
        """As Mattes.of. An error of the other thread is raised here, by a later call where none waits for it."""
        self.stage_ms = {}
        view = motion_view(frame_bgr)
        self._age += 1
        if self._coming is not None and self._coming.done():
            self._take(self._coming.result())
        if self._coming is None and (self._key is None or self._age >= quality.mask_every):
            segmenter = self._ask(frame_bgr, view, quality)
            if self._expected_ms.get(segmenter, 0.0) <= patience_s * 1e3:
                self._await(patience_s)
        if self._key is None:
            return self._own(frame_bgr, view, quality)
        if self._key.view is view:
            return self._key.matte
        began_ns = time.perf_counter_ns()
        carried = self._motion.carry(self._key.matte, self._key.view, view)
        self.stage_ms["motion"] = (time.perf_counter_ns() - began_ns) / 1e6
        return carried.matte if carried.unexplained <= CUT_LEVELS else self._own(frame_bgr, view, quality)

    def reset(self) -> None:
        """As Mattes.reset."""
        self._await(None)
        self._key = None

    def close(self) -> None:
        """Ends the thread, waiting for the inference under way. Twice is harmless."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _own(self, frame_bgr: np.ndarray, view: np.ndarray, quality: Quality) -> np.ndarray:
        """The frame's own matte, however long it takes."""
        self._await(None)
        if self._key is None or self._key.view is not view:
            self._ask(frame_bgr, view, quality)
            self._await(None)
        assert self._key is not None
        return self._key.matte

    def _ask(self, frame_bgr: np.ndarray, view: np.ndarray, quality: Quality) -> Segmenter:
        segmenter = chosen(self._segmenter, self._small, quality)
        prepared = segmenter.prepare_bgr(frame_bgr)  # here: the frame is the caller's to write into afterwards
        self._coming, self._age = self._thread.submit(_make, segmenter, prepared, view), 0
        return segmenter

    def _await(self, patience_s: float | None) -> None:
        """Takes what the other thread makes, if it comes within patience_s seconds; None waits for it."""
        if self._coming is None:
            return
        began_ns = time.perf_counter_ns()
        try:
            self._take(self._coming.result(patience_s))
        except NotDone:
            pass
        finally:
            waited_ms = (time.perf_counter_ns() - began_ns) / 1e6
            self.stage_ms["wait"] = self.stage_ms.get("wait", 0.0) + waited_ms

    def _take(self, made: _Made) -> None:
        self._coming, self._key = None, made.key
        self.stage_ms.update(made.stage_ms)
        before_ms = self._expected_ms.get(made.segmenter, made.took_ms)
        self._expected_ms[made.segmenter] = before_ms + EXPECTATION_SHARE * (made.took_ms - before_ms)

    def __enter__(self) -> MattesBeside:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Made(NamedTuple):
    """What the other thread made."""

    key: _Key
    segmenter: Segmenter
    took_ms: float
    stage_ms: dict[str, float]


def _make(segmenter: Segmenter, prepared: Prepared, view: np.ndarray) -> _Made:
    began_ns = time.perf_counter_ns()
    matte = segmenter.matte_of(prepared)
    took_ms = (time.perf_counter_ns() - began_ns) / 1e6
    return _Made(_Key(matte, view), segmenter, took_ms, dict(segmenter.stage_ms))


def chosen(segmenter: Segmenter, small: Segmenter | None, quality: Quality) -> Segmenter:
    """The model a quality asks for; the only one where there is no other."""
    return small if small is not None and quality.uses_small_model else segmenter
