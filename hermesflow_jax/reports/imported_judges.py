"""Scores by judges whose answers were imported, on the page of their run.

The import needs no model, so it cannot render the page again. It replaces the
part of the page between two comments.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib

import markupsafe

from hermesflow_jax.reports import html_page
from hermesflow_jax.reports import number_text
from hermesflow_jax.reports import score_tables
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage

_BEGIN, _END = '<!-- imported judges -->', '<!-- end of imported judges -->'
# Pages of earlier releases have no such part.
_LAST = '</main>'
_SHARES = ('same_answer', 'same_verdict')


def read(root: pathlib.PurePath) -> list[dict]:
  """Returns the results of imported judges that have scores of rounds.

  Args:
    root: run folder. Its files `results_<judge>.json` are read; damaged ones
      are left out.
  """
  out = []
  for name in sorted(storage.list_names(root)):
    if not (name.startswith('results_') and name.endswith('.json')):
      continue
    try:
      results = output_files.read_json(root / name, _is_complete)
    except ValueError:
      continue
    out.append(results)
  return out


def _is_complete(results: dict) -> bool:
  rows, judge = results.get('rounds'), results.get('judge')
  return (
    isinstance(judge, dict)
    and isinstance(judge.get('name'), str)
    and isinstance(rows, list)
    and bool(rows)
    and all(isinstance(row, dict) for row in rows)
  )


def render(imported: Sequence[Mapping], embedded: str) -> markupsafe.Markup:
  """Returns the part of the page, between its comments.

  Args:
    imported: from `read`.
    embedded: name of the judge of the run, which others are compared with.
  """
  text = html_page.render(
    'imported_judges.html',
    judges=[_Judge(results, embedded) for results in imported],
  )
  return markupsafe.Markup(f'{_BEGIN}\n{text}{_END}')


class _Judge:
  """An imported judge, as the template shows it.

  Attributes:
    name: name of the judge.
    prompt: how it was asked; '' if it is not known.
    table: scores of each round.
    agreement: how often it agrees with the judge of the run.
  """

  def __init__(self, results, embedded):
    self.name = results['judge']['name']
    self.prompt = str(results['judge'].get('prompt') or '')
    rows = results['rounds']
    self.table = score_tables.score_table(rows)
    self.agreement = html_page.TableContent(
      ['Round', 'Same answers', 'Same verdicts'],
      [
        [
          f'round {row.get("round")}',
          *(number_text.percent(row.get(name)) for name in _SHARES),
        ]
        for row in rows
      ],
      caption=f'Questions on which {self.name} and {embedded} agree.',
    )


def update_page(root: pathlib.PurePath) -> bool:
  """Writes the imported judges into the page of a finished run.

  Args:
    root: run folder.

  Returns:
    Whether the run has a page, and results of an import.
  """
  path, imported = root / 'report.html', read(root)
  if not imported or not path.exists():
    return False
  page = path.read_bytes().decode(errors='surrogateescape')
  part = str(render(imported, _embedded_judge(root)))
  before, begin, rest = page.partition(_BEGIN)
  if begin:
    _, _, after = rest.partition(_END)
  else:
    before, last, after = page.rpartition(_LAST)
    after = last + after
  output_files.write_atomically(
    str(path), f'{before}{part}{after}'.encode(errors='surrogateescape')
  )
  return True


def _embedded_judge(root) -> str:
  """Returns the name of the judge of the run."""
  try:
    rows = json.loads((root / 'results.json').read_bytes())['rounds']
    return str(rows[0]['judge'])
  except (OSError, ValueError, KeyError, IndexError, TypeError):
    return 'the judge of the run'
