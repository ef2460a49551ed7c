"""The whole server: Ray, the replicas, the front, and an end in which no accepted request is lost.

run_server(ServeOptions(model="portrait"), on_step=print)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from edge_deeplab.errors import DeviceError, ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.serving.admission import Admission, Budget
from edge_deeplab.serving.connections import bounded_protocol
from edge_deeplab.serving.dispatch import Dispatcher
from edge_deeplab.serving.front import Serving, make_front
from edge_deeplab.serving.metrics import Metrics
from edge_deeplab.serving.model_file import locate_model
from edge_deeplab.serving.options import MEGA, ServeOptions
from edge_deeplab.serving.ray_host import RayHost
from edge_deeplab.serving.replica import ModelFacts, ReplicaSettings
from edge_deeplab.serving.video_jobs import VIDEOS_PATH, VideoJobs, add_video_routes

KEEP_ALIVE_S = 5
LOOK_EVERY_S = 1.0
FACTS_TIMEOUT_S = 120.0
UNKNOWN_ROUTE = "unknown"
HEADER_BYTES = 16 * 1024


def run_server(
    options: ServeOptions, *, manifest: Manifest | None = None, on_step: Callable[[str], None] = lambda text: None
) -> None:
    """Serves until SIGTERM or SIGINT, then answers what runs and ends; a second signal ends at once.

    Args:
        manifest: of a .tflite that carries none.
        on_step: called with one line for every step of the start and the end.
    Raises: ModelError when the model cannot be served, DeviceError when the port is taken or Ray does not start,
        MissingExtraError when the extra is not installed.
    """
    path = locate_model(options.model, manifest)
    with contextlib.closing(listen(options.host, options.port)) as listener:
        on_step("starting Ray" if options.address is None else f"joining the Ray cluster at {options.address}")
        with RayHost(options) as host:
            on_step(f"loading {options.model} into {options.replicas} replica{'s' * (options.replicas > 1)}")
            threads = options.threads
            if threads is None and host.is_ours:
                threads = max(1, (os.cpu_count() or 1) // options.replicas)
            settings = ReplicaSettings(
                model=str(path.resolve()), threads=threads, sizes_hw=options.sizes_hw, max_batch=options.max_batch,
                batch_wait_s=options.batch_wait_ms / 1e3, max_pixels=int(options.max_megapixels * MEGA),
                manifest=manifest, fetch_model=host.box(path),
            )  # fmt: skip
            handle = host.deploy(settings)
            asyncio.run(_serve(options, host, handle, listener, on_step))
            on_step("stopped")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises DeviceError when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise DeviceError(f"{host}: is no address of this machine", came=error.strerror) from error
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise DeviceError(
            f"{host}:{port}: cannot listen there", came=error.strerror, next_step="choose another --port"
        ) from error
    return listener


async def _serve(
    options: ServeOptions, host: RayHost, handle: Any, listener: socket.socket, on_step: Callable[[str], None]
) -> None:
    metrics = Metrics()
    facts = await Dispatcher(handle, timeout_s=FACTS_TIMEOUT_S).facts()
    if not isinstance(facts, ModelFacts):
        raise ModelError(facts)
    budget = Budget(int(options.max_buffer_mb * MEGA))
    serving = Serving(
        options=options, facts=facts, metrics=metrics, budget=budget, replicas_running=1,
        dispatcher=Dispatcher(handle, timeout_s=options.timeout_s, on_retry=metrics.retries.inc),
    )  # fmt: skip
    app = make_front(serving)
    async with VideoJobs(options, facts, host.name) as jobs:
        add_video_routes(app, jobs, serving)
        inner: Any = app
        if options.cors_origins:
            inner = _with_cors(app, options.cors_origins)
        admission = Admission(
            inner, token=options.token, max_body_bytes=int(options.max_body_mb * MEGA), upload_path=VIDEOS_PATH,
            max_upload_bytes=int(options.max_video_mb * MEGA), body_timeout_s=options.body_timeout_s, budget=budget,
            is_draining=lambda: serving.is_draining,
            on_answer=lambda scope, status, seconds: metrics.answered(_route(scope), status, seconds),
        )  # fmt: skip
        server = _Server(_config(options, admission))

        def refresh() -> None:
            metrics.running.set(admission.running)
            metrics.buffered.set(budget.held_bytes)
            metrics.connections.set(len(server.server_state.connections))
            jobs.count_into(metrics)

        serving.refresh = refresh
        stop = asyncio.Event()
        watching = asyncio.create_task(_watch(host, serving))
        with _on_signals(stop, server):
            running = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started and not running.done():
                await asyncio.sleep(0.01)
            on_step(f"ready at {_url(listener)}")
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            serving.is_draining = True
            jobs.stop()
            on_step(f"stopping: {admission.running} requests are being answered")
            await _drained(admission, server, options.drain_s)
            server.should_exit = True
            await running
        for task in (watching, stopping):
            task.cancel()


async def _drained(admission: Admission, server: _Server, drain_s: float) -> None:
    """Waits until nothing runs, for drain_s at most, or until a second signal."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain_s):
            while admission.running and not server.force_exit:
                await asyncio.sleep(0.02)


async def _watch(host: RayHost, serving: Serving) -> None:
    """Keeps count of the replicas; what cannot be asked keeps its last answer."""
    while True:
        with contextlib.suppress(Exception):
            states = await asyncio.to_thread(host.replica_states)
            serving.replicas_running = states.get("RUNNING", 0)
            for state, count in states.items():
                serving.metrics.replicas.labels(state.lower()).set(count)
        await asyncio.sleep(LOOK_EVERY_S)


class _Server(uvicorn.Server):
    """uvicorn's server without its signals: it would end at the first, and raise it once more when it has ended."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _on_signals(stop: asyncio.Event, server: _Server) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            server.force_exit = True
        stop.set()

    is_main = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGTERM, signal.SIGINT) if is_main else ():
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT) if is_main else ():
            loop.remove_signal_handler(number)


def _config(options: ServeOptions, app: Any) -> uvicorn.Config:
    protocol = bounded_protocol(max_connections=options.max_connections, header_timeout_s=options.header_timeout_s)
    return uvicorn.Config(
        app, http=protocol, ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
        server_header=False, proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=HEADER_BYTES, timeout_graceful_shutdown=1,
    )  # fmt: skip


def _with_cors(app: Any, origins: tuple[str, ...]) -> Any:
    from starlette.middleware.cors import CORSMiddleware

    return CORSMiddleware(
        app, allow_origins=list(origins), allow_methods=["GET", "POST", "DELETE"], allow_headers=["authorization"],
        expose_headers=["server-timing", "retry-after", "x-batch"],
    )  # fmt: skip


def _route(scope: Any) -> str:
    route = scope.get("route")
    return getattr(route, "path", UNKNOWN_ROUTE)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
