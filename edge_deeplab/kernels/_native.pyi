"""What the loops in C take: numpy arrays whose rows have no gaps; a shape or type that does not fit is an error."""

import numpy as np

# blend.c

def blend(
    frame: np.ndarray,
    background: np.ndarray,
    alpha: np.ndarray,
    out: np.ndarray,
    behind: np.ndarray | None,
    kind: int,
    threads: int,
) -> None: ...

# guided.c

def guided_levels(
    matte: np.ndarray,
    low_bgr: np.ndarray,
    high_bgr: np.ndarray,
    curve: np.ndarray,
    models: np.ndarray,
    levels: np.ndarray,
    radius: int,
    epsilon: float,
    contrast: float,
    threads: int,
) -> None: ...

# background.c

def blur_background(
    low_bgr: np.ndarray,
    alpha: np.ndarray,
    ramp: np.ndarray,
    taps: np.ndarray,
    blurred: np.ndarray,
    fill_weight: float,
    threads: int,
) -> None: ...

# fading.c

def fade_out(
    matte: np.ndarray, small: np.ndarray | None, dropped: np.ndarray, kept: np.ndarray, calm: float
) -> float: ...
def lift(
    matte: np.ndarray,
    regions: np.ndarray | None,
    raised: np.ndarray,
    kept: np.ndarray,
    box: tuple[int, int, int, int],
    weight: float,
    opaque: float,
    support: float,
) -> float: ...

# frames.c

def decode_twice_as_large(
    logits: np.ndarray, table: np.ndarray, matte: np.ndarray, person: int, is_signed: bool
) -> None: ...

# mattes.c

def small_islands(
    matte: np.ndarray, small: np.ndarray, certain: float, least_share: float, bridge_px: int, reach_px: int
) -> bool: ...
def held_regions(
    matte: np.ndarray, regions: np.ndarray, certain: float, half_seen: float, rim_px: int, hole_mean: float
) -> bool: ...

# resizing.c

def shrink(picture: np.ndarray, small: np.ndarray, threads: int) -> None: ...

# smoothing.c

def smooth(
    state: np.ndarray,
    before: np.ndarray,
    matte: np.ndarray,
    gray: np.ndarray,
    strength: float,
    certain_share: float,
    motion_from: float,
    motion_range: float,
    noise_factor: float,
    noise_limit: float,
    radius: int,
) -> None: ...
