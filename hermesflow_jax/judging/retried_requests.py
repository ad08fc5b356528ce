"""Sends requests at a steady pace, again after faults that may pass."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import random
import time
from typing import Any

from hermesflow_jax.judging import endpoint_settings
from hermesflow_jax.judging import http_transport
from hermesflow_jax.judging import request_pace

# Longest time between two tries, in seconds.
_LONGEST_BACKOFF = 60.0
# Longest time that a service may ask to wait, in seconds.
_LONGEST_WAIT = 600.0


@dataclasses.dataclass(frozen=True)
class Refusals:
  """Words of errors about a service.

  Attributes:
    service: what replies, e.g. 'an endpoint'.
    settings: HTTP status -> setting to look at, with its condition.
    others: the same for all other refusals.
    subject: what was requested, e.g. "model 'a'".
  """

  service: str
  settings: Mapping[int, str]
  others: str
  subject: str


class RetriedRequests:
  """A service and the pace of its requests; threads may share it.

  Args:
    config: settings.
    setting: name of the settings, for errors.
    address: URL that requests go to.
    refusals: words of errors.
    processes: number of processes that share the rate.
    clock: returns seconds.
    sleep: waits for a number of seconds.

  Raises:
    ValueError: the key is missing.
  """

  def __init__(
    self,
    config: endpoint_settings.ServiceSettings,
    setting: str,
    address: str,
    refusals: Refusals,
    processes: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self._host, self._setting, self._refusals = config.host, setting, refusals
    self._clock, self._sleep = clock, sleep
    self._pace = request_pace.RequestPace(config.rate / processes, clock, sleep)
    self._transport = http_transport.Transport(
      address, config.key(setting), config.timeout
    )

  def send(
    self, body: Mapping, read: Callable[[Any], Any], retries: int
  ) -> tuple[Any, int, float]:
    """Sends a request until it has a usable reply.

    Args:
      body: JSON types.
      read: JSON value of a reply -> result; raises `RequestFault` for a reply
        that cannot be used.
      retries: most repetitions.

    Returns:
      (result of `read`, failed tries, seconds of the last try).

    Raises:
      ValueError: the service refuses the request.
      ConnectionError: all tries failed.
    """
    for number in range(retries + 1):
      self._pace.wait()
      began = self._clock()
      try:
        value = self._transport.post(body)
        seconds = self._clock() - began
        return read(value), number, seconds
      except http_transport.RequestFault as fault:
        self._raise_if_final(fault, number, retries)
        # Threads that failed together do not return together.
        backoff = min(_LONGEST_BACKOFF, 2.0**number) * random.uniform(0.5, 1.0)
        if fault.wait:
          self._pace.hold(fault.wait)
        # A service that asks for less than that gets no more tries in the same
        # time.
        if fault.wait < backoff:
          self._sleep(backoff)
    raise AssertionError('the last try returns or raises')

  def _raise_if_final(self, fault, number, retries):
    setting, words = self._setting, self._refusals
    if not fault.may_pass:
      reason = words.settings.get(fault.status, words.others)
      raise ValueError(
        f'{setting}.{reason}, got {fault} ({words.subject} at {self._host})'
      ) from fault
    if fault.wait > _LONGEST_WAIT:
      raise ConnectionError(
        f'{setting}.url {self._host} asks to wait {fault.wait:.0f} s ({fault})'
      ) from fault
    if number == retries:
      raise ConnectionError(
        f'{setting}.url must be {words.service} that replies, got {fault} from '
        f'{self._host} at try {number + 1}'
      ) from fault
