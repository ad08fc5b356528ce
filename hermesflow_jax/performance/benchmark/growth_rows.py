"""Rows for growth tables, from the costs that phases have at several sizes."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from hermesflow_jax.performance.benchmark import growth_law
from hermesflow_jax.performance.benchmark import phase_meter

_KINDS = 'seconds', 'held', 'peak'


def make(
  variable: str,
  sizes: Sequence[int],
  inputs: Sequence[int],
  costs: Sequence[Mapping[str, phase_meter.Cost]],
) -> list[dict]:
  """Returns a row for each phase and cost kind, as JSON types.

  Args:
    variable: its name.
    sizes: its values, in increasing order.
    inputs: inputs at each size.
    costs: costs by phase at each size. A size whose memory was not traced has
      no memory costs.

  Returns:
    Rows with `variable`, `phase`, `kind`, `sizes`, `costs` for an input, and
    their `law`, see `growth_law.Law`. If the variable is the input count,
    the law belongs to the costs for all inputs.
  """
  rows = []
  for kind in _KINDS:
    for phase in costs[0]:
      measured = [
        (size, count, getattr(of_size[phase], kind))
        for size, count, of_size in zip(sizes, inputs, costs, strict=True)
        if getattr(of_size[phase], kind) is not None
      ]
      if len(measured) < 2:
        continue
      values, counts, totals = zip(*measured, strict=True)
      shares = [total / count for total, count in zip(totals, counts)]
      grows = list(values) == list(counts)
      law = growth_law.fit(values, totals if grows else shares)
      rows.append(
        {
          'variable': variable,
          'phase': phase,
          'kind': kind,
          'sizes': list(values),
          'costs': shares,
          'law': dataclasses.asdict(law),
        }
      )
  return rows
