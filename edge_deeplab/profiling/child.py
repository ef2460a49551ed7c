"""The program whose start and memory are measured for a model alone: load, first inference, steady inferences.

Run by startup.measure_startup as `python -m edge_deeplab.profiling.child MODEL --threads N --kernels K`; prints its
milestones as one line of JSON. Not meant for people: `edge-deeplab profile` is.
"""

from __future__ import annotations

from edge_deeplab.profiling.milestones import Milestones

MILESTONES = Milestones()  # before anything heavy is imported: the first stamp is the bare interpreter

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

STEADY_RUNS = 10


def main(arguments: list[str]) -> None:
    """Loads the model, runs it and prints the milestones."""
    parser = argparse.ArgumentParser(prog="python -m edge_deeplab.profiling.child")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kernels", default="auto")
    options = parser.parse_args(arguments)

    from edge_deeplab.profiling.engine import random_inputs
    from edge_deeplab.runtime.interpreter import Engine, engine_name

    engine_name()  # imports the engine's package
    MILESTONES.reach("imports")
    with Engine(options.model, threads=options.threads, kernels=options.kernels, is_known_good=True) as engine:
        MILESTONES.reach("load")
        inputs = random_inputs(engine.inputs)
        engine.run(*inputs)
        MILESTONES.reach("first inference", is_ready=True)
        for _ in range(STEADY_RUNS):
            engine.run(*inputs)
        MILESTONES.reach("steady inferences")
    MILESTONES.write(sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
