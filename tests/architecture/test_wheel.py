"""What a wheel carries: one top-level name, the mapped folders inside it, typed, with its models and recipes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from edge_deeplab import kernels

MAPPED = ("calibration", "converters", "demo_apps")
TRAINING_STACK = ("tensorflow", "keras", "tf-keras", "tensorflow-model-optimization", "jax", "torch")


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files alone, so that nothing left lying about can hide a missing rule."""
    if not (repository / ".git").exists():
        pytest.skip("needs the git repository: the wheel is built from the files it tracks")
    source = tmp_path_factory.mktemp("source")
    for name in tracked(repository):
        if (repository / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> zipfile.ZipFile:
    """A wheel as it is built here."""
    return built(source, "dist")


def built(source: Path, folder: str, **environment: str) -> zipfile.ZipFile:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--wheel-dir", folder, "."],
        cwd=source, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source / "build")  # what one build made must not lie about for the next
    (path,) = (source / folder).glob("*.whl")
    return zipfile.ZipFile(path)


def tracked(repository: Path) -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name]


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_wheel_has_one_top_level_name(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edge_deeplab"}


def test_every_tracked_module_is_in_the_wheel(wheel: zipfile.ZipFile, repository: Path) -> None:
    expected = set()
    for name in tracked(repository):
        top = name.partition("/")[0]
        if name.endswith(".py") and (repository / name).is_file() and top in ("edge_deeplab", *MAPPED):
            expected.add(name if top == "edge_deeplab" else f"edge_deeplab/{name}")
    assert {name for name in wheel.namelist() if name.endswith(".py")} == expected


def test_wheel_is_typed_and_carries_models_recipes_and_licence(wheel: zipfile.ZipFile, repository: Path) -> None:
    names = set(wheel.namelist())
    assert "edge_deeplab/py.typed" in names
    for folder in ("assets", "recipes"):
        for name in tracked(repository):
            if name.startswith(f"edge_deeplab/{folder}/"):
                # float networks stay in the repository: a device has no use for their megabytes
                assert (name in names) == (not name.endswith(".keras"))
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)


def test_one_compiled_module_serves_every_python_from_3_11_on(wheel: zipfile.ZipFile) -> None:
    if not kernels.compiled():
        pytest.skip("needs a C compiler: tests/kernels says whether there should be one")
    assert [name for name in wheel.namelist() if name.endswith((".so", ".pyd"))] == [
        "edge_deeplab/kernels/_native.abi3.so"
    ]
    assert "-cp311-abi3-" in Path(str(wheel.filename)).name
    assert "edge_deeplab/kernels/_native.pyi" in wheel.namelist()


def test_without_a_compiler_the_install_goes_on_and_opencv_does_the_work(
    wheel: zipfile.ZipFile, source: Path, tmp_path: Path
) -> None:
    bare = built(source, "bare", CC="false")
    assert {name for name in wheel.namelist() if name.endswith(".py")} == {
        name for name in bare.namelist() if name.endswith(".py")
    }
    assert [name for name in bare.namelist() if name.endswith(".so")] == []
    bare.extractall(tmp_path)
    code = (
        "import numpy as np; from edge_deeplab import kernels; from edge_deeplab.compositing import compositor as c;"
        "frame = np.full((90, 160, 3), 7, np.uint8); matte = np.full((16, 16), 0.5, np.float32);"
        "c.PortraitCompositor().compose(frame, matte); print(c.__file__, kernels.in_words())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(tmp_path / "edge_deeplab" / "compositing" / "compositor.py"), "OpenCV"]


def test_device_install_asks_for_no_training_stack(metadata: Message) -> None:
    for line in metadata.get_all("Requires-Dist", []):
        package, _, marker = line.partition(";")
        if any(f"'{extra}'" in marker or f'"{extra}"' in marker for extra in ("train", "gpu", "dev")):
            continue
        assert not package.strip().lower().startswith(TRAINING_STACK), line


def test_extras_are_those_the_readme_names(metadata: Message, repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    for extra in metadata.get_all("Provides-Extra", []):
        assert f"`{extra}`" in readme, f"the README does not say what the extra {extra} is for"
