"""Waits for results as long as the client does."""

import asyncio
from collections.abc import Sequence
import concurrent.futures
import contextlib

from starlette import requests as web

# Seconds between two looks whether a client has left.
_LOOK = 0.25


class ClientLeft(Exception):  # noqa: N818
  """The client closed its connection."""


async def results(
  request: web.Request, futures: Sequence[concurrent.futures.Future]
) -> list:
  """Returns the results of requests; cancels them when the client leaves.

  Args:
    request: the client's request.
    futures: what it waits for.

  Raises:
    ClientLeft: the client has left.
  """
  pending = [asyncio.wrap_future(future) for future in futures]
  gathered = asyncio.gather(*pending)
  try:
    while True:
      done, _ = await asyncio.wait([gathered], timeout=_LOOK)
      if done:
        return gathered.result()
      if await request.is_disconnected():
        raise ClientLeft
  except BaseException:
    gathered.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
      await gathered
    raise
