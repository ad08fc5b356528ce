"""What identifies a text tokenizer is the same, whether it is loaded or not."""

import json
import types

import phi_tokens
import pytest

from hermesflow_jax.checkpoints import bundle_text
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.jobs.setup import model_hashes

SHAPES = initial_model.ASSETS / 'shapes'
CONFIG = types.SimpleNamespace(text='', sizes=None)


@pytest.fixture(params=['words', 'byte-level BPE'])
def text(request):
  """A tokenizer for which the space before a reply is nothing, or counts."""
  if request.param == 'words':
    return initial_model.open(SHAPES).load_text(None)[0]
  return phi_tokens.tokenizer()


@pytest.fixture
def folder_of(monkeypatch):
  """Lets `initial_model.open` return a folder with a tokenizer's content."""

  def use(content, text=None):
    folder = types.SimpleNamespace(
      text_content=lambda: content,
      load_text=lambda sizes, path: (text, None, None),
    )
    monkeypatch.setattr(initial_model, 'open', lambda path: folder)

  return use


def test_a_bundle_has_the_identity_of_its_loaded_tokenizer():
  (text, *_), content = (
    read(str(SHAPES))
    for read in (bundle_text.load_text, bundle_text.read_text_content)
  )
  assert json.loads(content)['model'] == json.loads(text.content)['model']
  actual = model_hashes.text_identity(CONFIG, SHAPES)
  assert actual == model_hashes.identity_of_text(text)
  assert actual.choices == {}


def test_a_tokenizer_that_is_not_loaded_has_the_same_identity(text, folder_of):
  folder_of(text.content)
  actual = model_hashes.text_identity(CONFIG, None)
  assert actual == model_hashes.identity_of_text(text)
  # Earlier releases encoded choices as replies without their space.
  differs = text.encode_replies(['red']) != text.encode(['red'])
  assert bool(actual.choices) == differs == (not text.has_unknown_words)


def test_padding_of_a_file_counts_for_nothing(text, folder_of):
  folder_of(text.content)
  expected = model_hashes.text_identity(CONFIG, None)
  padded = json.loads(text.content) | {
    'padding': {
      'strategy': 'BatchLongest',
      'direction': 'Right',
      'pad_to_multiple_of': None,
      'pad_id': 0,
      'pad_type_id': 0,
      'pad_token': 'a',
    }
  }
  folder_of(json.dumps(padded))
  assert model_hashes.text_identity(CONFIG, None) == expected


def test_a_tokenizer_without_a_bundle_is_loaded(text, folder_of):
  folder_of(None, text)
  assert model_hashes.text_identity(CONFIG, None) == (
    model_hashes.identity_of_text(text)
  )


def test_a_tokenizer_that_joins_the_prompt_and_a_reply_is_refused():
  def encode(texts):
    return [[1], [2], [3]][: len(texts)]

  stub = types.SimpleNamespace(
    content=phi_tokens.tokenizer().content, encode=encode
  )
  with pytest.raises(ValueError, match="must keep 'ASSISTANT:' apart from"):
    model_hashes.identity_of_text(stub)
