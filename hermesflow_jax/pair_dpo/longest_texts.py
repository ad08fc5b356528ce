"""Longest texts of a round's records, in tokens."""

from collections.abc import Callable
from collections.abc import Sequence

from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

# Records whose tokens memory holds together.
_ENCODED = 100


def packed_lengths(
  vocab: vocabulary.Vocab,
  records: Sequence[dict],
  encode: Callable[[Sequence[dict]], tuple],
  lengths: token_rows.Lengths,
) -> packing.PackedLengths:
  """Returns the longest text lengths of records, within `lengths`.

  Args:
    vocab: vocabulary.
    records: N records.
    encode: records -> (text ids of their conditions, those of their replies).
    lengths: upper bounds.
  """
  fits = [
    packing.packed_lengths(
      vocab, *encode(records[begin : begin + _ENCODED]), lengths
    )
    for begin in range(0, max(1, len(records)), _ENCODED)
  ]
  return packing.PackedLengths(
    max(fit.caption for fit in fits), max(fit.reply for fit in fits)
  )
