"""The sentences of a report say no more than was measured."""

import page_reader
import pytest

from hermesflow_jax.reports import run_page
from hermesflow_jax.reports import score_sentences
from hermesflow_jax.self_play import score_table


@pytest.mark.parametrize(
  'last, output',
  [
    ((0.9, 0.8), 'shrank from 0.200 to 0.100'),
    ((0.9, 0.6), 'grew from 0.200 to 0.300'),
    ((0.9, 0.705), 'did not change beyond two standard errors'),
    ((0.8, 0.7), 'although generation is not measurably better'),
    ((0.8, 0.7), 'Understanding became measurably worse'),
    ((0.9, 0.95), 'Generation now scores no lower than understanding'),
  ],
)
def test_headline_is_honest(last, output):
  rows = [page_reader.row(0, 0.9, 0.7), page_reader.row(1, *last)]
  assert (
    output
    in f'{score_sentences.lead_sentence(rows)} {score_sentences.explanation(rows)}'
  )


def test_paired_change_counts_before_an_unpaired_one():
  rows = [page_reader.row(0, 0.9, 0.7), page_reader.row(1, 0.9, 0.705)]
  rows[1]['change'] = {'gap': -0.005, 'gap_se': 0.001}
  assert 'shrank' in score_sentences.lead_sentence(rows)
  assert 'paired scene by scene' in score_sentences.explanation(rows)


def test_with_search_the_base_model_is_named_with_its_cost():
  rows = [page_reader.row(0, 0.9, 0.7), page_reader.row(1, 0.9, 0.8)]
  assert not score_sentences.search_sentence(rows)
  for row, cost in zip(rows, (62.64, 58.0)):
    row['decoder_passes'] = cost
  sentence = score_sentences.search_sentence(rows)
  assert 'The base model searches, too' in sentence
  assert '62.6 by the base model, 58.0 by round 1' in sentence
  page = run_page.render_page(run_page.RunReport('a', '', rows))
  assert sentence in page
  table = score_table.score_table(rows)
  assert table.endswith(
    'best images of a search, in every round and by the base model; decoder '
    'passes per image: 62.6, 58.0'
  )


def with_unseen(number, understanding, generation, change=None):
  """A row with scores on captions that no input has."""
  out = page_reader.row(number, 0.9, 0.7 + 0.1 * number) | {
    'captions_also_of_inputs': 1017,
    'by_tag': {
      'single_object': {
        'scenes': 617,
        'share': 0.5,
        'understanding': 0.987,
        'generation': 0.912 + number / 100,
        'gap': 0.075,
      }
    },
    'unseen': page_reader.row(number, understanding, generation)
    | {
      'scenes': 321,
      'by_tag': {
        'color_attr': {
          'scenes': 321,
          'share': 1.0,
          'understanding': 0.765,
          'generation': 0.432,
          'gap': 0.333,
        }
      },
    },
  }
  if change:
    out['unseen']['change'] = change
  return out


def test_both_sets_of_captions_are_in_the_headline():
  change = {
    'gap': -0.05,
    'gap_se': 0.01,
    'generation': 0.06,
    'generation_se': 0.01,
    'understanding': 0.01,
    'understanding_se': 0.01,
  }
  rounds = [with_unseen(0, 0.852, 0.531), with_unseen(1, 0.862, 0.591, change)]
  page = run_page.render_page(run_page.RunReport('t', 'c', rounds))
  read = page_reader.Reader(page)
  text = read.text.replace('\u202f', ' ')
  for shown in (
    (
      'On 321 scenes whose captions no input has, the gap shrank from 0.321 to '
      '0.271. Generation rose by 0.060 ± 0.010, understanding is unchanged'
    ),
    (
      'Of the 1 234 held-out scenes, 1 017 have a caption that a training '
      'input also has.'
    ),
    '0.531 ± 0.005',
    # By kind: the shares differ, and so do the means.
    'single object',
    '617',
    '50%',
    '0.922',
    'color attr',
    '100%',
    '0.432',
    'kind by kind',
  ):
    assert shown in text, shown
  head = text[: text.index('Round by round')]
  assert '0.321 → 0.271' in head and '0.200 → 0.100' in head
