"""Pictures to replicas: a deadline for each, a clear word when all are busy, and another replica when one dies.

Segmenting changes nothing, so a picture whose replica died is simply sent again: what was accepted is answered.

    dispatcher = Dispatcher(handle, timeout_s=30)
    answer = await dispatcher.segment(data, Ask())
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.serving.answers import Ask
from edge_deeplab.serving.replica import Answer, ModelFacts, Refusal

MAX_DEATHS = 4  # a picture whose replicas ended so often is given to no other: it may be what ends them
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.02, 0.5


class BusyError(EdgeDeepLabError):
    """As many pictures wait as may wait."""


class TooLateError(EdgeDeepLabError):
    """The deadline passed."""


class DeadlyError(EdgeDeepLabError):
    """Every replica that had the picture died of it, or of something else."""


class Dispatcher:
    """Calls the deployment.

    Args:
        handle: a DeploymentHandle of SegmentReplica.
        timeout_s: until a picture must have its answer.
        on_retry: called when a picture is sent again.
    """

    def __init__(self, handle: Any, *, timeout_s: float, on_retry: Callable[[], None] = lambda: None) -> None:
        self._handle, self._timeout_s, self._on_retry = handle, timeout_s, on_retry

    async def facts(self) -> ModelFacts | str:
        """What the model is, or why it cannot be served."""
        return await self._call("facts", waits_for_room=True)

    async def segment(self, data: bytes, ask: Ask, *, waits_for_room: bool = False) -> Answer | Refusal:
        """The answer for one picture.

        Args:
            data: a JPEG, PNG or WebP file.
            waits_for_room: for a picture whose request is accepted already: wait where others are refused.
        Raises: BusyError, TooLateError, DeadlyError.
        """
        return await self._call("segment", data, ask, waits_for_room=waits_for_room)

    async def _call(self, method: str, *arguments: Any, waits_for_room: bool) -> Any:
        from ray.serve.exceptions import BackPressureError

        deadline_s = time.monotonic() + self._timeout_s
        deaths, pause_s = 0, FIRST_PAUSE_S
        while True:
            try:
                return await self._once(method, arguments, deadline_s)
            except BackPressureError as error:
                if not waits_for_room:
                    raise BusyError("the server is busy", next_step="try again later") from error
            except lost_errors() as error:
                deaths += 1
                if deaths >= MAX_DEATHS:
                    raise DeadlyError(
                        "the picture could not be worked on", came=f"{deaths} replicas that ended while they had it"
                    ) from error
                self._on_retry()
            if time.monotonic() + pause_s >= deadline_s:
                raise self._too_late()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _once(self, method: str, arguments: tuple[Any, ...], deadline_s: float) -> Any:
        response = getattr(self._handle, method).remote(*arguments)
        try:
            async with asyncio.timeout(max(0.001, deadline_s - time.monotonic())):
                return await response
        except TimeoutError as error:
            response.cancel()
            raise self._too_late() from error

    def _too_late(self) -> TooLateError:
        return TooLateError("no result in time", allowed=f"{self._timeout_s:g} seconds", next_step="try again later")


def lost_errors() -> tuple[type[Exception], ...]:
    """What Ray raises when the replica that had the call, its worker or its machine went away."""
    from ray import exceptions

    return (
        exceptions.RayActorError, exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.ObjectLostError,
        exceptions.LocalRayletDiedError, exceptions.RaySystemError,
    )  # fmt: skip
