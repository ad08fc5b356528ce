"""What identifies a text tokenizer does not depend on how it is read."""

import types

import phi_tokens
import pytest
import tokenizers

from hermesflow_jax.checkpoints import bundle_text
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs.setup import model_hashes
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import tokenizer_files

SHAPES = initial_model.ASSETS / 'shapes'
CONFIG = types.SimpleNamespace(text='', sizes=None)


def test_a_bundle_has_the_identity_of_its_loaded_tokenizer():
  text, *_ = bundle_text.load_text(str(SHAPES))
  actual = model_hashes.text_identity(CONFIG, SHAPES)
  assert actual == model_hashes.identity_of_text(text)
  # Of commit 423190d: its runs must stay the same runs.
  assert actual.sha256.startswith('d9fa525b853d3b1f')
  assert actual.choices == {}


def test_earlier_releases_encoded_choices_without_the_space_before_them():
  actual = model_hashes.identity_of_text(phi_tokens.tokenizer())
  assert actual.choices


def test_padding_of_a_file_counts_for_nothing():
  text = text_tokenizer.load(str(phi_tokens.FOLDER / 'tokenizer.json'))
  expected = model_hashes.identity_of_text(text)
  text.backend.enable_padding()
  padded = trained_model.tokenizer_from_json(text.backend.to_str())
  assert model_hashes.identity_of_text(padded) == expected


def test_a_tokenizer_that_joins_the_prompt_and_a_reply_is_refused():
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel({'?': 0, 'ASSISTANT:': 1}, unk_token='?')
  )
  special = tokenizer_files.prepare(backend, text_tokenizer.EOS)
  text = text_tokenizer.TextTokenizer(backend, special)
  with pytest.raises(ValueError, match="must keep 'ASSISTANT:' apart from"):
    model_hashes.identity_of_text(text)
