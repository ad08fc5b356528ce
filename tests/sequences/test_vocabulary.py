"""Every kind of token has its own range of ids."""

import json

import pytest

from hermesflow_jax.sequences import vocabulary

NAMES = ['soi', 'eoi', 'sov', 'eov', 't2i', 'mmu', 't2v', 'v2v', 'lvg']


def test_show_o_has_its_published_ids():
  vocab = vocabulary.Vocab(50295, 8192, 50256)
  assert vocab.pad == 50295
  assert [getattr(vocab, n) for n in NAMES] == list(range(50296, 50305))
  assert (vocab.image_offset, vocab.mask) == (50305, 58497)
  assert vocab.size == 58498


def test_ids_equal_the_official_small_model(goldens):
  sizes = json.loads((goldens / 'showo_small' / 'config.json').read_text())
  special = sizes['special_token_ids']
  vocab = vocabulary.Vocab(
    sizes['llm_vocab_size'], sizes['codebook_size'], special['<|eot|>']
  )
  for name, token in special.items():
    assert getattr(vocab, name.strip('<|>')) == token
  assert vocab.image_offset == sizes['image_token_offset']
  assert vocab.mask == sizes['mask_token_id']
  assert vocab.size == sizes['vocab_size']


def test_an_end_token_outside_the_text_is_refused():
  with pytest.raises(ValueError, match='eos must be .* got 50'):
    vocabulary.Vocab(50, 64, 50)
