"""What compositing is asked to do: the home of its defaults and ranges.

Neither numpy nor OpenCV is imported here, so that a command line can read the defaults for its help at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from edge_deeplab.recipe import check, setting

if TYPE_CHECKING:
    import numpy as np

People = Literal["all", "largest"]
BlurStyle = Literal["soft", "lens"]
Aperture = Literal["disc", "pentagon", "hexagon", "octagon"]


class Background(Protocol):
    """Something to stand behind a person."""

    def at(self, size_wh: tuple[int, int], time_s: float) -> np.ndarray:
        """The background at a time.

        Args:
            size_wh: width and height of the frame.
            time_s: of the frame, seconds from the start; never going backwards.

        Returns: (H, W, 3) uint8 BGR, not to be written into.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CompositingOptions:
    """How a person is set before a background. Every stage can be switched off.

    Attributes:
        background: what stands behind the person; None blurs the frame's own background.
        blur_style: "soft" (blur.BackgroundBlur) or "lens" (lens.LensBlur), which turns points of light into discs.
        aperture: the shape of those discs.
        highlights: how much the brightest pixels stand out in them.
        strength: of the blur; its standard deviation is this share of blur.MAX_SIGMA_SHARE of the frame's diagonal.
            0 shows the frame as it came.
        smoothing: weight of the past matte where nothing moves (smoothing.MatteSmoother). 0 is off.
        keeps_held: whether what is half seen and joined to the person, or within them, is kept
            (held_objects.HeldObjectKeeper): phones, cups, headphones.
        people: "all", or "largest": one alone, who stays the one while nobody else is clearly larger
            (people.PersonFollower).
        least_person: an island of the matte with less than this share of the largest one's area is background
            (islands.IslandDropper): a flag or a poster, and people far behind. 0 keeps every island.
        refines_edges: whether the matte's edge is drawn to the picture's edges (upsampling.GuidedUpsampler) or only
            enlarged.
        cleans_edges: whether the frame's own background is taken out of the soft edge where another one is put behind
            (blending.Blender.blend_clean) or where it is blurred (blend_within), and the person's colours kept whole.
        despill: how much of the old background's colour is taken off the person's rim (spill.SpillRemover), and
        light_wrap: how much of the new one's light is laid around it (light_wrap.LightWrap); both only where another
            background is put behind. 0 is off.
        edge_softness: width of the transition from person to background, 0 as hard as the resolution allows, 1 the
            matte's own.
        edge_level: the matte at which person and background weigh the same; lower leans outward and keeps more hair,
            higher cuts closer; with clean edges the person's own colours are kept a little beyond it.
        working_side: longer side of the picture that the blur and the edge's model are computed on, pixels; smaller is
            quicker and coarser. The edge itself is drawn at its own resolution whatever this is.
    """

    background: Background | None = None
    strength: float = setting(0.5, low=0.0, high=1.0, help="blur of the background, 0 (none) to 1")
    blur_style: BlurStyle = setting(
        "soft", help="soft, or lens: out of focus as a camera's lens shows it, lights as discs"
    )
    aperture: Aperture = setting("disc", help="in the lens style, the shape of a light that is out of focus")
    highlights: float = setting(0.5, low=0.0, high=1.0, help="in the lens style, how far lights stand out, 0 to 1")
    smoothing: float = setting(
        0.85, low=0.0, high=0.95, help="calm of the edge over time, 0 (each frame alone) to 0.95"
    )
    keeps_held: bool = setting(True, help="keep what the person holds or wears, where the model half sees it")
    people: People = setting("all", help="all, or largest: one person alone, and the same one from frame to frame")
    least_person: float = setting(
        0.25, low=0.0, high=1.0, help="smallest island kept as a person, as a share of the largest; 0 keeps all"
    )
    refines_edges: bool = setting(True, help="draw the person's edge to the picture's own edges")
    cleans_edges: bool = setting(True, help="take the sharp old background out of the person's edge")
    despill: float = setting(
        0.0,
        low=0.0,
        high=1.0,
        help="before another background, how much of the old one's colour is taken off the person, 0 to 1",
    )
    light_wrap: float = setting(
        0.0, low=0.0, high=1.0, help="before another background, how much of its light falls around the person, 0 to 1"
    )
    edge_softness: float = setting(0.7, low=0.0, high=1.0, help="softness of the person's edge, 0 (hard) to 1")
    edge_level: float = setting(
        0.5, low=0.05, high=0.95, help="where the edge lies: lower keeps more around the person, higher cuts closer"
    )
    working_side: int = setting(320, low=64, high=1280, help="longer side of the picture the blur is computed on")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class OverlayOptions:
    """How classes are shown.

    Attributes:
        opacity: of the colours over the picture.
        shows_legend: whether the names of the classes in view are drawn, with their share of the frame.
        least_share: a class with a smaller share of the frame is left out of the legend, where it would flicker.
    """

    opacity: float = setting(0.55, low=0.0, high=1.0, help="opacity of the class colours, 0 to 1")
    shows_legend: bool = setting(True, help="draw the names of the classes in view")
    least_share: float = setting(0.005, low=0.0, high=1.0, help="smallest share of the frame a class is listed with")

    def __post_init__(self) -> None:
        check(self)
