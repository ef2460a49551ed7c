"""schemathesis against the server's own description: thousands of odd requests, none of which may find a fault."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests
from serving_process import ServingProcess

EXAMPLES = "12"
SEED = "1"
CHECKS = ",".join(
    [
        "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
        "response_schema_conformance", "unsupported_method", "missing_required_header",
    ]
)  # fmt: skip


def test_no_request_finds_a_fault(server: ServingProcess, photo: bytes, tmp_path: Path) -> None:
    """Random bytes are no picture, which a description cannot say: so 4xx is not held against them."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
            "--checks", CHECKS, "--max-examples", EXAMPLES, "--seed", SEED, "--mode", "all", "--no-color",
            "--generation-database", "none", "--request-timeout", "60", "--workers", "2",
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert requests.post(f"{server.url}/v1/segment", data=photo, timeout=60).status_code == 200
    assert "Traceback" not in server.errors.read_text()
