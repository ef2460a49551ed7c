"""What the loops in C take: numpy arrays whose rows have no gaps; a shape or type that does not fit is an error."""

import numpy as np

# compose.c

def blend(
    frame: np.ndarray,
    background: np.ndarray,
    alpha: np.ndarray,
    out: np.ndarray,
    behind: np.ndarray | None,
    kind: int,
    threads: int,
) -> None: ...
