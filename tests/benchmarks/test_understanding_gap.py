"""The gap: sources, understanding, generation, and what the model claims."""

import json

from PIL import Image
import pytest

from hermesflow_jax.benchmarks import answer_names
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import registry


def question(answer, kind):
  return {
    'question': f'is it {answer}?',
    'choices': ['yes', 'no'],
    'answer': answer,
    'element_type': kind,
  }


def write(root, name='records.jsonl', **fields):
  """Writes two images with two questions each."""
  records = []
  for n in range(2):
    Image.new('RGB', (8, 8)).save(root / f'{n}.png')
    records.append(
      {
        'id': f'{n}',
        'img_path': f'{n}.png',
        'caption': f'thing {n}',
        'questions': [question('yes', 'color'), question('no', 'object')],
        **fields,
      }
    )
  (root / name).write_text('\n'.join(map(json.dumps, records)))
  return root / name


def read(path, **options):
  files = protocol.BenchmarkFiles(str(path), **options)
  return registry.make('gap').read(files)


def score(rows, real, judged, own):
  """Scores answers, a list for each row of each kind."""
  answers = {}
  for row, *kinds in zip(rows, real, judged, own, strict=True):
    (file,) = row.files
    names = answer_names.real_image(file), file, answer_names.own_answers(file)
    for name, texts in zip(names, kinds, strict=True):
      answers[name] = {str(n): text for n, text in enumerate(texts)}
  return registry.make('gap').score(rows, answers)


def test_the_gap_is_understanding_minus_generation(tmp_path):
  rows = read(write(tmp_path)).rows
  right, half = ('yes', 'no'), ('yes', 'yes')
  gap, understanding, generation = score(
    rows, [right, right], [half, right], [right, right]
  )
  assert (understanding.headline, generation.headline) == (1, 0.75)
  assert gap.headline == 0.25 and gap.rows == {'0': 0.5, '1': 0}
  assert gap.values['standard error of the gap'] == 0.25
  assert gap.values['by type']['object'] == {
    'understanding': 1,
    'generation': 0.5,
    'gap': 0.5,
  }
  # The model takes every drawing for right, the judge half of them.
  name = 'drawings that do not show the prompt, says the '
  assert gap.values[f'{name}model'] == 0
  assert gap.values[f'{name}judge'] == 0.5


def test_rows_have_the_real_image(tmp_path):
  rows = read(write(tmp_path)).rows
  assert [row.image.name for row in rows] == ['0.png', '1.png']
  assert [q['id'] for q in rows[0].questions] == ['0', '1']


def test_a_tifa_file_names_its_images_by_id(tmp_path):
  write(tmp_path)
  coco = tmp_path / 'COCO_val2014_000000000007.jpg'
  Image.new('RGB', (8, 8)).save(coco)
  lines = [
    {'id': name, 'caption': f'thing {name}', **question('yes', 'color')}
    for name in ('1', 'coco_7', 'absent')
  ]
  path = tmp_path / 'tifa.json'
  path.write_text(json.dumps(lines))
  with pytest.raises(ValueError, match='there is no image .*absent'):
    read(path)
  content = read(path, on_error='skip')
  assert [row.image.name for row in content.rows] == ['1.png', coco.name]
  assert len(content.left_out) == 1


def test_records_without_questions_are_named(tmp_path):
  with pytest.raises(ValueError, match='question'):
    read(write(tmp_path, questions=[]))
