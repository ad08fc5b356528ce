"""Caption scorers by name: without a model, by an encoder, by the user."""

import jax
import numpy as np
import pytest
import text_encoders

from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import text_encoder
from hermesflow_jax.sequences import text_similarity

CAPTIONS = ['a red ring', 'two dogs', 'a cat sleeps on a table']
TRUE = ['a red ring', 'a green cup', 'the cat is on the table']


@pytest.fixture(scope='module')
def encoders():
  """BERT for `bert`, MPNet for `sentence`, as in the paper."""
  folders = {
    'bert': str(text_encoders.converted('bert')),
    'sentence': str(text_encoders.converted('mpnet')),
  }
  config = encoder_settings.EncoderSettings(**folders)
  return text_encoder.TextEncoders(
    config, sharding.mesh_from_devices(jax.devices()[:1], 1, 1)
  )


@pytest.fixture
def user_module(tmp_path, monkeypatch):
  """Writes a module of the user into the current folder; returns its name."""
  monkeypatch.chdir(tmp_path)

  def write(text):
    name = f'user_{abs(hash((text, str(tmp_path))))}'
    (tmp_path / f'{name}.py').write_text(text)
    return name

  return write


def test_ngrams_are_those_of_before(encoders):
  scorer = caption_scorers.make('ngram', encoders)
  assert scorer is text_similarity.ngram_cosines
  assert not text_similarity.uses_devices(scorer)


def test_a_scorer_that_is_listed_needs_no_path(encoders, monkeypatch):
  own = lambda candidates, references: [0.5] * len(candidates)
  monkeypatch.setitem(text_similarity.SCORERS, 'own', own)
  assert caption_scorers.make('own', encoders) is own


@pytest.mark.parametrize('name', caption_scorers.ENCODER_SCORERS)
def test_an_encoder_scores_pairs_of_texts(encoders, name):
  scorer = caption_scorers.make(name, encoders)
  assert text_similarity.uses_devices(scorer)
  scores = scorer(CAPTIONS, TRUE)
  assert scores.shape == (3,) and scores.dtype == np.float64
  assert scores[0] == pytest.approx(1, abs=1e-12)
  assert (-1 < scores[1:]).all() and (scores[1:] < 0.999).all()
  # Others do not matter, nor does their order.
  np.testing.assert_array_equal(
    scorer(CAPTIONS[::-1], TRUE[::-1])[::-1], scores
  )
  np.testing.assert_array_equal(scorer(CAPTIONS[1:2], TRUE[1:2]), scores[1:2])
  assert scorer([], []).shape == (0,)
  with pytest.raises(ValueError, match='3 candidates for 2 references'):
    scorer(CAPTIONS, TRUE[:2])


def test_bert_compares_first_tokens_and_sentence_means(encoders):
  bert = encoders.get('bert')
  model, tokenizer = bert._parts
  tokens = np.array(tokenizer.encode(['two dogs'], 32), np.int32)
  states = np.asarray(model(tokens, np.ones(tokens.shape, bool)))[0]
  for name, expected in (
    ('bert', states[0]),
    ('sentence', states.mean(0) / np.linalg.norm(states.mean(0))),
  ):
    _, pool = caption_scorers.ENCODER_SCORERS[name]
    np.testing.assert_allclose(
      bert.encode(['two dogs'], pool)[0], expected, atol=1e-6
    )


def test_a_scorer_of_the_user_is_named_by_its_import_path(
  encoders, user_module
):
  name = user_module(
    'def scorer(candidates, references):\n'
    '  return [len(a) / len(b) for a, b in zip(candidates, references)]\n'
  )
  scorer = caption_scorers.make(f'{name}:scorer', encoders)
  np.testing.assert_allclose(scorer(['ab'], ['abcd']), [0.5])
  assert not text_similarity.uses_devices(scorer)


def test_a_scorer_of_the_user_may_use_devices(encoders, user_module):
  name = user_module(
    'def scorer(candidates, references):\n  return [0.0] * len(candidates)\n'
    'scorer.uses_devices = True\n'
  )
  scorer = caption_scorers.make(f'{name}:scorer', encoders)
  assert text_similarity.uses_devices(scorer)


@pytest.mark.parametrize(
  'text, message',
  [
    ('', "AttributeError: module .* has no attribute 'scorer'"),
    ('import no_such_module', 'ModuleNotFoundError: No module named'),
    ('def scorer(:', 'SyntaxError'),
    ('raise SystemError("x\\ny")', 'SystemError: x y'),
    ('import sys\nsys.exit(3)', 'SystemExit: 3'),
    ('scorer = 3', 'must be a function, got .* which is int'),
  ],
)
def test_what_cannot_be_imported_is_one_line(
  encoders, user_module, text, message
):
  path = f'{user_module(text)}:scorer'
  with pytest.raises(ValueError, match=message) as error:
    caption_scorers.make(path, encoders)
  assert '\n' not in str(error.value)
  assert str(error.value).startswith('caption_scorer must be a function')


@pytest.mark.parametrize(
  'result, message',
  [
    ([0.5], r'return float\[2\], got shape \(1,\)'),
    ([[0.5, 0.5]], r'got shape \(1, 2\)'),
    (None, r'got shape \(\)'),
    (['a', 'b'], 'got ValueError: could not convert'),
    ([0.5, float('nan')], "above -1, got nan for the caption 'two'"),
    ([0.5, float('inf')], 'got inf'),
    ([-1.0, 0.5], "got -1.0 for the caption 'one'"),
  ],
)
def test_wrong_scores_are_one_line(result, message):
  scorer = caption_scorers.CheckedScorer('m:f', lambda a, b: result)
  with pytest.raises(ValueError, match=message) as error:
    scorer(['one', 'two'], ['one', 'two'])
  assert '\n' not in str(error.value)


def test_a_scorer_that_fails_is_one_line():
  scorer = caption_scorers.CheckedScorer('m:f', lambda a: a)
  with pytest.raises(ValueError, match='m:f must return .* got TypeError'):
    scorer(['one'], ['one'])


@pytest.mark.parametrize('name', ['rouge', 'a b:c', ':f', 'm:', 'm:f:g', ''])
def test_an_unknown_name_is_refused_with_those_there_are(name):
  with pytest.raises(
    ValueError, match='one of ngram, bert, sentence, clip, likelihood'
  ):
    caption_scorers.check_name(name)
