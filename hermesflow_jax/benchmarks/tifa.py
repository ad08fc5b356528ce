"""TIFA: questions about drawings, made from their prompts (arXiv 2303.11897).

The right answer is known from the prompt; a judge answers about the image.
"""

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import tifa_questions
from hermesflow_jax.runtime import storage


class Tifa(protocol.DrawingBenchmark):
  """TIFA; the headline is the mean over prompts, in percent."""

  name = 'tifa'
  title = 'TIFA'
  protocol = (
    'One image a prompt; the answer of the judge is right if it is the answer '
    'from the prompt; mean over the questions of a prompt, then over prompts, '
    'in percent.'
  )

  def read(self, files):
    """Reads questions with their prompts.

    Args:
      files: `path` is a TIFA file: records with `id`, `caption`, `question`,
        `choices`, `answer` and `element_type`.

    Raises:
      ValueError: see the protocol.
    """
    path, prompts, faults = storage.path(files.path), {}, []
    for number, (place, value) in enumerate(benchmark_files.read_lines(path)):
      try:
        benchmark_files.check_fields(value, {'caption': str})
        name = str(value.get('id', ''))
        if not name:
          raise ValueError("'id' is missing")
        question = tifa_questions.check_question(value)
        caption, questions = prompts.setdefault(name, (value['caption'], []))
        if caption != value['caption']:
          raise ValueError(
            f'id {name!r} must have one caption, got {value["caption"]!r:.60} '
            f'and {caption!r:.60}'
          )
        questions.append(question | {'id': str(number)})
      except ValueError as error:
        faults.append(f'{place}: {error}')
    rows = [
      protocol.DrawingPrompt(
        name, caption, (f'{number:05d}.png',), tuple(questions), {'id': name}
      )
      for number, (name, (caption, questions)) in enumerate(prompts.items())
      if questions
    ]
    input_faults.raise_or_report(
      faults, len(rows), files.on_error, lambda line: None, str(path)
    )
    return protocol.BenchmarkRows(rows, 'TIFA', tuple(faults))

  def score(self, rows, answers):
    """See the protocol; `values` has the share of right answers by type."""
    means, kinds = {}, {}
    for row in rows:
      own = answers.get(row.files[0])
      if not own:
        continue
      right = [float(own.get(q['id']) == q['answer']) for q in row.questions]
      means[row.id] = 100 * sum(right) / len(right)
      for question, value in zip(row.questions, right, strict=True):
        kinds.setdefault(str(question['element_type']), []).append(value)
    if not means:
      return []
    headline = sum(means.values()) / len(means)
    values = {'TIFA': headline} | {
      kind: 100 * sum(right) / len(right)
      for kind, right in sorted(kinds.items())
    }
    return [protocol.Scores('judge', headline, '%', values, means)]
