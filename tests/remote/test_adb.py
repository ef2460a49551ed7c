"""`profile --target adb:...` with the real adb client, against a stand-in for the device's side of its protocol."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from adbd import ADB, ARM64_ELF, AdbDevice
from loopback_ssh import free_port, wait_until

from edge_deeplab.cli.main import main
from edge_deeplab.errors import InputError
from edge_deeplab.remote.android import check_runner
from edge_deeplab.remote.native import read_latency

Connect = Callable[[AdbDevice], AdbDevice]
QUICK = ["--runs", "4", "--warmup", "2", "--threads", "1,2"]


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """An adb server of the test's own, and devices that are connected to it."""
    if ADB is None:
        pytest.skip("needs adb: install adb")
    home = tmp_path / "adb home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))  # its key
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    devices: list[AdbDevice] = []

    def connected(device: AdbDevice) -> AdbDevice:
        devices.append(device)
        device.plug_in()
        adb("connect", device.serial)
        state = "unauthorized" if device.is_locked else "device"
        wait_until(lambda: f"{device.serial}\t{state}" in adb("devices"), 10, lambda: adb("devices"))
        return device

    yield connected
    for device in devices:
        device.unplug()
    adb("kill-server")


def adb(*words: str) -> str:
    assert ADB
    done = subprocess.run([ADB, *words], capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    path = tmp_path / "-benchmark $(touch pwned)"
    path.write_bytes(ARM64_ELF)
    return path


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out, said.err


def only_error(err: str) -> str:
    (line,) = [line for line in err.splitlines() if line.startswith("edge-deeplab: error: ")]
    return line


def test_a_model_is_measured_by_the_users_own_tool(
    connect: Connect, runner: Path, portrait: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device, figures = connect(AdbDevice(tmp_path / "device")), tmp_path / "there.json"
    where = ["--target", f"adb:{device.serial}", "--runner", str(runner)]
    code, out, err = run(["profile", "portrait", *where, *QUICK, "--json", str(figures)], capsys)
    assert code == 0, err
    document: dict[str, Any] = json.loads(figures.read_text())
    first, second = document["native_latency"]
    assert (first["threads"], first["mean_ms"], first["min_ms"], first["max_ms"]) == (1, 1.25, 1.0, 1.9)
    assert (second["threads"], second["mean_ms"], second["count"]) == (2, 2.25, 4)
    assert (first["median_ms"], first["p95_ms"], first["std_ms"]) == (1.234, 1.5, 0.012)
    assert [first[name] for name in ("init_ms", "first_ms", "warmup_ms")] == pytest.approx([18.777, 9.791, 6.7582])
    assert first["memory_bytes"] == int(18.5 * 1024 * 1024)
    assert (document["host"]["name"], document["host"]["android"]) == ("Example Phone 7", "14")
    assert document["model"]["file"] == "portrait.tflite"
    for words in ("Example Phone 7, Android 14", "arm64-v8a", "1.25", "benchmark_model", "governor"):
        assert words in out
    assert int((device.folder / "model_bytes").read_text()) == portrait.stat().st_size
    expected = "--graph=model.tflite --num_threads={} --warmup_runs=2 --warmup_min_secs=0 --num_runs=4 --min_secs=0"
    assert device.calls() == [f"{expected.format(count)} --use_xnnpack=true" for count in (1, 2)]
    assert device.left_behind() == []
    assert list(tmp_path.rglob("pwned")) == []


def test_a_connection_lost_mid_run_is_taken_up_again(
    connect: Connect, runner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = connect(AdbDevice(tmp_path / "device"))
    (device.folder / "wait").touch()

    def cut() -> None:
        wait_until(device.calls, 20)
        device.unplug()
        threading.Event().wait(1.0)
        device.plug_in()
        (device.folder / "wait").unlink()

    cutter = threading.Thread(target=cut)
    cutter.start()
    where = ["--target", f"adb:{device.serial}", "--runner", str(runner)]
    code, out, err = run(["profile", "portrait", *where, *QUICK, "--json", "-"], capsys)
    cutter.join()
    assert code == 0, err
    assert "connecting again" in err and "connected again" in err
    assert [row["mean_ms"] for row in json.loads(out)["native_latency"]] == [1.25, 2.25]
    assert len(device.calls()) == 2, "the tool ran more than once for each number of threads"
    assert device.left_behind() == []


def test_a_tool_that_fails_there_says_why_and_leaves_nothing(
    connect: Connect, runner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = connect(AdbDevice(tmp_path / "device"))
    (device.folder / "broken").touch()
    where = ["--target", f"adb:{device.serial}", "--runner", str(runner)]
    code, _, err = run(["profile", "portrait", *where, *QUICK], capsys)
    assert code == 1
    assert "benchmark_model failed there" in only_error(err) and "Failed to apply XNNPACK" in err
    assert device.left_behind() == []


def test_a_full_device(connect: Connect, runner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device = connect(AdbDevice(tmp_path / "device"))
    device.disk_is_full = True
    code, _, err = run(["profile", "portrait", "--target", f"adb:{device.serial}", "--runner", str(runner)], capsys)
    assert code == 1
    assert "the disk is full there" in only_error(err)
    assert device.left_behind() == []


def test_a_device_that_is_not_there_or_does_not_let_us_in(
    connect: Connect, runner: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = connect(AdbDevice(tmp_path / "device", is_locked=True))
    code, _, err = run(["profile", "portrait", "--target", f"adb:{locked.serial}", "--runner", str(runner)], capsys)
    assert code == 1 and "allow USB debugging" in only_error(err)
    code, _, err = run(["profile", "portrait", "--target", "adb:nowhere", "--runner", str(runner)], capsys)
    assert code == 1 and "adb:nowhere: cannot be reached" in only_error(err) and "not found" in err


def test_without_adb(runner: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(["profile", "portrait", "--target", "adb:x", "--runner", str(runner)], capsys)
    assert code == 1 and "adb is not installed on this machine" in only_error(err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Android has no Python, so it needs --runner PATH"),
        (["--runner", "{runner}", "--kernels", "reference"], "benchmark_model has none"),
        (["--runner", "{runner}", "--picture", "x.png"], "--picture: is measured on this machine alone"),
    ],
)
def test_what_android_cannot_do_is_said_before_anything_starts(
    arguments: list[str],
    words: str,
    runner: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # no adb is looked for
    filled = [word.format(runner=runner) for word in arguments]
    code, _, err = run(["profile", "portrait", "--target", "adb:x", *filled], capsys)
    assert code == 2 and words in only_error(err)


def test_a_runner_has_to_be_built_for_the_device(runner: Path, tmp_path: Path) -> None:
    check_runner(runner, ("arm64-v8a", "armeabi-v7a"))
    with pytest.raises(InputError, match=r"another processor; came arm64-v8a; allowed: x86_64"):
        check_runner(runner, ("x86_64",))
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho I am no program of Android's\n")
    with pytest.raises(InputError, match="no program for Android"):
        check_runner(script, ("arm64-v8a",))
    with pytest.raises(InputError, match="cannot be read"):
        check_runner(tmp_path / "missing", ("arm64-v8a",))


def test_the_runner_of_another_processor_is_refused_before_it_is_sent(
    connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device, foreign = connect(AdbDevice(tmp_path / "device")), tmp_path / "foreign"
    foreign.write_bytes(ARM64_ELF[:18] + (62).to_bytes(2, "little") + ARM64_ELF[20:])
    code, _, err = run(["profile", "portrait", "--target", f"adb:{device.serial}", "--runner", str(foreign)], capsys)
    assert code == 1 and "came x86_64; allowed: arm64-v8a, armeabi-v7a" in only_error(err)
    assert device.calls() == [] and device.left_behind() == []


def test_an_older_tool_tells_no_median() -> None:
    text = (
        "count=10 first=1 curr=1 min=1 max=1 avg=1 std=0\n"
        "count=50 first=249042 curr=250889 min=247067 max=254474 avg=2.49684e+05 std=1442\n"
        "Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684\n"
        "Peak memory footprint (MB): init=4.92969 overall=138.809\n"
    )
    latency = read_latency(text, threads=4)
    assert (latency.count, latency.mean_ms, latency.median_ms, latency.p95_ms) == (50, 249.684, None, None)
    assert latency.memory_bytes == int(138.809 * 1024 * 1024)
    with pytest.raises(InputError):
        read_latency("Segmentation fault", threads=1)


def test_parity_is_refused_over_a_tool_that_writes_no_outputs(runner: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["parity", "portrait", "--target", "adb:x", "--runner", str(runner)], capsys)
    assert code == 2 and "benchmark_model, writes no outputs" in only_error(err)
