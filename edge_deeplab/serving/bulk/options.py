"""What a mass segmentation is asked to do: every default and range in one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.recipe import check, setting

KINDS = {"labels": ".png", "overlay": ".jpg", "matte": ".png", "npz": ".npz", "rle": ".json"}
"""What can be saved of a picture, each kind in a folder of its own, and its suffix."""


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """Everything `edge-deeplab segment` may be asked.

    Attributes:
        model: a .tflite or .keras file, a SavedModel's folder, or the name of a bundled model.
        kinds: some of KINDS.
        workers: pictures worked on at once; None: one a processor, two for a model that takes all processors.
        on_ray: through Ray Data instead of threads.
        address: of a Ray cluster; None starts Ray on this machine.
    """

    model: str = setting("portrait", help="a .tflite or .keras file, a SavedModel folder, or a bundled name")
    kinds: tuple[str, ...] = ("labels",)
    workers: int | None = setting(None, low=1, high=10000, help="pictures at once; else one a processor")
    batch: int = setting(8, low=1, high=256, help="pictures that one run of the model may take")
    max_megapixels: float = setting(100.0, low=0.01, high=1000.0, help="megapixels of one picture; larger ones are bad")
    on_ray: bool = setting(False, help="run on Ray Data, worker processes in place of threads")
    address: str | None = setting(None, help="a Ray cluster to run on: auto, or HOST:PORT")

    def __post_init__(self) -> None:
        check(self)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageError("--save: unknown", came=kind, allowed=nearest(kind, KINDS))
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UsageError("--save: nothing, or one twice", came=", ".join(self.kinds) or "nothing",
                             allowed=", ".join(KINDS))  # fmt: skip

    @property
    def uses_ray(self) -> bool:
        """Whether Ray runs it: asked for, or meant by an address."""
        return self.on_ray or self.address is not None
