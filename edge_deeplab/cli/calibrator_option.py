"""The option --calibrator of convert, tune and report.

@calibrator_option
def command(calibrator: str, ...) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

METAVAR = "min-max|percentile[:P]|mse|entropy"  # as calibration.calibrators.METAVAR; a test holds them equal


class CalibratorName(click.ParamType):
    """A calibrator's name as typed, known to be one; calibrators.Calibrator.parse reads it."""

    name = "CALIBRATOR"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name; refuses an unknown one with the list of those there are."""
        from edge_deeplab.calibration.calibrators import Calibrator
        from edge_deeplab.errors import UsageError

        try:
            return str(Calibrator.parse(str(value)))
        except UsageError as error:
            self.fail(str(error), param, ctx)


def calibrator_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the option to a command, which gets None where it was not given."""
    return click.option(
        "--calibrator",
        type=CalibratorName(),
        metavar=METAVAR,
        help="How int8 ranges of activations follow from the samples: all that was seen, all but a share at each end "
        "(P 99.99), least square error, least divergence. [min-max]",
    )(function)
