"""Scores in the replies of a reward service, checked."""

import math

from hermesflow_jax.judging import http_transport


def read_scores(value, count: int, reward: str, metric: str) -> list[float]:
  """Returns the scores in the JSON value of a reply.

  Args:
    value: `{"results": [{reward: {metric: number}}], "errors": [...]}`.
    count: images of the request.
    reward: name of the reward.
    metric: name of the number; '' for the first.

  Raises:
    RequestFault: a score is missing or no finite number. Another try may
      succeed, unless the reward or the metric is not known.

  >>> read_scores({'results': [{'hps': {'score': 0.5}}]}, 1, 'hps', '')
  [0.5]
  """
  results = value.get('results') if isinstance(value, dict) else None
  if not isinstance(results, list):
    raise http_transport.RequestFault(f'no list `results`: {_short(value)}')
  if len(results) != count:
    raise http_transport.RequestFault(
      f'{len(results)} results for {count} images'
    )
  errors = value.get('errors')
  errors = errors if isinstance(errors, list) else []
  errors = [*errors, *[{}] * (count - len(errors))]
  return [
    _score(result, error, reward, metric)
    for result, error in zip(results, errors)
  ]


def _score(result, error, reward, metric) -> float:
  """Returns the score of an image; see `read_scores`."""
  numbers = result.get(reward) if isinstance(result, dict) else None
  if not isinstance(numbers, dict) or not numbers:
    reason = error.get(reward) if isinstance(error, dict) else None
    if reason is None:
      raise http_transport.RequestFault(
        f'no {reward} in {_short(result)}', may_pass=False
      )
    raise http_transport.RequestFault(f'{reward}: {_short(reason)}')
  name = metric or next(iter(numbers))
  if name not in numbers:
    raise http_transport.RequestFault(
      f'no {metric} in {_short(numbers)}; give another metric', may_pass=False
    )
  score = numbers[name]
  is_number = isinstance(score, int | float) and not isinstance(score, bool)
  if not is_number or not math.isfinite(score):
    raise http_transport.RequestFault(
      f'{name} of {reward} is no finite number: {_short(score)}'
    )
  return float(score)


def _short(value) -> str:
  return ' '.join(str(value).split())[:200]
