"""Counts of questions, requests and tokens: the cost of a judge."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Usage:
  """Counts of the answers that a judge gave.

  An answer that was read from a cache counts as when it was asked for, so a
  stopped run has the same counts as a run without a stop.

  Attributes:
    questions: answered questions.
    unmatched: questions whose reply resembles no choice; they count as wrong.
    requests: answered requests.
    retries: repetitions of these requests.
    prompt_tokens: tokens of the requests, as the endpoint counts them.
    completion_tokens: tokens of the replies.
    seconds: time of the requests, summed over parallel requests.
  """

  questions: int = 0
  unmatched: int = 0
  requests: int = 0
  retries: int = 0
  prompt_tokens: int = 0
  completion_tokens: int = 0
  seconds: float = 0.0

  def __add__(self, other: 'Usage') -> 'Usage':
    return self._combine(other, 1)

  def __sub__(self, other: 'Usage') -> 'Usage':
    return self._combine(other, -1)

  def _combine(self, other, sign):
    return Usage(
      **{
        field.name: getattr(self, field.name)
        + sign * getattr(other, field.name)
        for field in dataclasses.fields(self)
      }
    )


def of_judge(judge) -> Usage | None:
  """Returns the counts of a judge so far; None for a judge without costs.

  Args:
    judge: a `gap.Judge`, or None.
  """
  return getattr(judge, 'usage', None)


def since(judge, before: Usage | None) -> dict | None:
  """Returns the counts since an earlier time, as JSON types.

  Args:
    judge: see `of_judge`.
    before: from `of_judge` at that time; None for a judge without costs.
  """
  if before is None:
    return None
  return dataclasses.asdict(of_judge(judge) - before)


def total(records: list[dict | None]) -> dict | None:
  """Returns the sum of counts from `since`; None without any.

  Args:
    records: counts of phases; None for a phase without costs.
  """
  records = [Usage(**record) for record in records if record]
  return dataclasses.asdict(sum(records, Usage())) if records else None
