"""Scores of images with their texts by a reward service behind HTTP.

The form of requests and replies is that of UniRL's RewardService, `POST
/score`, in JSON (docs/scorers.md). Scores go into a cache at once, so a
stopped run asks only for the scores that it lacks.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import json
import time

import numpy as np

from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import endpoint_judge
from hermesflow_jax.judging import endpoint_settings
from hermesflow_jax.judging import retried_requests
from hermesflow_jax.judging import reward_replies
from hermesflow_jax.judging import usage
from hermesflow_jax.judging import worker_threads
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import settings

NAME = 'http_reward'
_PATH = '/score'
_PROTOCOL = '1'
_REFUSALS = {
  401: 'key_variable must name a variable with a valid key',
  403: 'key_variable must name a variable with a key that may use the service',
  404: 'url must be the base address of a reward service',
}


@dataclasses.dataclass(frozen=True)
class RewardSettings(endpoint_settings.ServiceSettings):
  """A reward service of the scorer `http_reward`.

  Attributes:
    reward: name of the reward, as the service knows it.
    metric: number of the reward that is the score; '' for the first.
    images_at_once: most images in a request.
    cache: folder of scores, which runs may share; '' for `rewards` in the run
      folder.
  """

  reward: str = dataclasses.field(default='', kw_only=True)
  metric: str = dataclasses.field(default='', kw_only=True)
  images_at_once: settings.PositiveInt = settings.may_change_on_resume(
    default=8, kw_only=True
  )
  cache: str = settings.may_change_on_resume(default='', kw_only=True)

  @property
  def address(self) -> str:
    """Address that requests go to."""
    return self.address_of(_PATH)

  def check_given(self, setting: str) -> None:
    """Raises ValueError if the service or the reward is missing.

    Args:
      setting: the scorer that needs them, e.g. 'image_scorer'.
    """
    for name in ('url', 'reward'):
      if not getattr(self, name):
        raise ValueError(
          f"http_reward.{name} must be given with {setting}={NAME}, got ''; "
          'see docs/scorers.md'
        )


class RewardService:
  """A service that scores images with their texts.

  Args:
    config: settings.
    setting: name of the settings, for errors.
    cache: keeps the scores.
    clock: returns seconds.
    sleep: waits for a number of seconds.

  Attributes:
    usage: counts of scores (as questions), requests and retries.

  Raises:
    ValueError: the key is missing.
  """

  def __init__(
    self,
    config: RewardSettings,
    setting: str,
    cache: answer_cache.AnswerCache,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self.config, self.usage = config, usage.Usage()
    self._setting, self._cache = setting, cache
    # The first process alone sends requests.
    self._requests = retried_requests.RetriedRequests(
      config,
      setting,
      config.address,
      retried_requests.Refusals(
        'a reward service',
        _REFUSALS,
        'reward must be one that the service has',
        f'reward {config.reward!r}',
      ),
      clock=clock,
      sleep=sleep,
    )

  def probe(self) -> None:
    """Asks for the score of a grey image, with at most one retry.

    Raises:
      ValueError: there is no score.
    """
    image = np.full((64, 64, 3), 128, np.uint8)
    try:
      self._send([(image, 'a grey image')], min(1, self.config.retries))
    except ConnectionError as error:
      raise ValueError(
        f'{error}; start the service, or give {self._setting}.probe=False'
      ) from error

  def score(self, images: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Scores images; all processes call it with the same images.

    Equal images with equal texts are scored once.

    Args:
      images: uint8[N, H, W, 3].
      texts: N texts.

    Returns:
      float64[N], finite.

    Raises:
      ValueError: the service refuses a request.
      ConnectionError: all tries of a request failed.
    """
    records = processes.broadcast_from_first(
      lambda: self._records(images, texts)
    )
    spent = [
      usage.Usage(
        1, 0, record['requests'], record['retries'], seconds=record['seconds']
      )
      for record in {record['key']: record for record in records}.values()
    ]
    self.usage = sum(spent, self.usage)
    return np.array([float(record['reply']) for record in records], np.float64)

  def _records(self, images, texts) -> list[dict]:
    """Returns the cached records of the scores; asks for the missing ones."""
    keys = [
      self._key(image, text) for image, text in zip(images, texts, strict=True)
    ]
    first = {key: number for number, key in reversed(list(enumerate(keys)))}
    missing = [
      n for n in sorted(first.values()) if not self._cache.get(keys[n])
    ]
    size = self.config.images_at_once
    groups = [missing[n : n + size] for n in range(0, len(missing), size)]

    def ask(group):
      samples = [(images[n], texts[n]) for n in group]
      return self._send(samples, self.config.retries)

    results = worker_threads.map_unordered(ask, groups, self.config.parallel)
    try:
      for position, (scores, retries, seconds) in results:
        costs = [(1, retries, seconds)] + [(0, 0, 0.0)] * len(scores)
        self._cache.put(
          [
            _record(keys[n], score, *cost)
            for n, score, cost in zip(groups[position], scores, costs)
          ]
        )
    finally:
      results.close()
      self._cache.flush()
    return [self._cache.get(key) for key in keys]

  def _send(self, samples, retries) -> tuple[list[float], int, float]:
    """Returns (scores of images with texts, failed tries, seconds)."""
    body = {
      'protocol_version': _PROTOCOL,
      'requests': [
        {
          'request_id': self._key(image, text),
          'history': [
            {
              'text': text,
              'image_b64': chat_endpoint.image_url(image).partition(',')[2],
            }
          ],
          'required_rewards': [self.config.reward],
          'metadata': None,
        }
        for image, text in samples
      ],
    }
    read = functools.partial(
      reward_replies.read_scores,
      count=len(samples),
      reward=self.config.reward,
      metric=self.config.metric,
    )
    return self._requests.send(body, read, retries)

  def _key(self, image, text) -> str:
    """Returns a hash of everything that a score depends on."""
    config = self.config
    values = [
      config.reward,
      config.metric,
      endpoint_judge.image_hash(image),
      text,
    ]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _record(key, score, requests, retries, seconds) -> dict:
  """Returns the record of a score; the first of a request has its cost."""
  return {
    'key': key,
    'reply': repr(score),
    'requests': requests,
    'retries': retries,
    'prompt_tokens': 0,
    'completion_tokens': 0,
    'seconds': seconds,
  }
