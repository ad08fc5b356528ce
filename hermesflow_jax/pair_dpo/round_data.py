"""Training data for a round: records, their rows and their loss."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Protocol

from hermesflow_jax.pair_dpo import throughput
from hermesflow_jax.training import train_step


class RoundData(Protocol):
  """Training data for a round, as `learning.learn_round` reads it.

  Pairs (`pair_data.PairData`) and groups (`group_data.GroupData`) are the two
  forms. `train_step.make_step` explains loss and prepare.

  Attributes:
    records: N records with different `id`s.
    parts: batch parts that a step computes in turn, beside
      `AdamWConfig.accumulate`.
  """

  records: Sequence[dict]
  parts: int

  @property
  def frozen_models(self):
    """Frozen ShowO or ShowOs by name, as the loss reads them; None for none.

    They are known once the reference has scored.
    """

  def with_reference_scores(self, reference, number: int) -> 'RoundData':
    """Returns the data with the scores that the reference can give before.

    Args:
      reference: frozen ShowO.
      number: round number, from which random masks derive.
    """

  def make_transform(self, drop_condition: float) -> Callable:
    """Returns the function (record, generator) -> arrays.

    Args:
      drop_condition: probability that images have the empty text.
    """

  def functions(
    self,
  ) -> tuple[train_step.HashablePartial, train_step.HashablePartial]:
    """Returns (loss, prepare) for the training step."""

  def useful_work(
    self, rows: Sequence[dict], passes: int
  ) -> throughput.UsefulWork:
    """Returns the useful work in a step.

    Args:
      rows: rows from some records.
      passes: the policy's work in a step, in forward passes.
    """
