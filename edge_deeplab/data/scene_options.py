"""What the camera of a made scene is like: the home of its defaults and ranges.

Neither numpy nor OpenCV is imported here, so that a command line can read the defaults for its help at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_deeplab.recipe import check, setting


@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What the camera of a made scene is like.

    Attributes:
        size_wh: of the frames.
        frames: how many.
        fps: frames a second.
        shutter: share of a frame's time that the shutter is open; 0 has no motion blur.
        noise: standard deviation of each frame's own noise, in levels of 8 bits.
        jpeg_quality: each frame goes through a JPEG of this quality, as most webcams send them; 0 leaves it out.
    """

    size_wh: tuple[int, int] = setting((640, 480), low=32, high=4096, help="width and height of the frames")
    frames: int = setting(24, low=1, help="frames of each scene")
    fps: float = setting(30.0, low=1.0, help="frames a second")
    shutter: float = setting(0.5, low=0.0, high=1.0, help="share of the time the shutter is open: motion blur")
    noise: float = setting(2.0, low=0.0, high=50.0, help="noise, standard deviation in levels of 0..255")
    jpeg_quality: int = setting(92, low=0, high=100, help="of the camera's JPEG; 0 for none")

    def __post_init__(self) -> None:
        check(self)
