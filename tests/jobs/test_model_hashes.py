"""What identifies a model is the same, whether it was read or not."""

import types

import phi_tokens
import pytest

from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.jobs.setup import tokenizer_hashes
from hermesflow_jax.sequences import text_tokenizer


@pytest.fixture(params=['words', 'byte-level BPE'])
def text(request):
  """Returns a tokenizer in whose vocabulary spaces count, or do not."""
  if request.param == 'words':
    return initial_model.open(initial_model.ASSETS / 'shapes').load_text(None)[
      0
    ]
  return phi_tokens.tokenizer()


def test_a_tokenizer_that_is_not_loaded_has_the_same_hashes(text, monkeypatch):
  folder = types.SimpleNamespace(text_content=lambda: text.content)
  monkeypatch.setattr(initial_model, 'open', lambda path: folder)
  config = types.SimpleNamespace(text='', sizes=None)
  assert model_hashes.text_hash(config, None) == tokenizer_hashes.text_hash(
    text
  )
  encoding = model_hashes.answer_encoding(config, None)
  assert encoding == job_model.answer_encoding(text.encode)
  # Earlier releases encoded choices as replies without their space.
  differs = text.encode_replies(['red']) != text.encode(['red'])
  assert bool(encoding) == differs == (not text.has_unknown_words)


def test_a_tokenizer_without_a_bundle_is_loaded(text, monkeypatch):
  folder = types.SimpleNamespace(
    text_content=lambda: None, load_text=lambda sizes, path: (text, None, None)
  )
  monkeypatch.setattr(initial_model, 'open', lambda path: folder)
  config = types.SimpleNamespace(text='', sizes=None)
  assert model_hashes.answer_encoding(config, None) == (
    job_model.answer_encoding(text.encode)
  )


def test_choices_follow_the_end_of_a_prompt():
  seen = []

  def encode(texts):
    seen.extend(texts)
    return [[1], [1, 2], [2]]

  assert job_model.answer_encoding(encode) == {}
  assert seen[1] == f'{text_tokenizer.ASSISTANT} red'
