"""GenEval, GenEval 2, DPG-Bench and TIFA: prompts, rules and results."""

import json

import pytest

from hermesflow_jax.benchmarks import answer_names
from hermesflow_jax.benchmarks import dpg
from hermesflow_jax.benchmarks import geneval
from hermesflow_jax.benchmarks import geneval2
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.benchmarks import published
from hermesflow_jax.benchmarks import registry
from hermesflow_jax.benchmarks import tifa


def files(path, **options):
  return protocol.BenchmarkFiles(str(path), **options)


def write_lines(path, values):
  path.write_text(''.join(json.dumps(value) + '\n' for value in values))
  return path


GENEVAL = [
  {
    'tag': 'single_object',
    'include': [{'class': 'bench'}],
    'prompt': 'a bench',
  },
  {'tag': 'counting', 'include': [{'class': 'cat'}], 'prompt': 'two cats'},
  {'tag': 'counting', 'include': [{'class': 'dog'}], 'prompt': 'two dogs'},
]


@pytest.fixture
def geneval_rows(tmp_path):
  path = write_lines(tmp_path / 'evaluation_metadata.jsonl', GENEVAL)
  return geneval.GenEval().read(files(path)).rows


def geneval_results(rows, right):
  return [
    {
      'filename': f'/somewhere/images/{file}',
      'tag': row.reference['tag'],
      'prompt': row.prompt,
      'correct': file in right,
      'reason': '',
      'metadata': json.dumps(row.reference['metadata']),
      'details': '{}',
    }
    for row in rows
    for file in row.files
  ]


def test_geneval_has_the_folder_of_its_scorer(geneval_rows):
  first = geneval_rows[0]
  assert first.files[0] == '00000/samples/0000.png' and len(first.files) == 4
  texts = geneval.GenEval().companion_files(geneval_rows)
  assert json.loads(texts['00002/metadata.jsonl']) == GENEVAL[2]


def test_geneval_is_the_mean_over_tags_not_over_images(geneval_rows, tmp_path):
  right = {*geneval_rows[0].files, geneval_rows[1].files[0]}
  path = write_lines(
    tmp_path / 'results.jsonl', geneval_results(geneval_rows, right)
  )
  (scores,) = geneval.GenEval().read_results(str(path), geneval_rows)
  # 4 of 4 and 1 of 8.
  assert scores.headline == pytest.approx((1 + 1 / 8) / 2)
  assert scores.values['counting'] == pytest.approx(1 / 8)


def test_geneval_results_of_other_images_are_refused(geneval_rows, tmp_path):
  results = geneval_results(geneval_rows, set())
  results[0]['prompt'] = 'a chair'
  results[1]['correct'] = 'yes'
  results[2]['filename'] = '9/samples/0000.png'
  path = write_lines(tmp_path / 'results.jsonl', results[:-1])
  with pytest.raises(ValueError) as error:
    geneval.GenEval().read_results(str(path), geneval_rows)
  for part in (
    "line 1: prompt must be 'a bench'",
    'line 2: correct must be',
    'line 3: filename',
    '4 images have no result',
  ):
    assert part in str(error.value)


def test_the_judge_of_geneval_is_named_as_another(geneval_rows):
  answers = {
    file: {'shows': 'yes' if row.id == '00000' else 'no'}
    for row in geneval_rows
    for file in row.files
  }
  (scores,) = geneval.GenEval().score(geneval_rows, answers)
  assert (scores.rule, scores.headline) == ('judge', 0.5)
  assert scores.notes


DPG = """item_id,text,keywords,proposition_id,dependency,category_broad,\
category_detailed,tuple,question_natural_language
a,A red cat on a mat.,,1,0,entity,whole,entity - whole (cat),Is there a cat?
a,A red cat on a mat.,,2,1,attribute,color,"attribute - color (cat, red)",\
Is the cat red?
a,A red cat on a mat.,,3,2,other,x,other - x (y),Is the red cat there?
b,A dog.,,1,0,entity,whole,entity - whole (dog),Is there a dog?
"""


@pytest.fixture
def dpg_rows(tmp_path):
  (tmp_path / 'dpg_bench.csv').write_text(DPG)
  return dpg.DpgBench().read(files(tmp_path)).rows


def dpg_answers(rows, by_image):
  return {
    file: dict(zip([q['id'] for q in row.questions], replies, strict=True))
    for row in rows
    for file, replies in zip(row.files, by_image[row.id], strict=True)
  }


def test_a_question_counts_only_with_its_parents(dpg_rows):
  """By the official script: 1/3, 1, 0, 1/3 for a, and 1, 1, 0, 0 for b."""
  answers = dpg_answers(
    dpg_rows,
    {
      'a': [
        ('yes', 'no', 'yes'),
        ('yes', 'yes', 'yes'),
        ('no', 'yes', 'yes'),
        ('yes', 'maybe', 'no'),
      ],
      'b': [('yes',), ('yes',), ('no',), ('Yes',)],
    },
  )
  (scores,) = dpg.DpgBench().score(dpg_rows, answers)
  assert scores.rows == {
    'a': pytest.approx(100 * (1 / 3 + 1 + 0 + 1 / 3) / 4),
    'b': pytest.approx(50),
  }
  # Answers about the last image, before the rule.
  assert scores.values['entity'] == 50
  assert scores.values['attribute'] == 0


def test_dpg_results_are_read_back(dpg_rows, tmp_path):
  path = tmp_path / 'dpg-bench_results.txt'
  lines = [
    '/x/grids/a.png, 0.3333, 1.0, 0.0, 0.3333, 0.41665',
    '/x/grids/b.png, 1.0, 1.0, 0.0, 0.0, 0.5',
    'Model: grids',
    'DPG-Bench score: 45.8325',
  ]
  path.write_text('\n'.join(lines))
  (scores,) = dpg.DpgBench().read_results(str(path), dpg_rows)
  assert scores.headline == pytest.approx(45.8325)
  path.write_text('\n'.join([lines[0], lines[1].replace('b.png', 'c.png')]))
  with pytest.raises(ValueError, match='c.png is no image.*1 grids have no'):
    dpg.DpgBench().read_results(str(path), dpg_rows)


def test_dpg_faults_are_named_together(tmp_path):
  text = DPG.replace('red),Is', 'red),').replace(',2,other', ',7,other')
  (tmp_path / 'dpg_bench.csv').write_text(
    text.replace(',1,0,entity,whole,e', ',x,0,entity,whole,e', 1)
  )
  with pytest.raises(ValueError, match='row 1: proposition_id.*a: dependency'):
    dpg.DpgBench().read(files(tmp_path))
  (tmp_path / 'dpg_bench.csv').write_text('a,b\n1,2\n')
  with pytest.raises(ValueError, match='got no column item_id'):
    dpg.DpgBench().read(files(tmp_path))


GENEVAL2 = [
  {
    'prompt': 'two red cats',
    'atom_count': 2,
    'vqa_list': [['How many cats are there?', 'two'], ['Are they red?', 'Yes']],
    'skills': ['count', 'attribute'],
  },
  {
    'prompt': 'a dog',
    'atom_count': 1,
    'vqa_list': [['Is there a dog?', 'Yes']],
    'skills': ['object'],
  },
]


@pytest.fixture
def geneval2_rows(tmp_path):
  path = write_lines(tmp_path / 'geneval2_data.jsonl', GENEVAL2)
  return geneval2.GenEval2().read(files(path)).rows


def test_soft_tifa_is_a_geometric_mean(geneval2_rows, tmp_path):
  """By the official script: GM 68, AM 70.5."""
  path = tmp_path / 'scores.json'
  path.write_text(json.dumps([[0.9, 0.4], [0.76]]))
  (scores,) = geneval2.GenEval2().read_results(str(path), geneval2_rows)
  assert scores.headline == pytest.approx(68)
  assert scores.values['arithmetic mean'] == pytest.approx(70.5)
  path.write_text(json.dumps([[0.9], [0.76]]))
  with pytest.raises(ValueError, match='2 prompts with 3 atoms'):
    geneval2.GenEval2().read_results(str(path), geneval2_rows)


def test_an_atom_without_probability_costs_the_prompt(geneval2_rows, tmp_path):
  path = tmp_path / 'scores.json'
  path.write_text(json.dumps([[0.0, 1.0], [1]]))
  (scores,) = geneval2.GenEval2().read_results(str(path), geneval2_rows)
  assert scores.headline == 50
  assert scores.values['arithmetic mean'] == 75


def test_a_model_that_judges_gives_soft_scores(geneval2_rows):
  row = geneval2_rows[0]
  answers = {}
  for place, question in enumerate(row.questions):
    answers[question['id']] = question['answer']
    answers[answer_names.probability(question['id'])] = 0.25 ** (place + 1)
  soft, judge = geneval2.GenEval2().score([row], {row.files[0]: answers})
  expected = 0.25 ** ((len(row.questions) + 1) / 2)
  assert soft.rule == 'Soft-TIFA by the judge'
  assert soft.headline == pytest.approx(100 * expected)
  assert judge.headline == 100


def test_a_judge_answers_geneval2_by_choices(geneval2_rows):
  count, color = geneval2_rows[0].questions
  assert count['answer'] == 'two' and 'ten' in count['choices']
  assert color['choices'] == ['yes', 'no']
  assert count['question'].endswith(' Answer in one word.')
  answers = {'00000.png': {'0': 'two', '1': 'no'}, '00001.png': {'0': 'yes'}}
  (scores,) = geneval2.GenEval2().score(geneval2_rows, answers)
  assert scores.headline == 50
  assert scores.values['arithmetic mean'] == 75


def test_tifa_is_a_mean_over_prompts(tmp_path):
  def question(name, number, answer, kind):
    return {
      'id': name,
      'caption': f'caption {name}',
      'element': 'x',
      'question': f'question {number}?',
      'choices': ['red', 'blue'],
      'answer': answer,
      'element_type': kind,
    }

  path = write_lines(
    tmp_path / 'tifa.json',
    [
      question('a', 0, 'red', 'color'),
      question('a', 1, 'blue', 'object'),
      question('b', 2, 'red', 'color'),
    ],
  )
  rows = tifa.Tifa().read(files(path)).rows
  assert [row.prompt for row in rows] == ['caption a', 'caption b']
  answers = {'00000.png': {'0': 'red', '1': 'red'}, '00001.png': {'2': 'red'}}
  (scores,) = tifa.Tifa().score(rows, answers)
  assert scores.headline == 75
  assert scores.values == {'TIFA': 75, 'color': 100, 'object': 0}


def test_published_numbers_name_their_source():
  assert published.rows('geneval')[0] == (
    'Show-o',
    0.53,
    'HermesFlow, arXiv 2502.12148',
  )
  assert published.rows('tifa') == []


@pytest.mark.parametrize('name', registry.BENCHMARKS)
def test_each_benchmark_has_its_name_and_protocol(name, tmp_path):
  benchmark = registry.make(name)
  assert benchmark.name == name
  assert benchmark.title and benchmark.protocol.endswith('.')
  with pytest.raises(ValueError):
    benchmark.read(files(tmp_path / 'none'))
