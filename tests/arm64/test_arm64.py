"""The same model on 64-bit Arm: the aarch64 wheel of ai-edge-litert in Debian's arm64 Python, run by qemu.

`make test-arm64` makes the Python (make_root.sh) and runs these.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loopback_ssh import SSHD, SshServer

from edge_deeplab.cli.main import main

PICTURES = "2"


@pytest.fixture(scope="module")
def arm64_python(repository: Path) -> str:
    """A Python of 64-bit Arm with ai-edge-litert."""
    python = repository / ".arm64" / "python"
    if not (python.parent / "made").exists():
        pytest.skip("needs an arm64 root: make test-arm64 makes it")
    return str(python)


def parity(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    code = main(["parity", "portrait", "--limit", PICTURES, "--json", "-", *arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_xnnpack_gives_the_same_bits_over_ssh(
    arm64_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if SSHD is None:
        pytest.skip("needs sshd: install openssh-server")
    with SshServer(tmp_path) as server:
        where = ["--target", str(server.target), "--ssh-config", str(server.config), "--python", arm64_python]
        code, document, err = parity([*where, "--max-steps", "0"], capsys)
        assert code == 0, err
        assert document["there"]["host"]["machine"] == "aarch64"
        assert document["there"]["host"]["cpu_name"] == "Cortex-A76"
        assert document["steps"]["is_identical"] and document["verdict"] == "bit-identical"
        assert document["classes"]["person_iou"] == 1.0
        assert server.left_behind() == []


def test_reference_kernels_are_the_same_answer_everywhere(
    arm64_python: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--target", "local:reference", "--kernels", "reference", "--python", arm64_python]
    code, document, err = parity([*arguments, "--max-steps", "0", "--limit", "1"], capsys)
    assert code == 0, err
    assert document["there"]["host"]["machine"] == "aarch64"
    assert document["steps"]["is_identical"]


def test_a_processor_that_computes_garbage_is_found_out(
    arm64_python: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """qemu's own core has what XNNPACK is told it has not, and the two disagree without a word: a real silent fault."""
    monkeypatch.setenv("EDGE_DEEPLAB_ARM64_CPU", "max")
    code, document, err = parity(["--target", "local:xnnpack", "--python", arm64_python], capsys)
    assert code == 3
    assert "does not give the same answer" in err
    assert document["missed"] and document["steps"]["mean_steps"] > 1


def test_a_processor_that_lacks_an_instruction_is_one_line(
    arm64_python: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGE_DEEPLAB_ARM64_CPU", "cortex-a53")
    monkeypatch.chdir(tmp_path)
    code, _, err = parity(["--target", "local:xnnpack", "--python", arm64_python], capsys)
    (line,) = [line for line in err.splitlines() if line.startswith("edge-deeplab: error: ")]
    assert code == 1
    assert "SIGILL" in line and "portrait.tflite" in line
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_profiled_there(arm64_python: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How fast qemu is says nothing of a device; that every figure comes back does."""
    if SSHD is None:
        pytest.skip("needs sshd: install openssh-server")
    with SshServer(tmp_path) as server:
        where = ["--target", str(server.target), "--ssh-config", str(server.config), "--python", arm64_python]
        quick = ["--threads", "1", "--runs", "2", "--warmup", "1", "--starts", "0", "--json", "-"]
        assert main(["profile", "portrait", *where, *quick]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["host"]["int8_flags"] == ["asimddp"]
        assert document["host"]["packages"].keys() == {"numpy", "ai-edge-litert"}, "the Python there has more than that"
        assert document["latency"][0]["latency"]["count"] == 2
        assert server.left_behind() == []
