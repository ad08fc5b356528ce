"""Captions and answers about image files."""

import json

import looped_layers
import numpy as np
from PIL import Image
import pytest
import unread_models

import configs.understand
from hermesflow_jax.data import image_listing
from hermesflow_jax.jobs import understand
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

QUESTIONS = ('how many objects are there ?', 'what shape is the object ?')


@pytest.fixture
def run(base, tmp_path):
  """Runs the job with some settings: (lines, what was said)."""

  def call(workdir='out', init_from=base, **changes):
    config = configs.understand.get_config()
    del config.job
    config.update(
      {
        'init_from': str(init_from),
        'images': (str(tmp_path / 'in'),),
        'questions': QUESTIONS,
      }
    )
    config.update(changes)
    built = settings.build(understand.Settings, config.to_dict())
    output = []
    console = terminal.Console(output.append, lambda label: lambda x: x)
    workdir = workdir if 'gs:' in workdir else str(tmp_path / workdir)
    return understand.run(built, workdir, console), output

  return call


@pytest.fixture
def folder(tmp_path):
  """Five pictures of the world, one in a folder of its own."""
  root = tmp_path / 'in'
  (root / 'deep').mkdir(parents=True)
  for n in range(5):
    scene = scene_sampler.sample_scene('eval', 0, n)
    name = root / ('deep' if n == 4 else '.') / f'{n}.png'
    Image.fromarray(drawing.render(scene)).save(name)
  (root / 'notes.txt').write_text('no image')
  return root


def test_each_image_gets_a_line(run, folder, tmp_path):
  rows, output = run()
  assert [r['image'] for r in rows] == [
    str(folder / name)
    for name in ('0.png', '1.png', '2.png', '3.png', 'deep/4.png')
  ]
  for row in rows:
    assert isinstance(row['caption'], str)
    assert tuple(row['answers']) == QUESTIONS
  lines = (tmp_path / 'out' / 'answers.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == rows
  assert str(folder / '0.png') in output[-2] and QUESTIONS[0] in output[-2]


def test_answers_do_not_depend_on_the_company(run, folder, monkeypatch):
  expected, _ = run()
  monkeypatch.setattr(understand, 'GROUP', 2)
  assert run('groups')[0] == expected
  alone, _ = run('alone', images=(str(folder / '3.png'),))
  assert alone == expected[3:4]


def test_choices_are_what_is_answered(run, folder):
  rows, _ = run(choices=('one', 'two'), caption=False)
  for row in rows:
    assert 'caption' not in row
    assert set(row['answers'].values()) <= {'one', 'two'}


def test_the_shipped_model_sees_what_is_there(run, tmp_path, monkeypatch):
  """Of one object, the easiest question there is."""
  looped_layers.loop_layers(monkeypatch)
  (tmp_path / 'in').mkdir()
  expected = []
  for n in range(0, 60, 6):
    scene = scene_sampler.sample_scene('eval', 0, n)
    Image.fromarray(drawing.render(scene)).save(tmp_path / f'in/{n:02d}.png')
    expected.append(scene.objects[0].shape)
  rows, _ = run(
    init_from='assets:shapes',
    questions=QUESTIONS[1:],
    choices=shape_world.SHAPES,
  )
  actual = [row['answers'][QUESTIONS[1]] for row in rows]
  assert np.mean([a == b for a, b in zip(actual, expected)]) >= 0.9


def test_a_stopped_run_goes_on_where_it_was(run, folder, tmp_path, monkeypatch):
  monkeypatch.setattr(understand, 'GROUP', 2)
  expected, _ = run()
  out = tmp_path / 'out'
  (out / 'answers.jsonl').unlink()
  (out / 'parts' / '000002.jsonl').unlink()
  requested = []
  output = understand.ask_about_images

  def counted(config, unified, images, size):
    requested.append([image.name for image in images])
    return output(config, unified, images, size)

  monkeypatch.setattr(understand, 'ask_about_images', counted)
  assert run()[0] == expected
  assert requested == [[str(folder / 'deep/4.png')]]
  unread_models.refuse_reading(monkeypatch)
  assert run()[0] == expected


def test_answers_about_other_images_of_the_same_names_are_not_taken(
  run, folder
):
  run()
  Image.new('RGB', (64, 64), 'red').save(folder / '3.png')
  with pytest.raises(ValueError, match='other settings: config.images.*3.png'):
    run()


def test_globs_folders_and_files_mean_each_image_once(run, folder):
  actual = image_listing.list_images(
    [str(folder / '1.png'), str(folder), str(folder / '*.png')]
  )
  assert actual == [
    str(folder / n) for n in ('1.png', '0.png', '2.png', '3.png', 'deep/4.png')
  ]


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_an_image_that_cannot_be_read_is_named(run, folder, on_error):
  (folder / '2.png').write_bytes(b'no image')
  if on_error == 'raise':
    with pytest.raises(ValueError, match="image '.*2.png': "):
      run()
    return
  rows, output = run(on_error=on_error)
  assert len(rows) == 4
  assert output[0] == '1 of 5 left out:'
  assert output[1].startswith("  image '") and '2.png' in output[1]


def test_odd_files_of_a_folder_are_named_counted_or_passed_over(run, folder):
  """Broken images are all named in one run, and may be skipped."""
  for name in ('._0.png', '.ipynb_checkpoints/0.png', '__MACOSX/0.png'):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b'no image')
  for name in ('1.png', '3.png'):
    (folder / name).write_bytes(b'GIF89a')
  with pytest.raises(ValueError) as error:
    run()
  assert all(f'{n}.png' in str(error.value) for n in (1, 3))
  assert 'must be PNG, JPEG or WebP, got a GIF file' in str(error.value)
  rows, output = run(on_error='skip')
  assert len(rows) == 3
  assert output[0] == '2 of 5 left out:'
  assert '1 file (1 .txt) passed over' in output[3]


def test_unknown_words_are_named_once(run, folder):
  question = 'what <|endoftext|> zebra ?'
  rows, output = run(questions=(question,), caption=False)
  (warning,) = [line for line in output if 'does not know' in line]
  assert "'zebra'" in warning and "'endoftext'" in warning
  assert all(tuple(row['answers']) == (question,) for row in rows)


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'images': ()}, 'images must not be empty'),
    (
      {'images': ('/none/*.png',)},
      'images must name existing image files, got /none',
    ),
    (
      {'questions': (), 'caption': False},
      'caption must be True without questions',
    ),
    ({'questions': (' ',)}, 'questions must not be empty texts'),
    ({'questions': ('a ?', 'a ?')}, 'questions must differ'),
    (
      {'questions': ('what is ' + 'the ring with ' * 9 + '?',)},
      'question must have at most 14 tokens, got 34',
    ),
    ({'choices': ('one',)}, 'must be at least two different texts'),
    (
      {'choices': ('ring', 'RING', 'quark', 'red', 'no')},
      "got 'ring' and 'RING'; 'quark' and 'no' with the same tokens; it does",
    ),
    (
      {'choices': ('yes', 'one', 'no')},
      "got 'yes' and 'no' with the same tokens; it does not know 'yes', 'no'",
    ),
    (
      {
        'questions': ('a ?', *(f'{c} ' + 'ring ' * 40 for c in ('red', 'blue')))
      },
      'at most 14 tokens, got 4.: .red.*at most 14 tokens, got 4.: .blue',
    ),
    ({'questions': ('what is \udcff ?',)}, 'the byte 0xff, which is not UTF-8'),
    (
      {'questions': ('what\xa0is it ?',)},
      'questions.0. must have plain spaces',
    ),
    (
      {'choices': ('one', 'tw\0o')},
      'choices.1. must have no control characters',
    ),
    (
      {'on_error': 'ignore'},
      "on_error must be 'raise' or 'skip', got 'ignore'",
    ),
  ],
)
def test_what_cannot_be_answered_is_refused(
  run, folder, tmp_path, changes, output
):
  with pytest.raises(ValueError, match=output):
    run(**changes)
  assert not (tmp_path / 'out').exists()


def test_images_and_answers_may_be_in_a_bucket(run, folder, bucket):
  expected, _ = run()
  bucket.put_folder('in', folder)
  actual, _ = run('gs://bucket/out', images=('gs://bucket/in',))
  assert [r['answers'] for r in actual] == [r['answers'] for r in expected]
  assert [r['image'] for r in actual] == [
    r['image'].replace(str(folder), 'gs://bucket/in') for r in expected
  ]
  assert [
    json.loads(line) for line in bucket.text('out/answers.jsonl').splitlines()
  ] == actual
  assert run('gs://bucket/out', images=('gs://bucket/in',))[0] == actual


@pytest.mark.parametrize(
  'name, actual',
  [
    ('gs://bucket/in/*.png', 4),
    ('gs://bucket/in/**/*.png', 5),
    ('gs://bucket/in/deep/4.png', 1),
    ('gs://bucket/in/deep', 1),
  ],
)
def test_names_of_a_bucket_mean_images(folder, bucket, name, actual):
  bucket.put_folder('in', folder)
  assert len(image_listing.list_images([name])) == actual


@pytest.mark.parametrize('name', ['none', 'none/*.png', 'notes.txt/x'])
def test_a_name_of_a_bucket_that_means_no_image_is_refused(bucket, name):
  with pytest.raises(
    ValueError, match='must name existing image files, got gs://bucket/'
  ):
    image_listing.list_images([f'gs://bucket/{name}'])


LONG = 'what is ' + 'the ring with ' * 9 + '?'


def test_faults_of_images_and_questions_are_named_at_once(run, folder, idle):
  (folder / '1.png').write_bytes(b'GIF89a')
  data = (folder / '3.png').read_bytes()
  (folder / '3.png').write_bytes(data[: len(data) // 2])
  with pytest.raises(ValueError) as error:
    run(images=(str(folder), '/none.png'), questions=('a ?', LONG))
  for fault in ('at most 14 tokens', "1.png': ", "3.png': ", 'got /none.png'):
    assert fault in str(error.value)


def test_images_and_questions_with_faults_may_be_skipped(run, folder):
  (folder / '1.png').write_bytes(b'GIF89a')
  rows, output = run(
    images=(str(folder), '/none.png'),
    questions=(LONG, *QUESTIONS),
    on_error='skip',
  )
  assert [tuple(row['answers']) for row in rows] == [QUESTIONS] * 4
  assert output[0] == '2 of 6 left out:' and '/none.png' in output[1]
  assert output[3] == '1 of 3 left out:' and 'at most 14 tokens' in output[4]
