"""A real OpenSSH server on the loopback interface for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_ssh import SSHD, SshServer

from edge_deeplab.runtime.bundled import bundled_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An sshd of the test's own; what it starts has its $TMPDIR in server.far."""
    if SSHD is None:
        pytest.skip("needs sshd: install openssh-server")
    with SshServer(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="session")
def portrait() -> Path:
    """The bundled model."""
    return bundled_model("portrait")
