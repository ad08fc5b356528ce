"""MME: the parsers and sums of its own script and of two harnesses."""

import pytest

from hermesflow_jax.benchmarks import mme
from hermesflow_jax.benchmarks import mme_files
from hermesflow_jax.benchmarks import protocol

# What MME's script and lmms-eval make of a reply.
REPLIES = {
  'Yes': ('yes', 'yes'),
  'no.': ('no', 'no'),
  'y': ('other', 'yes'),
  'N.': ('other', 'no'),
  '  yes': ('other', 'yes'),
  ' no': ('no', 'no'),
  'It is': ('other', 'other'),
  'not at all': ('no', 'no'),
  'I know': ('other', 'other'),
  '': ('other', 'other'),
}


@pytest.mark.parametrize('reply, expected', REPLIES.items())
def test_replies_are_parsed_as_each_script_does(reply, expected):
  assert (mme.official(reply), mme.trimmed(reply)) == expected


def write_release(root, subtasks, nested=()):
  """Writes images and two questions about each of two images."""
  for subtask in subtasks:
    folder = root / subtask
    texts = folder / 'questions_answers_YN' if subtask in nested else folder
    images = folder / 'images' if subtask in nested else folder
    texts.mkdir(parents=True)
    images.mkdir(exist_ok=True)
    for name in ('a', 'b'):
      (images / f'{name}.jpg').write_bytes(b'')
      (texts / f'{name}.txt').write_text(
        f'Is there {name}? Please answer yes or no.\tYes\n'
        'Is there z? Please answer yes or no.\tNo\n'
      )


def read(path, **options):
  return mme.Mme().read(protocol.BenchmarkFiles(str(path), **options))


@pytest.fixture
def release(tmp_path):
  write_release(tmp_path, mme_files.SUBTASKS, nested=('artwork', 'scene'))
  return tmp_path


def test_right_replies_get_every_point(release):
  rows = read(release).rows
  replies = {row.id: row.reference['label'] for row in rows}
  for scores in mme.Mme().score(rows, replies):
    assert scores.headline == 2000
    assert scores.values['cognition'] == 800


def test_one_wrong_reply_costs_accuracy_and_its_image(release):
  rows = read(release).rows
  replies = {row.id: row.reference['label'] for row in rows}
  replies['count/a.jpg/1'] = 'yes'
  scores, *_ = mme.Mme().score(rows, replies)
  # 75 in place of 100 for accuracy, 50 in place of 100 for pairs.
  assert scores.values['subtasks']['count'] == 125
  assert scores.headline == 1925


def test_the_suffix_takes_the_place_of_the_questions_own(release):
  row = read(release).rows[0]
  assert row.prompt == (
    'Is there a?\nAnswer the question using a single word or phrase.'
  )
  assert read(release, suffix='').rows[0].prompt.endswith('yes or no.')


def test_results_are_read_back_as_questions(release, tmp_path_factory):
  """The official script's table also says which images it is about."""
  rows = read(release).rows
  target = tmp_path_factory.mktemp('results')
  files = mme.Mme().prediction_files(rows, {rows[0].id: 'a\tb\nc'})
  for name, text in files.items():
    (target / name).write_text(text)
  first = (target / 'existence.txt').read_text().split('\n')[0].split('\t')
  assert first[2:] == ['Yes', 'a b c']
  (target / 'MME.tsv').unlink()
  again = read(target, images=str(release)).rows
  assert [row.id for row in again] == [row.id for row in rows]
  assert [row.reference for row in again] == [row.reference for row in rows]


def test_all_faults_of_a_release_are_named(release):
  (release / 'count' / 'a.jpg').unlink()
  (release / 'color' / 'c.jpg').write_bytes(b'')
  (release / 'OCR' / 'a.txt').write_text('no tab here\n')
  with pytest.raises(ValueError) as error:
    read(release)
  for part in ('count/a.txt', 'color/c.jpg', 'OCR/a.txt', 'OCR/a.jpg'):
    assert part in str(error.value)
  left = read(release, on_error='skip')
  assert len(left.left_out) == 4
  assert len(left.rows) == 4 * len(mme_files.SUBTASKS) - 4


def test_subtasks_that_are_absent_are_named(tmp_path):
  write_release(tmp_path, ['count'])
  rows = read(tmp_path)
  assert 'existence' in rows.notes[0]
  scores, *_ = mme.Mme().score(rows.rows, {})
  assert 'not comparable' in scores.notes[-1]


def test_a_folder_of_something_else_is_refused(tmp_path):
  with pytest.raises(ValueError, match='must have folders of subtasks'):
    read(tmp_path)
