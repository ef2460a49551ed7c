"""What a server is asked to do: every default and range in one frozen dataclass. Neither Ray nor numpy is needed.

options = ServeOptions(model="portrait", port=8000, replicas=2)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.errors import UsageError
from edge_deeplab.recipe import check, setting

DEFAULT_MODEL = "portrait-large"  # a server has time
MEGA = 1_000_000


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Everything `edge-deeplab serve` may be asked; sizes and times are bounds, never promises.

    Attributes:
        model: a .tflite or .keras file, or the name of a bundled model.
        host, port: where HTTP is spoken; port 0 takes a free one.
        address: of a Ray cluster ("auto", "host:port"); None starts Ray on this machine alone.
        replicas, max_replicas: copies of the model; between the two their number follows the load.
        threads: of one replica's engine; None: the processors shared out among the replicas.
        sizes_hw: input sizes a picture is brought to, the one of the nearest shape and fitting size; empty: the
            model's own. Only a network of ours can take others.
        token: what callers must show as `Authorization: Bearer TOKEN`; None asks for none.
        cors_origins: web pages from elsewhere that may call; "*" is any.
        state: folder of video jobs, kept after the server ends; None: a temporary one, removed then.
    """

    model: str = DEFAULT_MODEL
    host: str = setting("127.0.0.1", help="address to listen on; 0.0.0.0 is every one of this machine")
    port: int = setting(8000, low=0, high=65535, help="port to listen on; 0 takes a free one")
    address: str | None = setting(None, help="a Ray cluster to run on: auto, or HOST:PORT; else this machine alone")
    replicas: int = setting(1, low=1, high=1000, help="copies of the model that always run")
    max_replicas: int | None = setting(None, low=1, high=1000, help="copies under load; more than --replicas scales")
    threads: int | None = setting(None, low=1, high=256, help="threads of one copy; else the processors shared out")
    max_batch: int = setting(8, low=1, high=256, help="pictures that one run of the model may take")
    batch_wait_ms: float = setting(
        0.0, low=0, high=1000,
        help="milliseconds to hold a picture back for others to share its run; what comes during a run shares the next",
    )  # fmt: skip
    sizes_hw: tuple[tuple[int, int], ...] = ()
    max_queue: int = setting(64, low=1, high=100000, help="pictures that may wait; beyond it the answer is 429")
    timeout_s: float = setting(30.0, low=0.1, high=3600, help="seconds until a request that got no result ends in 504")
    max_body_mb: float = setting(20.0, low=0.001, high=2000, help="megabytes of one request's body")
    max_buffer_mb: float = setting(256.0, low=0.001, high=100000, help="megabytes of all bodies at once")
    max_megapixels: float = setting(24.0, low=0.01, high=100, help="megapixels of one picture")
    max_pictures: int = setting(32, low=1, high=1000, help="pictures in one batch request")
    header_timeout_s: float = setting(10.0, low=0.1, high=600, help="seconds until a request's header must be in")
    body_timeout_s: float = setting(20.0, low=0.1, high=3600, help="seconds until a request's body must be in")
    max_connections: int = setting(512, low=1, high=100000, help="connections at once; more are turned away with 503")
    drain_s: float = setting(30.0, low=0, high=3600, help="seconds that running requests get once asked to stop")
    token: str | None = None
    cors_origins: tuple[str, ...] = ()
    state: Path | None = None
    max_video_mb: float = setting(256.0, low=0.001, high=100000, help="megabytes of one video")
    max_video_s: float = setting(1800.0, low=1, high=86400, help="seconds that one video may be worked on")
    max_jobs: int = setting(8, low=1, high=1000, help="videos that may wait or run")
    max_store_mb: float = setting(2048.0, low=0.001, high=1000000, help="megabytes of all videos and results")
    keep_job_s: float = setting(3600.0, low=1, high=8640000, help="seconds that a finished video stays")

    def __post_init__(self) -> None:
        check(self)
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise UsageError("max_replicas is below replicas", came=self.max_replicas, allowed=f"{self.replicas} up")
        if self.max_buffer_mb < self.max_body_mb:
            raise UsageError("max_buffer_mb is below max_body_mb", came=self.max_buffer_mb, allowed=self.max_body_mb)
        if self.max_store_mb < self.max_video_mb:
            raise UsageError("max_store_mb is below max_video_mb", came=self.max_store_mb, allowed=self.max_video_mb)
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise UsageError("the token cannot be used", allowed="8 or more printable ASCII characters")
        if any(min(size) < 16 or max(size) > 4096 for size in self.sizes_hw):
            raise UsageError("an input size is out of range", came=self.sizes_hw, allowed="16..4096 a side")
        for origin in self.cors_origins:
            if origin != "*" and not origin.startswith(("http://", "https://")):
                raise UsageError("a CORS origin is none", came=origin, allowed="https://example.org, or * for any")
        if self.address is not None and self.address.startswith("ray://"):
            raise UsageError(
                "the address is one of Ray Client", came=self.address, allowed="auto, HOST:PORT of the cluster's head",
                next_step="run the command on a machine of the cluster",
            )  # fmt: skip

    @property
    def scales(self) -> bool:
        """Whether the number of replicas follows the load."""
        return self.max_replicas is not None and self.max_replicas > self.replicas

    @property
    def most_replicas(self) -> int:
        """How many replicas there may be at once."""
        return max(self.replicas, self.max_replicas or 0)
