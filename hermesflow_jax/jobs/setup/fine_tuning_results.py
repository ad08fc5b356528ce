"""Results and report of a fine-tuning run."""

from collections.abc import Mapping
import json
import pathlib

from hermesflow_jax.data import pipeline
from hermesflow_jax.reports import fine_tuning_page
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.training import fine_tuning
from hermesflow_jax.training import held_out_loss
from hermesflow_jax.training import preview_images

# Most previews on the page: their pixels are part of it.
_STEPS, _PROMPTS = 6, 12


def held_out_results(
  folder: pathlib.PurePath,
  held_out: Mapping[str, pipeline.Mixture],
  console: terminal.Console,
) -> dict:
  """Returns the held-out losses of a run, and prints the best step.

  Args:
    folder: folder of `metrics.jsonl`.
    held_out: held-out examples by task.
    console: prints the best step.

  Returns:
    {'examples': number by task, 'first', 'best', 'last': measurements of
    `held_out_loss.read_history`}; 'best' is None if no loss was finite.
  """
  history = processes.broadcast_from_first(
    lambda: held_out_loss.read_history(folder)
  )
  best, last = held_out_loss.best_measurement(history), history[-1]
  if best:
    console.say(
      f'held-out loss: lowest at step {best["step"]} of {last["step"]}, '
      f'{best["total"]:.3f}'
      + ('' if best['step'] == last['step'] else '; fewer steps are enough')
    )
  return {
    'examples': {task: len(part) for task, part in held_out.items()},
    'first': history[0],
    'best': best,
    'last': last,
  }


def write_report(
  root: pathlib.PurePath,
  config: fine_tuning.FineTuningConfig,
  results: Mapping,
  console: terminal.Console,
) -> None:
  """Writes `report.html`.

  Args:
    root: run folder.
    config: settings of the run.
    results: content of `results.json`.
    console: prints the path, and knows the command.
  """
  folder = root / 'training'
  with storage.open_text(folder / 'metrics.jsonl') as file:
    metrics = [json.loads(line) for line in file]
  measurements = held_out_loss.read_history(folder)
  prompts = config.previews.prompts[:_PROMPTS]
  drawn = []
  if prompts:
    drawn = preview_images.read_images(root / 'previews', _STEPS, len(prompts))
  page = fine_tuning_page.render_page(
    title=f'Fine-tuning: {root.name}',
    command=console.command,
    examples=results['examples'],
    metrics=metrics,
    measurements=measurements,
    best=held_out_loss.best_measurement(measurements),
    previews=[
      (prompt, [(step, images[number]) for step, images in drawn])
      for number, prompt in enumerate(prompts)
    ],
  )
  output_files.write_atomically(root / 'report.html', page)
  console.say(f'report: {root / "report.html"}')
