"""Laws of the weight-free similarity of texts."""

import numpy as np
import pytest

from hermesflow_jax.sequences import text_similarity


def test_case_space_and_punctuation_do_not_count():
  assert text_similarity.ngram_cosine(' A red  Ring. ', 'a red ring') == 1.0
  assert text_similarity.ngram_cosine('a , b', 'a, b') == 1.0


def test_disjoint_texts_score_zero():
  assert text_similarity.ngram_cosine('two rings', 'a red cross') == 0.0
  assert text_similarity.ngram_cosine('', 'a red cross') == 0.0


def test_equal_empty_texts_score_one():
  assert text_similarity.ngram_cosine('', ' .') == 1.0


def test_worked_example():
  # They share 'a' and 'ring' of 3 words, and the borders with these of 4 pairs.
  score = text_similarity.ngram_cosine('a red ring', 'a blue ring')
  np.testing.assert_allclose(score, (2 / 3 + 2 / 4) / 2)


def test_the_order_of_words_counts():
  score = text_similarity.ngram_cosine(
    'a ring above a cross', 'a cross above a ring'
  )
  assert 0.5 < score < 1.0


def test_nearer_texts_score_higher():
  reference = 'a red ring and a blue cross'
  scores = text_similarity.ngram_cosines(
    [reference, 'a red ring and a cross', 'a ring', 'two squares'],
    [reference] * 4,
  )
  assert (np.diff(scores) < 0).all()


def test_scores_are_symmetric_and_bounded():
  rng = np.random.default_rng(0)
  texts = [' '.join(rng.choice(list('abcd'), n)) for n in range(9)]
  scores = np.array(
    [text_similarity.ngram_cosines([t] * 9, texts) for t in texts]
  )
  np.testing.assert_allclose(scores, scores.T, atol=1e-12)
  assert scores.min() >= 0 and scores.max() <= 1


def test_one_is_only_for_equal_texts():
  texts = ['a b', 'b a', 'a b a', 'a a b', 'a', 'a b a b']
  for single in texts:
    for other in texts:
      score = text_similarity.ngram_cosine(single, other)
      assert (score == 1.0) == (single == other)


def test_rows_must_match():
  with pytest.raises(ValueError, match='2 candidates for 1 references'):
    text_similarity.ngram_cosines(['a', 'b'], ['a'])


@pytest.mark.parametrize(
  'reply, choices, number',
  [
    ('two', ['1', '2', '3'], 1),
    ('There are 3 of them.', ['two', 'three'], 1),
    ('dogs', ['cat', 'dog'], 1),
    ('It is wooden.', ['metal', 'wood', 'stone'], 1),
    ('sleeping', ['running', 'sleep'], 1),
    ('Yes, there is.', ['no', 'yes'], 1),
    ('dark blue', ['blue', 'dark blue'], 1),
    ('blue', ['dark blue', 'blue'], 1),
    ('b a', ['a b', 'b a'], 1),
    ('?', ['yes', 'no'], None),
    ('', ['yes', 'no'], None),
  ],
)
def test_a_reply_is_the_choice_that_its_letters_are_nearest_to(
  reply, choices, number
):
  assert text_similarity.nearest_choices([reply], [choices]) == [number]


def test_each_reply_has_choices_of_its_own():
  numbers = text_similarity.nearest_choices(
    ['no', 'red'], [['yes', 'no'], ['red', 'blue', 'green']]
  )
  assert numbers == [1, 0]
