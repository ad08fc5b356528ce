"""A judge that asks a chat endpoint about each generated image.

Every process asks its share of the questions; afterwards all processes have
all replies. Replies go into a cache at once, so a stopped run asks only for the
replies that it lacks.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import hashlib
import json

import jax
import numpy as np

from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.judging import usage
from hermesflow_jax.judging import worker_threads
from hermesflow_jax.runtime import interrupts
from hermesflow_jax.runtime import processes
from hermesflow_jax.sequences import text_similarity

# Images that are decoded at once; processes wait for each other after these.
BLOCK = 64


class EndpointJudge:
  """Answers questions about image codes; a `gap.Judge`.

  Args:
    config: settings.
    endpoint: asks the endpoint.
    decode: codes int32[N, I] -> uint8[N, H, W, 3].
    matcher: maps a reply to the nearest choice.
    cache: keeps the replies.
    progress: label -> wrapper of iterables.
  """

  def __init__(
    self,
    config: judge_settings.JudgeSettings,
    endpoint: chat_endpoint.ChatEndpoint,
    decode: Callable[[np.ndarray], np.ndarray],
    matcher: text_similarity.Matcher,
    cache: answer_cache.AnswerCache,
    progress: Callable[[str], Callable] = lambda label: lambda items: items,
  ):
    self._config, self._endpoint, self._cache = config, endpoint, cache
    self._decode, self._matcher, self._progress = decode, matcher, progress
    self.usage = usage.Usage()

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers the questions about each image; see `gap.Judge`.

    A reply that resembles no choice is the answer '', which is never right.

    Raises:
      ValueError: the endpoint refuses a request.
      ConnectionError: all tries of a request failed.
    """
    answers = []
    for begin in range(0, len(questions), BLOCK):
      interrupts.raise_if_stopped()
      span = slice(begin, begin + BLOCK)
      answers += self._answer_block(self._decode(codes[span]), questions[span])
    return answers

  def _answer_block(self, images, questions) -> list[list[str]]:
    """Returns the answers about N images; all processes call it."""
    requests = self._requests(images, questions)
    # Equal questions about equal images are asked once.
    unique = list({request.keys: request for request in requests}.values())
    count, process = jax.process_count(), jax.process_index()
    mine = unique[process::count]
    shares = processes.gather(lambda: self._records(mine, images))
    by_keys = {
      request.keys: records
      for number, share in enumerate(shares)
      for request, records in zip(unique[number::count], share, strict=True)
    }
    # A later block may have the same image.
    for records in by_keys.values():
      self._cache.remember(records)
    replies, spent = [], usage.Usage()
    for request in requests:
      for record in by_keys[request.keys]:
        replies.append(record['reply'])
        spent += usage.Usage(
          1,
          0,
          *(record[name] for name in ('requests', 'retries')),
          *(record[f'{kind}_tokens'] for kind in ('prompt', 'completion')),
          record['seconds'],
        )
    flat = [question for row in questions for question in row]
    numbers = question_prompts.choose(self._matcher, replies, flat)
    texts = iter(
      '' if number is None else question['choices'][number]
      for number, question in zip(numbers, flat, strict=True)
    )
    self.usage += dataclasses.replace(spent, unmatched=numbers.count(None))
    return [[next(texts) for _ in row] for row in questions]

  def _requests(self, images, questions) -> list['_Request']:
    """Returns the requests about N images, in the order of the questions."""
    size, requests = self._config.questions_at_once, []
    for number, image_questions in enumerate(questions):
      image = image_hash(images[number]) if image_questions else ''
      for begin in range(0, len(image_questions), size):
        part = image_questions[begin : begin + size]
        keys = tuple(self._key(image, part, n) for n in range(len(part)))
        requests.append(_Request(number, part, keys))
    return requests

  def _records(self, requests, images) -> list[list[dict]]:
    """Returns the records of replies, a list per request of this process."""
    records = [
      [self._cache.get(key) for key in request.keys] for request in requests
    ]
    missing = [n for n, row in enumerate(records) if None in row]

    def ask(number):
      request = requests[number]
      return self._endpoint.ask(
        question_prompts.write(self._config.prompt, request.questions),
        chat_endpoint.image_url(images[request.image]),
      )

    results = worker_threads.map_unordered(ask, missing, self._config.parallel)
    try:
      for _ in self._progress('asking the judge')(range(len(missing))):
        position, reply = next(results)
        number = missing[position]
        records[number] = _records_of(reply, requests[number].keys)
        self._cache.put(records[number])
    finally:
      results.close()
      self._cache.flush()
    return records

  def _key(self, image, questions, number) -> str:
    """Returns a hash of everything that a reply depends on."""
    config = self._config
    return hashlib.sha256(
      json.dumps(
        [
          config.model,
          config.prompt,
          config.max_tokens,
          config.temperature,
          config.seed,
          config.body,
          image,
          [[q['question'], list(q['choices'])] for q in questions],
          number,
        ],
        sort_keys=True,
      ).encode()
    ).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Request:
  """Questions about an image that a request asks together.

  Attributes:
    image: number of the image.
    questions: TIFA records.
    keys: hashes of everything that the replies depend on.
  """

  image: int
  questions: Sequence[dict]
  keys: tuple[str, ...]


def image_hash(pixels: np.ndarray) -> str:
  """Returns the SHA-256 of an image.

  Args:
    pixels: uint8[H, W, 3].
  """
  sha256 = hashlib.sha256(json.dumps(pixels.shape).encode())
  sha256.update(np.ascontiguousarray(pixels))
  return sha256.hexdigest()


def _records_of(reply: chat_endpoint.Reply, keys) -> list[dict]:
  """Returns records by question; the first has the cost of the request."""
  texts = question_prompts.read(reply.text, len(keys))
  first = {
    'requests': 1,
    'retries': reply.retries,
    'prompt_tokens': reply.prompt_tokens,
    'completion_tokens': reply.completion_tokens,
    'seconds': reply.seconds,
  }
  costs = [first, *({k: type(v)(0) for k, v in first.items()} for _ in keys)]
  return [
    {'key': key, 'reply': text} | cost
    for key, text, cost in zip(keys, texts, costs, strict=False)
  ]
