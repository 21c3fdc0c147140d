"""The wait of an asyncio task for a flight. It stops the task, not the thread."""

from __future__ import annotations

import asyncio
import time

from dagcache.core.single_flight import Flight, FlightResult, pause_until


async def wait(flight: Flight, seconds: float | None = None) -> FlightResult | None:
    """The result of a flight, once it is over; None after some seconds."""
    until = None if seconds is None else time.monotonic() + seconds
    while not flight.is_over:
        pause = pause_until(until)
        if pause < 0:
            return None
        await _woken(flight, pause)
    flight.abandon()
    return flight.result


async def _woken(flight: Flight, seconds: float) -> None:
    """Return at the end of the flight, or after some seconds."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        loop.call_soon_threadsafe(_finish, future)

    flight.wakers.append(wake)
    try:
        if not flight.is_over:  # it may have ended before it knew of the waker
            await asyncio.wait([future], timeout=seconds)
    finally:
        flight.wakers.remove(wake)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
