"""Results of any text are read again."""

from hermesflow_jax.jobs.setup import job_results
from hermesflow_jax.jobs.setup import job_start


def test_results_with_every_kind_of_line_end_are_read_again(tmp_path):
  """JSON keeps U+2028 and U+0085 as they are; `str.splitlines` splits there."""
  rows = [{'caption': 'a\u2028b\x85c\x1cd\n\r'}, {'caption': ''}]
  path = tmp_path / 'answers.jsonl'
  path.write_text(job_results.unicode_json_lines(rows), encoding='utf-8')
  assert job_start.read_results(path) == rows
