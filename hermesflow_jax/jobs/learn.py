"""Learns from pairs that `curate` made, and makes none."""

from collections.abc import Sequence
import dataclasses
import json
import pathlib
import time

from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import events
from hermesflow_jax import learning
from hermesflow_jax import processes
from hermesflow_jax import storage
from hermesflow_jax import trained
from hermesflow_jax.data import pairs_tfds
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import start


@dataclasses.dataclass(frozen=True)
class Settings(start.Start, learning.Learning):
  """Settings of the job.

  Attributes:
    pairs: the folder of a curation.
    both: only inputs with both pairs are learned from.
  """

  pairs: str
  both: bool

  def __post_init__(self):
    start.Start.__post_init__(self)
    learning.Learning.__post_init__(self)
    if not self.pairs:
      raise ValueError('pairs is empty, wanted the folder of a curation')


def run(
    config: Settings, workdir: str, console: console_lib.Console
) -> dict:
  """Learns one round; writes `model/`, returns what `results.json` holds."""
  began = time.perf_counter()
  path = start.located(config, console)
  pairs = storage.path(config.pairs)
  sums = read_manifest(pairs)
  with storage.copied(pairs, sums) as folder:
    check(pairs, folder, sums)
    mesh = config.mesh.make(config.batch, config.optim.accumulate)
    parts = start.load(config, path, mesh)
    base = start.sums(config, path)
    common.claim(workdir, config, console, base=base, pairs=sums)
    root = storage.path(workdir)
    done = root / 'results.json'
    if processes.agreed(done.exists):
      console.say(
          f'this run is finished: see {root / "model"}; to start afresh, '
          f'remove {root} or give another --workdir'
      )
      return json.loads(done.read_text())
    player = start.unified(config, parts, mesh, console)
    source = pairs_tfds.source(str(folder / 'tfds'))
    rows = records(source, parts.grid[0] * parts.grid[1], config.both)
  steps = learning.steps_of(config, len(rows))
  console.say(f'{len(rows)} of {len(source)} inputs have pairs to learn from')
  model = learning.learn(
      player, player.model, rows, config, steps, root / 'training', 1, console
  )
  # One that was killed before it wrote its results may have left it.
  processes.first_does(lambda: checkpoint.remove(root / 'model'))
  trained.save(
      str(root / 'model'), dataclasses.replace(player, model=model), str(path),
      {'inputs': len(rows), 'steps': steps},
  )
  results = {
      'inputs': len(rows), 'steps': steps,
      'seconds': time.perf_counter() - began,
  }
  events.write_atomically(done, json.dumps(results, indent=1) + '\n')
  processes.first_does(lambda: storage.remove(root / 'training' / 'steps'))
  console.say(f'{steps} steps; --config.init_from={root / "model"} reads it')
  return results


def read_manifest(folder: pathlib.PurePath) -> dict[str, str]:
  """Returns the sums of a curation's dataset.

  Raises:
    ValueError: it is not there, or not finished.
  """
  try:
    found = json.loads((folder / 'manifest.json').read_text())['sha256']
    sums = {n: s for n, s in found.items() if n.startswith('tfds/')}
  except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
    raise ValueError(f'no finished curation in {folder}') from error
  if not sums:
    raise ValueError(f'the curation in {folder} has no dataset')
  return sums


def check(
    folder: pathlib.PurePath, copy: pathlib.Path, sums: dict[str, str]
) -> None:
  """Raises ValueError if files are not those that were written.

  Args:
    folder: of the curation.
    copy: where its files are read: itself, or in place of a bucket's.
    sums: of `read_manifest`.
  """
  for name, wanted in sums.items():
    if events.sha256(copy / name) != wanted:
      raise ValueError(f'{folder / name} is damaged')


def records(source: Sequence[dict], image_tokens: int, both: bool) -> list:
  """Returns the records of a dataset that can teach, by id.

  Args:
    source: of `pairs_tfds.source`.
    image_tokens: I, codes of an image.
    both: leave out inputs that lack one pair; otherwise those without any.

  Raises:
    ValueError: there is none, or its images have another number of codes.
  """
  enough = any if both else all
  rows = []
  for record in source:
    row = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in record.items()
    }
    if len(row['codes']) != image_tokens:
      raise ValueError(
          f'images of these pairs have {len(row["codes"])} codes, those of the '
          f'model {image_tokens}'
      )
    if not enough((row['caption_dropped'], row['image_dropped'])):
      rows.append(row)
  if not rows:
    raise ValueError('no input has a pair to learn from')
  return sorted(rows, key=lambda row: row['id'])
