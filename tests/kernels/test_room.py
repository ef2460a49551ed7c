"""The compiled module is there where it can be, may be switched off, and shares its rows out among any callers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab import kernels
from edge_deeplab.compositing.blending import Blender

FORKS = """
import os, sys
import cv2, numpy as np
from edge_deeplab import kernels
from edge_deeplab.compositing.blending import Blender

rng = np.random.default_rng(0)
frame, background = (rng.integers(0, 256, (300, 200, 3), np.uint8) for _ in range(2))
alpha = rng.integers(0, 256, (150, 100)).astype(np.uint8)
cv2.setNumThreads(2)
before = Blender().blend(frame, background, alpha, np.empty_like(frame))
child = os.fork()
again = Blender().blend(frame, background, alpha, np.empty_like(frame))
is_same = bool((before == again).all())
if not child:
    os._exit(0 if is_same else 1)
_, status = os.waitpid(child, 0)
sys.exit(0 if is_same and status == 0 else 1)
"""


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    frame, background = (rng.integers(0, 256, (300, 200, 3), np.uint8) for _ in range(2))
    return frame, background, rng.integers(0, 256, (150, 100)).astype(np.uint8)


def test_the_module_is_here_where_a_compiler_is() -> None:
    """Else a mistake in the C, or in its build, would only ever show as a slower program."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if sys.platform != "linux" or shutil.which(compiler) is None or not header.exists():
        pytest.skip("needs a C compiler and Python's headers: without them there is nothing to be compiled")
    assert kernels.compiled()
    assert kernels.in_words() == "compiled"


def test_it_is_switched_off_for_a_while_in_every_thread_and_comes_back_after_an_error() -> None:
    was = kernels.compiled()
    seen: list[bool] = []
    with pytest.raises(RuntimeError), kernels.opencv_only():
        with kernels.opencv_only():
            assert kernels.native() is None
        assert kernels.in_words() == "OpenCV"
        thread = threading.Thread(target=lambda: seen.append(kernels.compiled()))
        thread.start()
        thread.join()
        raise RuntimeError
    assert seen == [False]
    assert kernels.compiled() == was


def test_rows_without_gaps_are_told_from_others() -> None:
    picture = np.zeros((6, 8, 3), np.uint8)
    assert kernels.has_rows(picture, picture[::-1], picture[2:4, 1:5], picture[..., 0].copy())
    for other in (picture[:, ::2], picture[:, ::-1], picture[..., ::-1], picture[..., 0], picture.transpose(1, 0, 2)):
        assert not kernels.has_rows(picture, other)
    assert kernels.has_rows(np.zeros((1 << 16, 1), np.uint8))
    assert not kernels.has_rows(np.zeros((1, (1 << 16) + 1), np.uint8))


def test_many_callers_at_once_get_what_each_would_alone() -> None:
    alone = {seed: Blender().blend(*scene(seed), np.empty((300, 200, 3), np.uint8)) for seed in range(6)}
    wrong: list[int] = []

    def blend_often(seed: int) -> None:
        blender, picture = Blender(), np.empty((300, 200, 3), np.uint8)
        for _ in range(60):
            picture[:] = 0
            if (blender.blend(*scene(seed), picture) != alone[seed]).any():
                wrong.append(seed)

    threads = [threading.Thread(target=blend_often, args=(seed,)) for seed in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs os.fork")
def test_a_forked_child_works_without_its_parents_helpers() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
