"""The page of an evaluation."""

from collections.abc import Sequence
import pathlib

from hermesflow_jax.jobs.setup import benchmark_samples
from hermesflow_jax.jobs.setup import benchmark_sets
from hermesflow_jax.reports import evaluation_page
from hermesflow_jax.runtime import output_files


def write_page(
  results: dict,
  sets: Sequence[benchmark_sets.BenchmarkSet],
  root: pathlib.PurePath,
  command: str,
) -> pathlib.PurePath:
  """Writes `report.html`, and returns its path.

  Args:
    results: content of `results.json`.
    sets: benchmarks with their rows.
    root: run folder.
    command: command that started the job; '' for none.
  """
  samples = {}
  for entry in sets:
    name = entry.benchmark.name
    folders = {
      model: root / 'predictions' / model / name
      for model in results['benchmarks'][name]['models']
    }
    samples[name] = benchmark_samples.choose(entry, folders)
  page = evaluation_page.render_page(results, samples, command)
  output_files.write_atomically(root / 'report.html', page)
  return root / 'report.html'
