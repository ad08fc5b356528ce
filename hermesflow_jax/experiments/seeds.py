"""Whole self-plays of several seeds, beside pretraining that just goes on.

One seed of self-play says little, and any further training may change a model.
So each seed has a control: the base model, pretrained on for as many steps of
as many rows at the same learning rate, and measured on the same scenes.
"""

from collections.abc import Sequence
import dataclasses
import json
import math
import pathlib

import numpy as np

from hermesflow_jax.evaluation import gap
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.experiments import pretraining_control
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    self_play: settings of one run; its seed is replaced.
    seeds: S seeds.
    control: pretraining that goes on.
  """

  self_play: pair_dpo.Settings
  seeds: tuple[int, ...]
  control: pretraining_control.Control

  def __post_init__(self):
    if not self.seeds or len(set(self.seeds)) < len(self.seeds):
      raise ValueError(f'seeds is {self.seeds}, wanted different numbers')
    if min(self.seeds) < 0:
      raise ValueError(f'seeds is {self.seeds}, wanted no negative number')


def run(config: Settings, workdir: str, console: terminal.Console) -> dict:
  """Plays each seed and its control; writes and returns `results.json`."""
  root = storage.path(workdir)
  path = job_model.locate(config.self_play, console)
  mesh = job_model.make_mesh(
    config.self_play, path, console, config.control.batches.divisor
  )
  parts = job_model.load_parts(config.self_play, path, mesh)
  # A control has as many steps as the rounds beside it.
  workdir_claim.claim_workdir(
    workdir, config, console, rounds=config.self_play.play.rounds
  )
  rows = []
  for seed in config.seeds:
    one = dataclasses.replace(
      config.self_play,
      play=dataclasses.replace(config.self_play.play, seed=seed),
    )
    console.say(f'seed {seed}')
    played = pair_dpo.run(one, str(root / f'seed_{seed}'), console)
    base = job_model.place_on_mesh(
      config.self_play,
      parts,
      mesh,
      console,
      config.self_play.play.answering,
      config.self_play.play.caption_prompt,
    )
    steps = sum(row['learned']['steps'] for row in played['rounds'][1:])
    rows.append(
      {
        'seed': seed,
        'rounds': played['rounds'],
        'seconds': played['seconds'],
        'control': pretraining_control.continue_pretraining(
          base, one, config.control, steps, root, seed, console
        ),
      }
    )
  results = {
    'seeds': rows,
    'means': mean_scores(rows),
    'changes': changes_of_seeds(root, config),
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }
  unseen = unseen_scores(rows)
  if unseen:
    results['unseen'] = {
      'means': mean_scores(unseen),
      'changes': changes_of_seeds(root, config, 'scenes_unseen'),
    }
  output_files.write_atomically(
    root / 'results.json', json.dumps(results, indent=1) + '\n'
  )
  text = seeds_table(results)
  output_files.write_atomically(root / 'table.md', text + '\n')
  console.say(text)
  return results


def unseen_scores(rows: Sequence[dict]) -> list[dict]:
  """Returns the same rows with scores on captions that no input has.

  Args:
    rows: one a seed, with `rounds` and `control`.

  Returns:
    [] where there are no such scores.
  """
  if not rows[0]['control'].get('unseen'):
    return []
  return [
    row
    | {
      'rounds': [
        summary['unseen'] | {'round': summary['round']}
        for summary in row['rounds']
      ],
      'control': row['control']['unseen'],
    }
    for row in rows
  ]


def _models(row: dict) -> dict[str, dict]:
  """Scores of a seed by the name of the model."""
  rounds = {f'round {summary["round"]}': summary for summary in row['rounds']}
  return rounds | {'control': row['control']}


def mean_scores(rows: Sequence[dict]) -> dict[str, dict]:
  """Returns mean scores over seeds by model, with errors over seeds.

  Args:
    rows: one a seed, with `rounds` and `control`.

  Returns:
    `<score>`, the mean over seeds, and `<score>_se`, its standard error over
    seeds; None of one seed, which has none.
  """
  out = {}
  for name in _models(rows[0]):
    out[name] = {}
    for score in paired_changes.SCORES:
      values = np.array([_models(row)[name][score] for row in rows])
      out[name][score] = float(values.mean())
      error = gap.standard_error(values)
      out[name][f'{score}_se'] = error if math.isfinite(error) else None
  return out


def changes_of_seeds(
  root: pathlib.PurePath, config: Settings, scenes: str = 'scenes'
) -> dict:
  """Returns paired changes since the base and since the control.

  Args:
    root: of the job.
    config: of the job.
    scenes: which of the evaluations; see `paired_changes.read_scores`.
  """

  def of(name):
    return [
      paired_changes.read_scores(root / name.format(seed), scenes)
      for seed in config.seeds
    ]

  base, control = of('seed_{}/round_0'), of('control_{}')
  out = {'control since base': paired_changes.paired_change(base, control)}
  for number in range(1, config.self_play.play.rounds + 1):
    played = of(f'seed_{{}}/round_{number}')
    out[f'round {number} since base'] = paired_changes.paired_change(
      base, played
    )
    out[f'round {number} since control'] = paired_changes.paired_change(
      control, played
    )
  return out


def seeds_table(results: dict) -> str:
  """Returns tables as Markdown: each seed's scores, their means, the changes.

  The held-out scenes come first, then those whose captions no input has. A
  star marks what stands (`scene_statistics.Difference`).
  """
  lines = _tables(results['seeds'], results['means'], results['changes'])
  if unseen := results.get('unseen'):
    rows = unseen_scores(results['seeds'])
    lines += [
      '',
      f'On {rows[0]["control"]["scenes"]} scenes whose captions no input has:',
      '',
      *_tables(rows, unseen['means'], unseen['changes']),
    ]
  return '\n'.join(lines)


def _tables(rows, means_of_models, changes_of_models):
  """The lines of three tables of one set of scenes."""
  lines = [_row('seed', 'model', *paired_changes.SCORES), _row(*['---'] * 5)]
  for row in rows:
    for name, scores in _models(row).items():
      lines.append(_row(row['seed'], name, *_cells(scores)))
  for title, table_rows, sign in (
    ('mean over seeds', means_of_models, ''),
    ('mean change', changes_of_models, '+'),
  ):
    lines += ['', _row(title, *paired_changes.SCORES), _row(*['---'] * 4)]
    for name, scores in table_rows.items():
      lines.append(_row(name, *_cells(scores, sign)))
  return lines


def _row(*cells) -> str:
  return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def _cells(scores: dict, sign: str = '') -> Sequence[str]:
  cells = []
  for name in paired_changes.SCORES:
    error = scores[f'{name}_se']
    cells.append(
      f'{scores[name]:{sign}.3f}'
      + (f' ± {error:.3f}' if error is not None else '')
      + ' *' * scores.get(f'{name}_stands', False)
    )
  return cells
