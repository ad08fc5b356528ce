"""Matchers of free answers by name."""

import jax
import pytest
import text_encoders

from hermesflow_jax.models import text_pooling
from hermesflow_jax.runtime import sharding
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import text_encoder
from hermesflow_jax.sequences import text_similarity


@pytest.fixture(scope='module')
def encoders():
  folder = str(text_encoders.converted('mpnet'))
  config = encoder_settings.EncoderSettings(sentence=folder)
  return text_encoder.TextEncoders(
    config, sharding.mesh_from_devices(jax.devices()[:1], 1, 1)
  )


def test_ngrams_are_those_of_before(encoders):
  matcher = choice_matchers.make('ngram', encoders)
  assert matcher is text_similarity.nearest_choices


def test_the_nearest_choice_is_that_of_the_largest_cosine(encoders):
  matcher = choice_matchers.make('sentence', encoders)
  replies = ['two dogs', 'a red cup', 'wood', '']
  choices = [['cat', 'dogs', 'two dogs'], ['a red cup'], ['a', 'wood'], ['a']]
  assert matcher(replies, choices) == [2, 0, 1, 0]
  assert matcher([], []) == []
  encoder = encoders.get('sentence')
  for reply, names in (('dog', ['cat', 'ring', 'dogs']), ('is', ['a', 'on'])):
    vectors = encoder.encode([reply, *names], text_pooling.masked_mean)
    cosines = text_encoder.cosines(vectors[1:], vectors[0])
    assert matcher([reply], [names]) == [cosines.argmax()]


def test_the_first_of_equal_choices_is_taken(encoders):
  matcher = choice_matchers.make('sentence', encoders)
  assert matcher(['cup'], [['dog', 'ring', 'Ring', 'dog']])[0] in (0, 1)


@pytest.mark.parametrize(
  'result, message',
  [
    ([0], 'm:f must return 2 choice indices, got 1'),
    (None, 'got TypeError'),
    ([0, 2], "or None, got 2 for the reply 'b'"),
    ([-1, 0], "got -1 for the reply 'a'"),
    (['x', 'y'], "got 'x' for"),
    ([0, True], "got True for the reply 'b'"),
  ],
)
def test_wrong_indices_are_one_line(result, message):
  matcher = choice_matchers.CheckedMatcher('m:f', lambda *_: result)
  with pytest.raises(ValueError, match=message) as error:
    matcher(['a', 'b'], [['x', 'y'], ['x', 'y']])
  assert '\n' not in str(error.value)


def test_indices_of_the_user_are_taken():
  matcher = choice_matchers.CheckedMatcher('m:f', lambda *_: [1, None])
  assert matcher(['a', 'b'], [['x', 'y'], ['x', 'y']]) == [1, None]


def test_an_unknown_name_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match="ngram, sentence, or .*got 'bert'"):
    choice_matchers.check_name('bert')
