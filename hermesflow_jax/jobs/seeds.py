"""Whole self-plays of several seeds, beside pretraining that just goes on.

One seed of self-play says little, and any further training may change a model.
So each seed has a control: the base model, pretrained on for as many steps of
as many rows at the same learning rate, and measured on the same scenes.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import math
import pathlib
import time

import jax
import numpy as np

from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import inference
from hermesflow_jax import loop
from hermesflow_jax import masking
from hermesflow_jax import pretraining
from hermesflow_jax import resumable
from hermesflow_jax import self_play
from hermesflow_jax import settings
from hermesflow_jax import storage
from hermesflow_jax import train
from hermesflow_jax import trained
from hermesflow_jax.data import shapes_records
from hermesflow_jax.evaluation import changes
from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import start


@dataclasses.dataclass(frozen=True)
class Control:
  """Pretraining that goes on.

  Attributes:
    scenes: of the train split.
    batches: rows of each flow.
    mixture: of the flows.
  """

  scenes: int
  batches: pretraining.Batches
  mixture: pretraining.Mixture

  def __post_init__(self):
    settings.require(self, {'scenes': 1})


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
  control: Control

  def __post_init__(self):
    if not self.seeds or len(set(self.seeds)) < len(self.seeds):
      raise ValueError(f'seeds is {self.seeds}, wanted different numbers')
    if min(self.seeds) < 0:
      raise ValueError(f'seeds is {self.seeds}, wanted no negative number')


def run(config: Settings, workdir: str, console: console_lib.Console) -> dict:
  """Plays each seed and its control; writes and returns `results.json`."""
  root = storage.path(workdir)
  path = start.located(config.self_play, console)
  mesh = start.mesh(
    config.self_play, path, console, config.control.batches.divisor
  )
  parts = start.load(config.self_play, path, mesh)
  # A control has as many steps as the rounds beside it.
  common.claim(workdir, config, console, rounds=config.self_play.play.rounds)
  rows = []
  for seed in config.seeds:
    one = dataclasses.replace(
      config.self_play,
      play=dataclasses.replace(config.self_play.play, seed=seed),
    )
    console.say(f'seed {seed}')
    played = pair_dpo.run(one, str(root / f'seed_{seed}'), console)
    base = start.unified(
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
        'control': continued(
          base, one, config.control, steps, root, seed, console
        ),
      }
    )
  results = {
    'seeds': rows,
    'means': means(rows),
    'changes': compared(root, config),
    'config': json.loads(json.dumps(dataclasses.asdict(config), default=str)),
  }
  unseen = of_unseen(rows)
  if unseen:
    results['unseen'] = {
      'means': means(unseen),
      'changes': compared(root, config, 'scenes_unseen'),
    }
  events.write_atomically(
    root / 'results.json', json.dumps(results, indent=1) + '\n'
  )
  text = table(results)
  events.write_atomically(root / 'table.md', text + '\n')
  console.say(text)
  return results


def continued(
  base: inference.Unified,
  config: pair_dpo.Settings,
  control: Control,
  steps: int,
  root: pathlib.PurePath,
  seed: int,
  console: console_lib.Console,
) -> dict:
  """Pretrains the base model on and measures it; later calls read the files.

  Args:
    base: the model that the rounds started from.
    config: of the rounds.
    control: data and mixture.
    steps: as many as all rounds took.
    root: of the job.
    seed: of the rounds.
    console: shows progress.

  Returns:
    The summary of its evaluation.
  """
  folder = root / f'control_{seed}'
  play = config.play
  optim = dataclasses.replace(play.optim, steps=max(1, steps))
  saved = folder / 'checkpoint'
  if checkpoint.is_there(saved):
    model, notes = trained.restore(str(saved), base)
    if notes.get('steps', steps) != steps:
      raise ValueError(
        f'the control in {folder} must have as many steps as the rounds, '
        f'{steps}, got {notes["steps"]}; give another --workdir for other '
        'rounds'
      )
  else:
    began = time.perf_counter()
    model = _pretrained_on(base, config, control, optim, root, seed, console)
    trained.save(
      str(saved),
      dataclasses.replace(base, model=model),
      config.init_from,
      {'seconds': time.perf_counter() - began, 'steps': steps},
    )
  world = pair_dpo.world_of(
    config, base, str(root / f'seed_{seed}' / 'data'), console
  )
  return self_play.evaluated(
    dataclasses.replace(base, model=model), world, play, folder, console
  )


def _pretrained_on(base, config, control, optim, root, seed, console):
  """Returns the base model after more steps of pretraining."""
  records = shapes_records.load(
    str(root / 'data'),
    'train',
    config.world.seed,
    control.scenes,
    config.world.jitter,
    base,
  )
  transforms = pretraining.transforms(
    base.vocab, base.text, base.lengths, control.mixture
  )

  def batches(start):
    return pretraining.batches(
      records,
      transforms,
      control.batches,
      seed=seed,
      start=start,
      mesh=base.mesh,
    )

  loss = train.bound(
    pretraining.loss,
    mixture=control.mixture,
    schedule=masking.parse(config.play.mask_schedule),
    image_tokens=base.model.config.image_tokens,
    reply=base.lengths.reply,
  )
  step = train.make_step(loss, optim, jax.random.key(seed), base.mesh)
  kind = type(config)
  state = resumable.run(
    lambda: train.start_state(base.model, optim, base.mesh),
    step,
    None,
    batches,
    loop.Pace(optim.steps, config.play.log_every, config.play.save_every),
    mesh=base.mesh,
    folder=str(root / f'control_{seed}' / 'training'),
    identity=settings.identity(kind, settings.plain(config)) | {'seed': seed},
    known=functools.partial(settings.identity, kind),
    label=f'control {seed}: pretraining',
    console=console,
  )
  return state.model


def of_unseen(rows: Sequence[dict]) -> list[dict]:
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


def means(rows: Sequence[dict]) -> dict[str, dict]:
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
    for score in changes.SCORES:
      values = np.array([_models(row)[name][score] for row in rows])
      out[name][score] = float(values.mean())
      error = gap.standard_error(values)
      out[name][f'{score}_se'] = error if math.isfinite(error) else None
  return out


def compared(
  root: pathlib.PurePath, config: Settings, scenes: str = 'scenes'
) -> dict:
  """Returns paired changes since the base and since the control.

  Args:
    root: of the job.
    config: of the job.
    scenes: which of the evaluations; see `changes.read`.
  """

  def of(name):
    return [
      changes.read(root / name.format(seed), scenes) for seed in config.seeds
    ]

  base, control = of('seed_{}/round_0'), of('control_{}')
  out = {'control since base': changes.paired(base, control)}
  for number in range(1, config.self_play.play.rounds + 1):
    played = of(f'seed_{{}}/round_{number}')
    out[f'round {number} since base'] = changes.paired(base, played)
    out[f'round {number} since control'] = changes.paired(control, played)
  return out


def table(results: dict) -> str:
  """Returns tables as Markdown: each seed's scores, their means, the changes.

  The held-out scenes come first, then those whose captions no input has. A
  star marks what stands (`scenes.Difference`).
  """
  lines = _tables(results['seeds'], results['means'], results['changes'])
  if unseen := results.get('unseen'):
    rows = of_unseen(results['seeds'])
    lines += [
      '',
      f'On {rows[0]["control"]["scenes"]} scenes whose captions no input has:',
      '',
      *_tables(rows, unseen['means'], unseen['changes']),
    ]
  return '\n'.join(lines)


def _tables(rows, means_of_models, changes_of_models):
  """The lines of three tables of one set of scenes."""
  lines = [_row('seed', 'model', *changes.SCORES), _row(*['---'] * 5)]
  for row in rows:
    for name, scores in _models(row).items():
      lines.append(_row(row['seed'], name, *_cells(scores)))
  for title, table_rows, sign in (
    ('mean over seeds', means_of_models, ''),
    ('mean change', changes_of_models, '+'),
  ):
    lines += ['', _row(title, *changes.SCORES), _row(*['---'] * 4)]
    for name, scores in table_rows.items():
      lines.append(_row(name, *_cells(scores, sign)))
  return lines


def _row(*cells) -> str:
  return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def _cells(scores: dict, sign: str = '') -> Sequence[str]:
  cells = []
  for name in changes.SCORES:
    error = scores[f'{name}_se']
    cells.append(
      f'{scores[name]:{sign}.3f}'
      + (f' ± {error:.3f}' if error is not None else '')
      + ' *' * scores.get(f'{name}_stands', False)
    )
  return cells
