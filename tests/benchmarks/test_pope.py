"""POPE's files, predictions and tables of VLMEvalKit."""

import base64
import csv
import io
import json

from PIL import Image
import pytest

from hermesflow_jax.benchmarks import pope
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import vlmevalkit


def png(color):
  file = io.BytesIO()
  Image.new('RGB', (20, 20), color).save(file, 'PNG')
  return file.getvalue()


def write_official(root, labels=('yes', 'no')):
  (root / 'img').mkdir()
  (root / 'img' / 'a.jpg').write_bytes(png('red'))
  for number, split in enumerate(pope.SPLITS):
    lines = [
      {
        'question_id': 10 * number + n,
        'image': 'a.jpg',
        'text': f'Is there a thing {n} in the image?',
        'label': label,
      }
      for n, label in enumerate(labels)
    ]
    text = '\n'.join(json.dumps(line) for line in lines)
    (root / f'coco_pope_{split}.json').write_text(text)


def read(path, **options):
  return pope.Pope().read(protocol.BenchmarkFiles(str(path), **options))


def write_table(path, images, **columns):
  """Writes a table with a row for each image cell."""
  cells = {
    'question': ['Is there "a" dog?\nLook well.'] * len(images),
    'answer': ['Yes', 'No'] * (len(images) // 2),
    'category': ['random,popular', 'adversarial'] * (len(images) // 2),
    **columns,
  }
  with open(path, 'w', newline='') as file:
    writer = csv.writer(file, delimiter='\t')
    writer.writerow(['index', 'image', *cells])
    for number, row in enumerate(zip(images, *cells.values(), strict=True)):
      writer.writerow([number, *row])


def test_three_parsers_give_three_numbers(tmp_path):
  write_official(tmp_path)
  rows = read(tmp_path, images=str(tmp_path / 'img')).rows
  assert [row.id for row in rows[:3]] == ['random/0', 'random/1', 'popular/10']
  replies = {row.id: 'I think so' for row in rows}
  official, exact, extracted = pope.Pope().score(rows, replies)
  assert official.headline == 50
  assert official.values['random']['recall'] == 100
  assert exact.headline == extracted.headline == 0
  assert '6 of 6 replies' in exact.notes[0]


def test_predictions_are_in_the_order_of_the_labels(tmp_path):
  """The official script compares line by line, without ids."""
  write_official(tmp_path)
  rows = read(tmp_path, images=str(tmp_path / 'img')).rows
  replies = {row.id: row.reference['label'] for row in rows}
  files = pope.Pope().prediction_files(rows, replies)
  for split in pope.SPLITS:
    lines = files[f'coco_pope_{split}.jsonl'].splitlines()
    labels = (tmp_path / f'coco_pope_{split}.json').read_text().splitlines()
    assert [json.loads(line)['answer'] for line in lines] == [
      json.loads(line)['label'] for line in labels
    ]


def test_all_faults_are_named_at_once(tmp_path):
  write_official(tmp_path, ('yes', 'maybe'))
  (tmp_path / 'coco_pope_random.json').write_text('{"image": 1}\nno JSON\n')
  with pytest.raises(ValueError) as error:
    read(tmp_path, images=str(tmp_path / 'img'))
  text = str(error.value)
  assert text.count("label must be 'yes' or 'no', got 'maybe'") == 2
  assert 'line 1' in text and "'question_id' is missing" in text
  left = read(tmp_path, images=str(tmp_path / 'img'), on_error='skip')
  assert (len(left.rows), len(left.left_out)) == (2, 4)
  assert 'no questions of random' in left.notes[0]


def test_a_folder_without_splits_is_refused(tmp_path):
  with pytest.raises(ValueError, match='_random.json'):
    read(tmp_path)
  with pytest.raises(ValueError, match='must be a folder'):
    read(tmp_path / 'none')


def test_images_of_a_table_stay_in_the_file(tmp_path):
  """A row may name another row with the same image; cells have newlines."""
  first, second = png('red'), png('blue')
  path = tmp_path / 'POPE.tsv'
  encoded = [base64.b64encode(image).decode() for image in (first, second)]
  write_table(path, [encoded[0], '0', encoded[1], '2'])
  rows = read(path).rows
  assert len(rows) == 6
  images = [row.image.open().read() for row in rows]
  assert images == [first] * 3 + [second] * 3
  assert len({str(row.image) for row in rows}) == 2
  assert 'Look well.' in rows[0].prompt


def test_a_table_without_images_is_refused(tmp_path):
  path = tmp_path / 'POPE.tsv'
  write_table(path, ['7', ''])
  with pytest.raises(ValueError, match="index, got '7'.*it has no image"):
    read(path)
  path.write_text('index\tanswer\n1\tYes\n')
  with pytest.raises(ValueError, match="must have a column 'question'"):
    read(path)


def test_predictions_of_a_table_have_all_columns_but_the_image(tmp_path):
  path = tmp_path / 'POPE.tsv'
  write_table(path, [base64.b64encode(png('red')).decode(), '0'])
  text = vlmevalkit.Table(path).predictions({'0': 'Yes,\tit "is"', '1': ''})
  header, *rows = csv.reader(io.StringIO(text), delimiter='\t')
  assert header == ['index', 'question', 'answer', 'category', 'prediction']
  assert rows[0][0] == '0' and rows[0][-1] == 'Yes,\tit "is"'
