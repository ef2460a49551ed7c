"""DeepLab semantic segmentation from training to the edge.

    import edge_deeplab
    result = edge_deeplab.segment("photo.jpg")        # result.labels, .names, .matte, .overlay()

Importing this package costs nothing: no numpy, no network library, no side effects. `segment` and `PhotoSegmenter` are
brought from edge_deeplab.photos when they are first used. Import the room you need for all else, e.g.
`from edge_deeplab.runtime.segmenter import Segmenter`.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for typing's, whose import would be the dearest line here
if TYPE_CHECKING:
    from edge_deeplab.photos import PhotoSegmenter, segment

__all__ = ["PhotoSegmenter", "__version__", "segment"]


def __getattr__(name: str) -> object:
    if name not in ("PhotoSegmenter", "segment"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from edge_deeplab import photos  # the one import upwards: see "The package itself" in pyproject.toml's contracts

    return getattr(photos, name)
