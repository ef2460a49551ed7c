"""The least Ray Serve can do: its own HTTP proxy and one replica that sends back what it got. serve_load.py's peer.

python benchmarks/serve_echo.py PORT     # says "ready" on stdout, ends with its stdin
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
os.environ.update(RAY_ENABLE_WORKER_PRESTART="0", RAY_SERVE_LOG_TO_STDERR="0")

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

OBJECT_STORE_BYTES = 100 * 1024 * 1024


@serve.deployment(max_ongoing_requests=100, logging_config={"log_level": "WARNING", "enable_access_log": False})
class Echo:
    """Gives back a request's body."""

    async def __call__(self, request: Request) -> Response:  # noqa: D102
        return Response(await request.body())


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ed-", ignore_cleanup_errors=True) as folder:
        ray.init(
            include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, _temp_dir=folder,
            _node_ip_address="127.0.0.1", num_cpus=2, log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
        serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
        serve.run(Echo.bind())
        print("ready", flush=True)
        sys.stdin.read()
        ray.shutdown()


if __name__ == "__main__":
    main()
