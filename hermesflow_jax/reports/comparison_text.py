"""Cells and sentences that comparison tables and pages share.

Numbers come from the ablation job's `results.json`.
"""

from collections.abc import Iterable

from hermesflow_jax.reports import number_text

# Scores that charts show, with their colors.
CHART_COLORS = {'understanding': 'und', 'generation': 'gen'}

SIGNIFICANCE_NOTE = (
  'A star: beyond chance by a t-test at 5%, with the error over scenes and '
  'over seeds together and their degrees of freedom, and of one sign in all '
  'seeds. Of fifteen numbers that are nothing one may still have a star.'
)


def means_note(results: dict) -> str:
  """Returns which seeds and scenes the means are over."""
  seeds = ', '.join(str(seed) for seed in results['seeds'])
  return (
    f'Means over seeds {seeds} and {results["scenes"]} scenes '
    f'({results["split"]} split), or as many as a column says in brackets; ± '
    'is one standard error over scenes.' + _search_note(results)
  )


def _search_note(results) -> str:
  """Returns that all models have the same search; '' without search."""
  play = results.get('config', {}).get('self_play', {}).get('play', {})
  candidates = play.get('search', {}).get('candidates', 1)
  if candidates == 1:
    return ''
  return (
    f' Each generated image is the best of {candidates} at most '
    '(play.search), also by the base model.'
  )


def score(entry: dict) -> str:
  """Returns a score with its standard error.

  Args:
    entry: with 'value' and 'error'.
  """
  return (
    f'{number_text.decimal(entry["value"])} ± '
    f'{number_text.decimal(entry["error"])}'
  )


def score_with_se(entry: dict, name: str) -> str:
  """Returns a score with its standard error.

  Args:
    entry: with the score and, under '<name>_se', its error.
    name: score to show.
  """
  return score({'value': entry[name], 'error': entry[f'{name}_se']})


def change(entry: dict) -> str:
  """Returns a change with its standard error, and a star if it is significant.

  Args:
    entry: with 'value', 'error' and 'stands', as in
      `scene_statistics.Difference`.
  """
  return (
    f'{number_text.decimal(entry["value"], signed=True)} ± '
    f'{number_text.decimal(entry["error"])}' + ' *' * entry['stands']
  )


def mean(values: Iterable, digits: int = 0) -> str:
  """Averages the values that are not None; returns a dash for none."""
  numbers = [value for value in values if value is not None]
  if not numbers:
    return number_text.NOTHING
  return number_text.decimal(sum(numbers) / len(numbers), digits)
