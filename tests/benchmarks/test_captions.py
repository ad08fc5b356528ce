"""CIDEr, its words, and the captions of Flickr30k."""

import json

import pytest

from hermesflow_jax.benchmarks import cider
from hermesflow_jax.benchmarks import flickr30k
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import ptb_words

REFERENCES = {
  '1': ['two dogs run', 'dogs run in a park'],
  '2': ['a red ball', 'the red ball on a table'],
  '3': ['a man rides a horse'],
}
CAPTIONS = {'1': 'two dogs in a park', '2': 'a red ball', '3': 'a dog'}

# What the Stanford tokenizer of pycocoevalcap 1.2 makes of a caption.
WORDS = {
  "A man's dog isn't here.": "a man 's dog is n't here",
  "Two men (one tall) play; it's 10:30 a.m.": (
    "two men -lrb- one tall -rrb- play it 's 10:30 a.m."
  ),
  "They're gonna win, can't they?": "they 're gon na win ca n't they",
  'A t-shirt -- red/blue -- costs $5.00 & 20% less': (
    'a t-shirt red/blue costs $ 5.00 & 20 % less'
  ),
  'the U.S. flag... and Mr. Smith': 'the u.s. flag and mr. smith',
  'A dog [brown] {big} #1 @ home': (
    'a dog -lsb- brown -rsb- -lcb- big -rcb- # 1 @ home'
  ),
  "o'clock rock 'n' roll": "o'clock rock 'n' roll",
  'A \u201ccurly\u201d \u2018quote\u2019 it\u2019s': "a curly quote it 's",
  '50\u20ac caf\u00e9': '50 $ caf\u00e9',
  'What?! No...': 'what ?! no',
  "90's 1990s '90s": "90 's 1990s '90s",
  'AT&T rock&roll': 'at&t rock & roll',
  'No. 5, no. dog': 'no. 5 no dog',
  'two-\nline': 'two line',
  '...': '',
}


def test_scores_are_those_of_pycocoevalcap():
  expected = {'1': 3.07991308, '2': 4.79651259, '3': 0.0}
  assert cider.scores(CAPTIONS, REFERENCES) == pytest.approx(expected, abs=1e-8)


def test_a_copy_of_a_single_reference_scores_ten():
  references = {'1': ['a b c d e'], '2': ['f g h i j']}
  assert cider.scores({'1': 'a b c d e', '2': ''}, references) == pytest.approx(
    {'1': 10, '2': 0}
  )


@pytest.mark.parametrize('caption, expected', WORDS.items())
def test_words_without_java_are_those_of_the_official_tokenizer(
  caption, expected, monkeypatch
):
  monkeypatch.setattr(ptb_words, 'official_jar', lambda: None)
  assert ptb_words.tokenize([caption]) == ([expected], ptb_words.OWN)


def test_words_with_java_are_the_official_ones():
  if ptb_words.official_jar() is None:
    pytest.skip('needs pycocoevalcap and Java')
  texts, name = ptb_words.tokenize(list(WORDS))
  assert name == ptb_words.OFFICIAL
  assert texts == list(WORDS.values())


@pytest.fixture
def path(tmp_path):
  images = [
    {
      'filename': f'{number}.jpg',
      'split': 'train' if number == 9 else 'test',
      'sentences': [{'raw': text.capitalize() + '.'} for text in texts],
    }
    for number, texts in ((1, REFERENCES['1']), (2, REFERENCES['2']), (9, []))
  ]
  for number in (1, 2):
    (tmp_path / f'{number}.jpg').write_bytes(b'')
  file = tmp_path / 'dataset_flickr30k.json'
  file.write_text(json.dumps({'images': images, 'dataset': 'flickr30k'}))
  return file


def read(path, **options):
  return flickr30k.Flickr30k().read(
    protocol.BenchmarkFiles(str(path), **options)
  )


def test_the_test_split_is_scored_and_its_words_are_named(path, monkeypatch):
  monkeypatch.setattr(ptb_words, 'official_jar', lambda: None)
  rows = read(path.parent).rows
  assert [row.id for row in rows] == ['1.jpg', '2.jpg']
  replies = {'1.jpg': 'Two dogs run', '2.jpg': ''}
  (scores,) = flickr30k.Flickr30k().score(rows, replies)
  assert scores.rule == 'CIDEr, own words'
  assert scores.rows['1.jpg'] > 300 and scores.rows['2.jpg'] == 0
  assert 'not the official words' in scores.notes[1]
  files = flickr30k.Flickr30k().prediction_files(rows, replies)
  (text,) = files.values()
  assert json.loads(text)[0] == {'image_id': 1, 'caption': 'Two dogs run'}


def test_faults_are_named_together(path):
  value = json.loads(path.read_text())
  value['images'][0]['sentences'] = []
  (path.parent / '2.jpg').unlink()
  path.write_text(json.dumps(value))
  with pytest.raises(
    ValueError, match='image 1: sentences must not be empty.*image 2: there is'
  ):
    read(path)
