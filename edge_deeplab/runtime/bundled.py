"""Which file a model argument means: a path, or the name of a model that comes with the package.

bundled_model("portrait")        # .../edge_deeplab/assets/portrait.tflite
bundled_model("mine.tflite")     # Path("mine.tflite")
"""

from __future__ import annotations

from pathlib import Path

import edge_deeplab.assets
from edge_deeplab.errors import ModelError, nearest


def assets_folder() -> Path:
    """The folder of the bundled models and their cards.

    Asked of the package itself: the interpreter wants real files, and importlib.resources takes 3 ms to import.
    """
    return Path(edge_deeplab.assets.__path__[0])


def bundled_names() -> tuple[str, ...]:
    """The names of the models that come with the package, sorted."""
    return tuple(sorted(path.name.removesuffix(".tflite") for path in assets_folder().glob("*.tflite")))


def bundled_model(model: str | Path) -> Path:
    """The file a model argument means; a file that exists wins over a bundled name.

    Raises: ModelError when it is neither, listing the names and the nearest one.
    """
    path = Path(model)
    if path.is_file():
        return path
    names = bundled_names()
    if str(model) in names:
        return assets_folder() / f"{model}.tflite"
    known = nearest(str(model), names) if names else "none in this installation"
    if path.is_dir():
        raise ModelError(f"{model}: is a folder, not a model file", allowed=f"a .tflite file, or one of: {known}")
    raise ModelError(f"{model}: no such model file or bundled model", allowed=f"a .tflite file, or one of: {known}")
