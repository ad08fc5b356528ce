"""A set of captions knows the captions that it was made from, and no other."""

import memory_growth

from hermesflow_jax.data import caption_set


def test_it_has_what_it_was_made_from():
  captions = [f'a red ring and {n} stars' for n in range(2_000)]
  known = caption_set.CaptionSet(iter(captions * 2))
  assert all(caption in known for caption in captions)
  assert len(known) == 2_000
  for other in ('', 'a red ring', 'a red ring and 2000 stars', '\udcff', 'é'):
    assert other not in known
  assert '' in caption_set.CaptionSet(['', '\udcff'])
  assert 'a' not in caption_set.CaptionSet([])


def test_memory_holds_no_texts():
  texts = lambda count: (f'{n}' * 100 for n in range(count))
  known = lambda count: caption_set.CaptionSet(texts(count))
  # Hashes and what sorting them takes.
  memory_growth.check_below(50, known, 1_000, 11_000)
