"""What every test stands on: shared data where it is at hand, a cache of its own, quiet libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Set before any test module can import TensorFlow, which reads them once.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# OpenCV reads this once, at the first video that any test opens; that our sources are quiet of themselves is tested in
# a process of its own (tests/video/test_quiet.py).
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the working tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data sets, models and oracles: beside the repository, or where EDGE_DEEPLAB_SHARED says."""
    path = Path(os.environ.get("EDGE_DEEPLAB_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"needs the shared data: no {path.name}/data beside the repository; set EDGE_DEEPLAB_SHARED")
    return path


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty user cache for the whole run, so that no test leans on, or leaves, a file in the home folder."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        yield cache
