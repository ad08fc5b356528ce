"""GenEval 2: prompts of many atoms, scored by Soft-TIFA.

Of facebookresearch/GenEval2. Each atom of a prompt is a question. Soft-TIFA is
the probability that a vision language model gives to the right answer; its
arithmetic mean is per atom, its geometric mean (the headline) needs every atom
of a prompt. The data are CC BY-NC and read from the user's path.
"""

from collections.abc import Sequence
import json
import math

from hermesflow_jax.benchmarks import answer_names
from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.runtime import storage

_NUMBERS = (
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
)
_SUFFIX = ' Answer in one word.'
_YES = ('Yes', 'yes', ' yes', ' Yes')


class GenEval2(protocol.DrawingBenchmark):
  """GenEval 2; the headline is Soft-TIFA, geometric mean, in percent."""

  name = 'geneval2'
  title = 'GenEval 2'
  protocol = (
    'One image a prompt; a question per atom with "Answer in one word."; '
    'official: Soft-TIFA by Qwen3-VL-8B, geometric mean per prompt; Soft-TIFA '
    'by the judge: the same by a model that is the judge of this run; judge: '
    'share of its right answers; in percent.'
  )

  def read(self, files):
    """Reads the prompts.

    Args:
      files: `path` is `geneval2_data.jsonl`, or a folder with it.

    Raises:
      ValueError: see the protocol.
    """
    seen = set()

    def parse(number, value):
      row = _prompt(number, value)
      if row.prompt in seen:
        raise ValueError(f'prompt must occur once, got {row.prompt!r} again')
      seen.add(row.prompt)
      return row

    return benchmark_files.read_prompts(files, 'geneval2_data.jsonl', parse)

  def score(self, rows, answers):
    """See the protocol: Soft-TIFA of a judge that is a model, right answers."""
    note = ('not the official judge, Qwen3-VL-8B',)
    soft = {
      row.id: [own[answer_names.probability(q['id'])] for q in row.questions]
      for row in rows
      if (own := answers.get(row.files[0]))
      and all(answer_names.probability(q['id']) in own for q in row.questions)
    }
    atoms = {
      row.id: [
        float(answers[row.files[0]].get(q['id']) == q['answer'])
        for q in row.questions
      ]
      for row in rows
      if answers.get(row.files[0])
    }
    by_rule = {'Soft-TIFA by the judge': soft, 'judge': atoms}
    return [
      _scores(rule, rows, values, note)
      for rule, values in by_rule.items()
      if values
    ]

  def written_forms(self, question):
    """See the protocol, and `soft_tifa` of the official script.

    The script counts a token twice if two forms begin with it, and takes the
    word 'other' for the digits of numbers above ten; we do neither.
    """
    answer = question['answer']
    if not question['question'].startswith('How many'):
      return _YES
    capital = answer.capitalize()
    forms = (answer, capital, f' {answer}', f' {capital}')
    if answer not in _NUMBERS[1:]:
      return forms
    digits = str(_NUMBERS.index(answer))
    return (*forms, digits, f' {digits}')

  def companion_files(self, rows):
    """See the protocol: the list of images that the official script reads."""
    paths = {row.prompt: row.files[0] for row in rows}
    return {'images.json': json.dumps(paths, indent=1) + '\n'}

  def read_results(self, path, rows):
    """Reads the lists of probabilities that the official script writes.

    Args:
      path: JSON file, a list of a number per atom for each prompt of the data.
      rows: prompts that were drawn: all of the data, in order.

    Raises:
      ValueError: the file is of other prompts.
    """
    lists = benchmark_files.read_json(storage.path(path))
    expected = [len(row.questions) for row in rows]
    numbers = isinstance(lists, list) and all(
      isinstance(values, list) and all(_is_probability(v) for v in values)
      for values in lists
    )
    if not numbers or [len(values) for values in lists] != expected:
      raise ValueError(
        f'{path} must be lists of probabilities for {len(rows)} prompts with '
        f'{sum(expected)} atoms, as evaluation.py --method soft_tifa_gm writes '
        'them'
      )
    atoms = {row.id: values for row, values in zip(rows, lists, strict=True)}
    return [_scores('official Soft-TIFA', rows, atoms, ())]


def _scores(rule, rows, atoms, notes) -> protocol.Scores:
  geometric = {name: 100 * _geometric(v) for name, v in atoms.items()}
  arithmetic = [100 * sum(v) / len(v) for v in atoms.values()]
  skills = {}
  for row in rows:
    for question, value in zip(
      row.questions, atoms.get(row.id, ()), strict=False
    ):
      skills.setdefault(str(question['skill']), []).append(value)
  headline = sum(geometric.values()) / len(geometric)
  return protocol.Scores(
    rule,
    headline,
    '%',
    {
      'geometric mean': headline,
      'arithmetic mean': sum(arithmetic) / len(arithmetic),
      'atoms by skill': {
        name: 100 * sum(values) / len(values)
        for name, values in sorted(skills.items())
      },
    },
    geometric,
    tuple(notes),
  )


def _geometric(values: Sequence[float]) -> float:
  if not all(values):
    return 0.0
  return math.exp(sum(map(math.log, values)) / len(values))


def _is_probability(value) -> bool:
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  # Sums of rounded probabilities may exceed 1.
  return number and 0 <= value <= 1.01


def _prompt(number, value) -> protocol.DrawingPrompt:
  """Returns a prompt with a question per atom.

  Raises:
    ValueError: a field is missing or has another form.
  """
  benchmark_files.check_fields(value, {'prompt': str, 'vqa_list': list})
  skills, questions = value.get('skills') or [], []
  for place, pair in enumerate(value['vqa_list']):
    texts = isinstance(pair, list) and all(isinstance(x, str) for x in pair)
    if not texts or len(pair) != 2:
      raise ValueError(f'vqa_list must be pairs of texts, got {pair!r:.60}')
    question, answer = pair
    counts = question.startswith('How many')
    choices = list(_NUMBERS) if counts else ['yes', 'no']
    answer = answer.lower() if counts else 'yes'
    if answer not in choices:
      choices.append(answer)
    questions.append(
      {
        'id': str(place),
        'question': question + _SUFFIX,
        'choices': choices,
        'answer': answer,
        'skill': skills[place] if place < len(skills) else 'other',
      }
    )
  if not questions:
    raise ValueError('vqa_list must not be empty')
  return protocol.DrawingPrompt(
    f'{number:05d}', value['prompt'], (f'{number:05d}.png',), tuple(questions)
  )
