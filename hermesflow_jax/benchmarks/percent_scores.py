"""Scores in percent: the mean over all rows, and by group."""

from collections.abc import Mapping

from hermesflow_jax.benchmarks import protocol


def of_rows(
  rule: str, name: str, values: Mapping[str, float], groups: Mapping[str, str]
) -> protocol.Scores:
  """Returns the mean of values from 0 to 1, which is the headline.

  Args:
    rule: name of the rule that scored the rows.
    name: name of the mean over all rows.
    values: value of each row, by id; at least one.
    groups: name of the group of each row, by id.
  """
  by_group = {}
  for row, value in values.items():
    by_group.setdefault(groups[row], []).append(value)
  overall = 100 * sum(values.values()) / len(values)
  means = {name: overall} | {
    group: 100 * sum(numbers) / len(numbers)
    for group, numbers in sorted(by_group.items())
  }
  return protocol.Scores(rule, overall, '%', means, values)
