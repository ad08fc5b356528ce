"""TIFA: questions about drawings, made from their prompts (arXiv 2303.11897).

The right answer is known from the prompt; a judge answers about the image.
"""

from hermesflow_jax.benchmarks import benchmark_files
from hermesflow_jax.benchmarks import protocol
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
    path = storage.path(files.path)
    captions, faults = benchmark_files.read_tifa(path)
    rows = [
      protocol.DrawingPrompt(
        name, caption, (f'{number:05d}.png',), tuple(questions), {'id': name}
      )
      for number, (name, (caption, questions)) in enumerate(captions.items())
      if questions
    ]
    return benchmark_files.checked_rows(rows, 'TIFA', faults, files, path)

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
