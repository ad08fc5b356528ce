"""Pairs as JSON objects that are made when they are taken."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set


@dataclasses.dataclass(frozen=True)
class PairRecords(Sequence):
  """JSON objects of N inputs, see `pair_files.pair_to_record`.

  Memory holds an object at a time: its lists of codes take 30 times the bytes
  of the arrays.

  Attributes:
    inputs: N inputs.
    pairs: (caption pair, image pair) by input id.
    with_real_codes: whether an object also has `codes`, those of the real
      image.
  """

  inputs: input_set.Inputs
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]]
  with_real_codes: bool = False

  def __len__(self) -> int:
    return len(self.inputs)

  def __getitem__(self, index: int) -> dict:
    name = self.inputs.ids[index]
    record = pair_files.pair_to_record(
      name, self.inputs.captions[index], self.pairs[name]
    )
    if self.with_real_codes:
      record['codes'] = self.inputs.codes[index].tolist()
    return record
