"""Lengths of texts are measured some records at a time."""

import pytest
import tiny
import tiny_pairs

from hermesflow_jax.pair_dpo import longest_texts
from hermesflow_jax.pair_dpo import packing
from hermesflow_jax.pair_dpo import record_rows


def lengths_of(records):
  return record_rows.packed_lengths_of(
    tiny.vocab(), tiny.text(), tiny.LENGTHS, records
  )


@pytest.mark.parametrize('longest', range(5))
def test_any_record_may_be_the_longest(monkeypatch, longest):
  monkeypatch.setattr(longest_texts, '_ENCODED', 2)
  records = [tiny_pairs.record() | {'caption': 'red'} for _ in range(5)]
  records[longest] |= {
    'caption': 'two blue square red',
    'caption_lose': 'one',
    'caption_win': 'one red circle star',
  }
  # bos, eos and <|t2i|> stand beside the words of a caption, an end behind a
  # reply.
  assert lengths_of(records) == packing.PackedLengths(7, 5)


def test_no_records_have_the_shortest_texts():
  assert lengths_of([]) == packing.PackedLengths(3, 2)
