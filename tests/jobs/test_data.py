"""The job that checks a data set: counts, faults, the page, bad input."""

import json

import command_line
import data_forms
import pytest

CONFIG = f'--config={command_line.ROOT}/configs/data.py'


def flags(source, *more):
  return [
    CONFIG,
    f'--config.files.annotations={source.annotations}',
    f'--config.files.images={source.images}',
    f'--config.files.questions={source.questions}',
    '--workdir=out',
    *more,
  ]


def summary(folder):
  return json.loads((folder / 'out' / 'summary.json').read_text())


@pytest.mark.parametrize('form', ['journeydb', 'webdataset'])
def test_a_set_is_counted_and_shown(form, start, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  assert start(*flags(source)) == (0, '')
  counts = summary(tmp_path)
  assert (counts['records'], counts['examples'], counts['faulty']) == (3, 3, 0)
  assert counts['form'] == form and counts['images']['count'] == 3
  # Words and marks: 'two "blue" squares, 早い' has 7.
  assert counts['captions']['counts'] == [[3, 2], [7, 1]]
  assert counts['images']['width'] == {
    'least': 20,
    'median': 21,
    'percentile_95': 22,
    'most': 22,
  }
  assert counts['images']['smaller'] == 3
  types = {'content': 3, 'style': 3} if form == 'journeydb' else {}
  assert counts['questions']['types'] == types
  page = (tmp_path / 'out' / 'data.html').read_text()
  assert page.count('src="data:image/png') == 3
  for caption in data_forms.CAPTIONS:
    assert caption.replace('"', '&#34;') in page


def test_captions_that_are_too_long_are_counted(start, tmp_path):
  source = data_forms.records(tmp_path)
  assert start(*flags(source, '--config.caption_tokens=5')) == (0, '')
  assert summary(tmp_path)['captions']['cut'] == 1


def broken(root):
  """Twelve records whose images are cut, and one that is whole."""
  source = data_forms.records(root)
  row = json.loads((root / 'inputs.jsonl').read_text().splitlines()[0])
  (root / 'images' / 'cut.png').write_bytes(data_forms.png(0)[:60])
  rows = [row | {'id': f'r{n}', 'img_path': 'cut.png'} for n in range(12)]
  (root / 'inputs.jsonl').write_text(
    ''.join(json.dumps(r) + '\n' for r in [row, row, *rows])
  )
  return source


def test_faults_are_listed_by_kind_the_first_ten(start, tmp_path):
  assert start(*flags(broken(tmp_path))) == (0, '')
  faults = summary(tmp_path)['faults']
  assert {kind: fault['count'] for kind, fault in faults.items()} == {
    'image': 12,
    'duplicate id': 1,
  }
  assert len(faults['image']['first']) == 10
  assert faults['duplicate id']['first'][0].startswith('line 2: ')
  assert 'image: 12' in (tmp_path / 'out' / 'data.html').read_text()


def test_bad_input_is_one_line_and_nothing_is_written(start, tmp_path):
  source = broken(tmp_path)
  command_line.one_line(
    start(*flags(source, '--config.files.on_error=raise')),
    'inputs.jsonl: line 2: duplicate id',
    'line 11: ',
    'and 3 more; --config.files.on_error=skip leaves them out',
  )
  (tmp_path / 'inputs.jsonl').write_text('{"id": "a"}\n')
  command_line.one_line(start(*flags(source)), 'line 1: img_path must be text')
  command_line.one_line(start(CONFIG, '--workdir=out'), 'files.annotations')
  command_line.one_line(
    start(*flags(source, '--config.files.form=tar')), "'webdataset' or 'tfds'"
  )
  assert not (tmp_path / 'out').exists()


def test_a_second_check_sees_what_was_mended(start, tmp_path):
  source = broken(tmp_path)
  assert start(*flags(source)) == (0, '')
  (tmp_path / 'images' / 'cut.png').write_bytes(data_forms.png(0))
  assert start(*flags(source)) == (0, '')
  assert set(summary(tmp_path)['faults']) == {'duplicate id'}


def test_questions_that_the_next_job_leaves_out_are_named(start, tmp_path):
  source = data_forms.journeydb(tmp_path)
  row = data_forms.journeydb_record(0)
  tasks = row['Task3']
  del tasks['Content Relevant Questions and Answers'][0]['Options']
  (tmp_path / 'train_anno.jsonl').write_text(json.dumps(row))
  assert start(*flags(source)) == (0, '')
  counts = summary(tmp_path)
  assert (counts['examples'], counts['questions']['left_out']) == (1, 1)
  (fault,) = counts['faults']['questions that are left out']['first']
  assert fault == 'line 1: choices must be different texts, got None'
  page = (tmp_path / 'out' / 'data.html').read_text()
  assert '--config.files.on_error=skip' in page and fault in page
  command_line.one_line(
    start(*flags(source, '--config.files.on_error=raise')), fault
  )


def test_choices_that_the_model_confuses_are_counted(start, tmp_path):
  source = data_forms.journeydb(tmp_path)
  row = data_forms.journeydb_record(0)
  questions = row['Task3']['Content Relevant Questions and Answers']
  questions[0] |= {'Options': {'A': 'zebra', 'B': 'lion'}, 'Answer': 'A'}
  row['Task3']['Style Relevant Questions and Answers'] = []
  (tmp_path / 'train_anno.jsonl').write_text(json.dumps(row))
  assert start(*flags(source)) == (0, '')
  equal = summary(tmp_path)['questions']['equal_choices']
  assert equal['count'] == 1
  assert (
    "line 1: choices must differ for the model, got 'zebra'"
    in (equal['first'][0])
  )
  assert (
    '1 questions have choices that are equal'
    in (tmp_path / 'out' / 'data.html').read_text()
  )


def test_text_files_without_an_image_are_counted_and_named(start, tmp_path):
  source = data_forms.text_files(tmp_path)
  (tmp_path / 'set' / 'orphan.txt').write_text('a caption')
  assert start(*flags(source)) == (0, '')
  counts = summary(tmp_path)
  assert (counts['records'], counts['faulty']) == (3, 0)
  assert counts['captions_without_image'] == 1
  assert counts['text_files_without_image'] == ['orphan.txt']
  assert 'orphan.txt' in (tmp_path / 'out' / 'data.html').read_text()


@pytest.mark.parametrize('form', ['imagefolder', 'imagefolder csv'])
def test_an_unknown_caption_column_is_named(form, start, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  (path,) = (tmp_path / 'train').glob('metadata.*')
  path.write_text(path.read_text().replace('text', 'body'))
  command_line.one_line(
    start(*flags(source)),
    "got the columns 'file_name'",
    '--config.files.fields=caption=body',
  )
  named = '--config.files.fields=caption=body'
  assert start(*flags(source, named)) == (0, '')


@pytest.mark.parametrize('form', ['journeydb', 'official'])
def test_the_official_files_go_in_and_out(form, start, tmp_path):
  source = data_forms.FORMS[form](tmp_path)
  assert start(*flags(source, '--config.official=True')) == (0, '')
  folder = tmp_path / 'out' / 'official'
  rows = json.loads((folder / 'initial_data.json').read_text())
  assert [list(row) for row in rows] == 3 * [
    ['id', 'img_path', 'prompt', 'caption']
  ]
  questions = json.loads((folder / 'vqa_data.json').read_text())
  if form == 'official':
    assert rows == json.loads((tmp_path / 'initial_data.json').read_text())
    assert questions == json.loads((tmp_path / 'vqa_data.json').read_text())
  again = data_forms.record_files.Source(
    str(folder / 'initial_data.json'),
    source.images,
    str(folder / 'vqa_data.json'),
  )
  actual, expected = (
    data_forms.record_files.read_records(s) for s in (again, source)
  )
  for a, b in zip(actual, expected, strict=True):
    assert (a['caption'], a['path']) == (b['caption'], b['path'])
    for field in ('question', 'choices', 'answer', 'element_type'):
      assert [q[field] for q in a['questions']] == [
        q[field] for q in b['questions']
      ]


def test_images_inside_shards_get_files_of_their_own(start, tmp_path):
  source = data_forms.webdataset(tmp_path)
  assert start(*flags(source, '--config.official=True')) == (0, '')
  folder = tmp_path / 'out' / 'official'
  rows = json.loads((folder / 'initial_data.json').read_text())
  for number, row in enumerate(rows):
    path = folder / 'initial_images' / f'{data_forms.IDS[number]}.png'
    assert row['img_path'] == str(path)
    assert path.read_bytes() == data_forms.png(number)


def test_questions_and_captions_without_a_record_are_counted(start, tmp_path):
  source = data_forms.coco(tmp_path)
  path = tmp_path / 'captions_val2017.json'
  value = json.loads(path.read_text())
  value['annotations'].append({'image_id': 7, 'id': 99, 'caption': 'a'})
  path.write_text(json.dumps(value))
  rows = [data_forms.question(0, id=9), {'question': 'a ?'}]
  rows.append(data_forms.question(0, id='none'))
  (tmp_path / 'vqa.json').write_text(json.dumps(rows))
  with_questions = f'--config.files.questions={tmp_path / "vqa.json"}'
  assert start(*flags(source, with_questions)) == (0, '')
  counts = summary(tmp_path)
  assert counts['captions_without_image'] == 1
  assert counts['questions']['examples'] == 1
  assert counts['questions']['ids_without_record'] == 1
  assert counts['faults']['questions without an id']['count'] == 1
  command_line.one_line(
    start(*flags(source, with_questions, '--config.files.on_error=raise')),
    'vqa.json, record 2 (line 1): a question: id must be text',
  )
