"""The loops over pixels, compiled for 64-bit Arm and run by qemu, give the bits that they give here."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from edge_deeplab import kernels

COMPILER = shutil.which("aarch64-linux-gnu-gcc")

# Pictures and mattes of many sizes through the loops of full size: what they write, as one digest.
DIGEST = """
import hashlib, platform
import numpy as np
from edge_deeplab import kernels

native, rng, digest = kernels.native(), np.random.default_rng(0), hashlib.sha256()
curve = np.arange(256, dtype=np.uint8).reshape(1, 256)
for turn in range(12):
    sizes_hw = [tuple(map(int, rng.integers(1, most, 2))) for most in (200, 60, 90)]
    (height, width), (low_height, low_width), alpha_hw = sizes_hw
    frame = rng.integers(0, 256, (height, width, 3), np.uint8)
    low = rng.integers(0, 256, (low_height, low_width, 3), np.uint8)
    alpha = np.clip(rng.integers(-300, 500, alpha_hw), 0, 255).astype(np.uint8)
    out, levels = np.empty_like(frame), np.empty((height, width), np.uint8)
    native.blend(frame, low, alpha, out, frame, turn % 3, 2)
    matte, models = rng.random((33, 21), dtype=np.float32), np.empty((4 * low_height, low_width), np.float32)
    native.guided_levels(matte, low, frame, curve, models, levels, 2, 3e-4, 3.0, 2)
    digest.update(out.tobytes() + levels.tobytes())
print(platform.machine(), digest.hexdigest())
"""


def test_the_loops_give_the_same_bits(repository: Path, tmp_path: Path) -> None:
    python = repository / ".arm64" / "python"
    if not (python.parent / "made").exists():
        pytest.skip("needs an arm64 root: make test-arm64 makes it")
    if COMPILER is None:
        pytest.skip("needs a compiler for it: apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
    if not kernels.compiled():
        pytest.skip("needs the compiled kernels here too: tests/kernels says whether there should be some")
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    (extension,) = project["tool"]["setuptools"]["ext-modules"]
    package = tmp_path / "edge_deeplab"
    (package / "kernels").mkdir(parents=True)
    (package / "__init__.py").touch()
    shutil.copy(repository / "edge_deeplab" / "kernels" / "__init__.py", package / "kernels")
    headers = sysconfig.get_path("include")  # the stable interface is the same on every processor of 64 bits
    subprocess.run(
        [COMPILER, "-shared", "-fPIC", *extension["extra-compile-args"], "-Werror", f"-I{headers}",
         *extension["sources"], *extension["extra-link-args"], "-o", package / "kernels" / "_native.abi3.so"],
        cwd=repository, check=True,
    )  # fmt: skip

    def digest(program: Path | str, folder: Path) -> list[str]:
        script = folder / "digest.py"  # Python looks beside a script first
        script.write_text(DIGEST)
        done = subprocess.run([program, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    elsewhere = tmp_path / "here"
    elsewhere.mkdir()
    machine, there = digest(python, tmp_path)
    assert machine == "aarch64"
    assert digest(sys.executable, elsewhere)[1] == there
