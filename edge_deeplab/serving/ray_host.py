"""Ray for one server: started here and quiet, or joined at an address; nothing is left behind.

    with RayHost(options) as host:
        handle = host.deploy(settings)

Ray reports its use to its makers unless it is told not to: it is told. Its dashboard stays off. Its files go to a
temporary folder that ends with the server. Its own ports take no call without a token, which is made anew here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_deeplab.errors import DeviceError, MissingExtraError, ModelError
from edge_deeplab.serving.model_file import pack_model
from edge_deeplab.serving.options import ServeOptions
from edge_deeplab.serving.replica import ReplicaSettings, SegmentReplica

EXTRA = "serve"
APPLICATION = "edge-deeplab"
DEPLOYMENT = "SegmentReplica"
OBJECT_STORE_BYTES = 256 * 1024 * 1024
BESIDE_THE_MODEL = 2
"""Pictures of a replica being decoded or encoded, beside a batch that runs and one that waits: without them a batch of
one leaves the model idle while Ray Serve asks again whether the replica takes another."""
CONSTRUCTOR_RETRIES = 2
GRACEFUL_S = 20.0
ANSWER_S = 5.0
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
LOCAL_ENVIRONMENT = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WORKER_PRESTART": "0"}


def require_ray() -> None:
    """Raises MissingExtraError where a package of the extra is not installed; imports none."""
    import importlib.util

    for package in ("ray", "fastapi", "uvicorn", "prometheus_client", "python_multipart"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra=EXTRA, purpose="serving a model")


class RayHost:
    """Ray while the server runs. A context manager.

    Args:
        options: address, replicas, limits.
    """

    def __init__(self, options: ServeOptions) -> None:
        require_ray()
        self._options = options
        self._folder: Path | None = None
        self._box: Any = None
        self.is_ours = options.address is None
        self.name = APPLICATION if self.is_ours else f"{APPLICATION}-{secrets.token_hex(4)}"

    def __enter__(self) -> RayHost:
        os.environ.update(ENVIRONMENT)
        if self.is_ours:
            os.environ.update(LOCAL_ENVIRONMENT)
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            if self.is_ours:
                self._folder = Path(tempfile.mkdtemp(prefix="ed-", dir=_short_folder()))
                ray.init(
                    num_cpus=max(os.cpu_count() or 1, self._options.most_replicas + 1), num_gpus=0,
                    include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, _temp_dir=str(self._folder),
                    _node_ip_address="127.0.0.1", **quiet,
                )  # fmt: skip
            else:
                _check_address(str(self._options.address))
                ray.init(address=self._options.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            self._remove_folder()
            if self.is_ours:
                raise DeviceError("Ray does not start", came=str(error)) from error
            raise DeviceError(
                f"no Ray cluster at {self._options.address}", came=str(error).splitlines()[0],
                next_step="start one with `ray start --head`, or leave --address out; a cluster that asks for a token"
                " wants RAY_AUTH_MODE=token set here, too",
            ) from error  # fmt: skip
        return self

    def deploy(self, settings: ReplicaSettings) -> Any:
        """Starts the replicas and waits for them. Returns: the deployment's handle, its own loop beside ours."""
        from ray import serve

        for name in ("ray", "ray.serve"):
            logging.getLogger(name).setLevel(logging.ERROR)
        serve.start(proxy_location="Disabled")
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # starting it has set it anew
        options = self._options
        numbers: dict[str, Any] = {"num_replicas": options.replicas}
        if options.scales:
            numbers = {
                "autoscaling_config": {
                    "min_replicas": options.replicas, "max_replicas": options.max_replicas,
                    "target_ongoing_requests": options.max_batch, "upscale_delay_s": 3.0, "downscale_delay_s": 60.0,
                }
            }  # fmt: skip
        deploying: Any = serve.deployment(
            name=DEPLOYMENT, max_ongoing_requests=2 * options.max_batch + BESIDE_THE_MODEL,
            max_queued_requests=options.max_queue, graceful_shutdown_timeout_s=GRACEFUL_S,
            graceful_shutdown_wait_loop_s=0.1, health_check_period_s=2.0, health_check_timeout_s=10.0,
            max_constructor_retry_count=CONSTRUCTOR_RETRIES, ray_actor_options={"num_cpus": 1},
            logging_config={"log_level": "WARNING", "enable_access_log": False}, **numbers,
        )  # fmt: skip
        try:
            with held_stdout():
                return serve.run(deploying(SegmentReplica).bind(settings), name=self.name, route_prefix=None)
        except RuntimeError as error:
            raise ModelError("the model's replicas do not start", came=self._why() or str(error)) from error

    def _why(self) -> str:
        """The last line of what Ray knows of a deployment that failed."""
        from ray import serve

        application = serve.status().applications.get(self.name)
        messages = [one.message for one in application.deployments.values()] if application is not None else []
        lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def replica_states(self) -> dict[str, int]:
        """How many replicas are in which state, e.g. {"RUNNING": 2}. Asks Ray's controller: tens of milliseconds."""
        from ray import serve

        application = serve.status().applications.get(self.name)
        deployment = application.deployments.get(DEPLOYMENT) if application is not None else None
        return {str(state): count for state, count in (deployment.replica_states if deployment else {}).items()}

    def box(self, path: Path) -> Any:
        """A function that any machine of the cluster may call for the packed model; None where all share this disk."""
        if self.is_ours:
            return None
        import ray

        box_class: Any = ray.remote(num_cpus=0)(_Box)
        self._box = box = box_class.remote(pack_model(path))

        def fetch() -> bytes:
            data: bytes = ray.get(box.read.remote())
            return data

        return fetch

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the application, and Ray where it is ours. Twice is harmless."""
        import ray

        if ray.is_initialized():
            from ray import serve

            with held_stdout():
                if not self.is_ours:
                    with contextlib.suppress(Exception):  # the cluster may be gone already
                        serve.delete(self.name)
                ray.shutdown()
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None


class _Box:
    """Holds a file's bytes, as an actor of the cluster."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> bytes:
        """The bytes."""
        return self._data


def _check_address(address: str) -> None:
    """Raises ConnectionError where nothing listens: Ray itself would ask for minutes, and say so on stderr."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConnectionError(str(error)) from error


def _short_folder() -> str | None:
    """A folder for Ray's sockets, whose paths may be 107 bytes long: the usual temporary one unless it is deep."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < 40 else "/tmp"


@contextlib.contextmanager
def held_stdout() -> Iterator[None]:
    """Holds back what the block prints: Ray prints notes of the raylet to stdout, where our results go."""
    import io

    with contextlib.redirect_stdout(io.StringIO()):
        yield
