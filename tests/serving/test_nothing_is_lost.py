"""Nothing that was accepted is lost: replicas and a machine killed under load, the server told to stop under load."""

from __future__ import annotations

import collections
import concurrent.futures
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from serving_process import ServingProcess, serving

TIMEOUT_S = 90
CALLERS = 6


def load(
    server: ServingProcess, photo: bytes, count: int, *, at: dict[int, Callable[[], None]]
) -> collections.Counter[int]:
    """Sends `count` pictures from several callers; calls what stands under n when n are answered. Returns: statuses."""
    statuses: collections.Counter[int] = collections.Counter()
    lock = threading.Lock()

    def caller(share: int) -> None:
        with requests.Session() as session:
            for _ in range(share):
                status = session.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S).status_code
                with lock:
                    statuses[status] += 1
                    happens = at.get(statuses.total())
                if happens is not None:
                    happens()

    with concurrent.futures.ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(caller, [count // CALLERS] * CALLERS))
    return statuses


def test_replicas_killed_under_load_and_a_stop_under_load_lose_nothing(photo: bytes) -> None:
    with serving("portrait", "--replicas", "2", "--threads", "1", "--drain-s", "60") as server:
        killed = []

        def kill_one() -> None:
            pid = server.replicas()[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

        assert load(server, photo, 120, at={30: kill_one, 80: kill_one}) == {200: 120}
        assert len(set(killed)) == 2
        text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
        assert "edge_deeplab_retries_total" in text

        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            url = f"{server.url}/v1/segment"
            sent = [pool.submit(requests.post, url, data=photo, timeout=TIMEOUT_S) for _ in range(12)]
            wait_until_running(server, 6)
            server.process.send_signal(signal.SIGTERM)
            statuses = [one.result().status_code for one in sent]
        assert set(statuses) <= {200, 503}  # 503: came after the signal, and was told so
        assert statuses.count(200) >= 6
        assert server.process.wait(TIMEOUT_S) == 0
        assert server.errors.read_text().splitlines()[-1] == "stopped"
        assert "Traceback" not in server.errors.read_text()


def wait_until_running(server: ServingProcess, count: int) -> None:
    ends_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends_s:
        text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
        running = next(line for line in text.splitlines() if line.startswith("edge_deeplab_running_requests "))
        if float(running.split()[1]) >= count + 1:  # and this one
            return
    raise AssertionError(text)


def test_a_machine_of_the_cluster_killed_under_load_loses_nothing(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes on this machine with room for one replica each; the one that is not the front's is killed."""
    with tempfile.TemporaryDirectory(prefix="ed-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        environment = {
            "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WORKER_PRESTART": "0", "RAY_TMPDIR": folder,
        }  # fmt: skip
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        from ray.cluster_utils import Cluster

        (Path(folder) / "ray").mkdir()  # where Ray notes its newest cluster
        node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=node)
        try:
            second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
            arguments = ("--address", cluster.address, "--replicas", "2", "--threads", "1")
            with serving("portrait", *arguments) as server:
                answering = set()

                def note_replicas() -> None:
                    came = requests.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S)
                    answering.add(came.headers["x-replica"])

                while len(answering) < 2:
                    note_replicas()
                lose = {40: lambda: cluster.remove_node(second, allow_graceful=False)}
                assert load(server, photo, 120, at=lose) == {200: 120}
                assert server.stop() == 0
        finally:
            cluster.shutdown()


def test_without_ray_the_error_names_the_pip_line(tmp_path: Path) -> None:
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text(
        "import importlib.util as util\nplain = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'ray' else plain(name, *rest)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edge_deeplab.cli.main", "serve"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        "edge-deeplab: error: serving a model needs the package ray, which is not installed; "
        "pip install 'edge-deeplab[serve]'\n"
    )


def test_an_address_without_a_cluster_is_said_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_deeplab.cli.main", "serve", "--port", "0", "--address", "127.0.0.1:1"],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: no Ray cluster at 127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert "leave --address out" in done.stderr.splitlines()[-1]
