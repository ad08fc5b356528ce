"""Makes homologous preference pairs, alone or as one of several processes."""

from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import json
import pathlib

import jax

from hermesflow_jax import console as console_lib
from hermesflow_jax import curation
from hermesflow_jax import events
from hermesflow_jax import harvest
from hermesflow_jax import inference
from hermesflow_jax import sampling
from hermesflow_jax import settings
from hermesflow_jax import shards
from hermesflow_jax import storage
from hermesflow_jax import text_similarity
from hermesflow_jax.data import files
from hermesflow_jax.data import pairs_tfds
from hermesflow_jax.data import shapes_records
from hermesflow_jax.evaluation import gap
from hermesflow_jax.jobs import common
from hermesflow_jax.jobs import inputs as inputs_lib
from hermesflow_jax.jobs import start


@dataclasses.dataclass(frozen=True)
class Settings(start.Start):
  """Settings of the job.

  Attributes:
    world: the embedded world.
    files: image-caption inputs in its place; None for the embedded world.
    inputs: how many.
    images: candidates drawn per caption.
    captions: candidates written per image.
    free_answers: see `self_play.Play`.
    sampler: of the images.
    rules: what makes a pair.
    seed: of the sampling.
    shard: inputs a shard, which is what a stop may cost.
    share: which part of the shards this process makes, 0 to `shares` - 1.
    shares: among how many processes the work is divided. All write into the
      same `--workdir`; the last to end makes the pairs.
  """

  world: common.World
  files: files.Source | None
  inputs: int
  images: int
  captions: tuple[inference.Decoding, ...]
  free_answers: bool
  sampler: sampling.MaskGIT
  rules: curation.Rules
  seed: int
  shard: int
  share: int
  shares: int

  def __post_init__(self):
    super().__post_init__()
    settings.require(self, {
        'inputs': 1, 'images': 2, 'seed': 0, 'shard': 1, 'share': 0,
        'shares': 1,
    })
    if self.share >= self.shares:
      raise ValueError(
          f'share is {self.share}, wanted less than shares {self.shares}'
      )
    if len(self.captions) < 2:
      raise ValueError(
          f'captions has {len(self.captions)} samplers, wanted at least 2'
      )


def run(
    config: Settings, workdir: str, console: console_lib.Console
) -> dict | None:
  """Curates; returns what `manifest.json` holds, None if others go on."""
  path = start.located(config, console)
  data = None
  if config.files:
    files.read(config.files)
    data = files.sums(config.files)
  mesh = config.mesh.make()
  parts = start.load(config, path, mesh)
  sums = start.sums(config, path)
  common.claim(
      workdir, dataclasses.replace(config, share=0, shares=1), console,
      base=sums, data=data,
  )
  root = storage.path(workdir)
  done = root / 'manifest.json'
  if done.exists():
    console.say(
        f'this run is finished: see {root}; to start afresh, remove it or '
        'give another --workdir'
    )
    return json.loads(done.read_text())
  unified = start.unified(config, parts, mesh, console, config.free_answers)
  rows = inputs_lib.read(
      unified, config.files, config.world, 'preference', config.world.seed,
      config.inputs, str(root / 'data' / str(config.share)), console,
  )
  inputs = shapes_records.inputs(rows)
  recipe = curation.Recipe(
      config.sampler, config.images, config.captions,
      text_similarity.ngram_cosines, config.seed,
  )
  spans = list(shards.spans(len(inputs), config.shard))
  store = shards.Shards(root / 'shards', len(spans))
  there = store.count - len(store.missing())
  if there:
    console.say(f'{there} of {store.count} shards are there')
  quiet = dataclasses.replace(unified, progress=lambda label: lambda x: x)
  clock = harvest.gather(
      quiet, inputs, recipe, store, config.shard, share=config.share,
      shares=config.shares, progress=console.progress('curating'),
  )
  if clock.seconds:
    console.say(str(clock))
  missing = store.missing()
  if missing:
    console.say(
        f'this share is done; {len(missing)} of {store.count} shards are '
        "others' work"
    )
    return None
  with _alone(root):
    if done.exists():
      return json.loads(done.read_text())
    return finish(config, inputs, store, root, console)


@contextlib.contextmanager
def _alone(root: pathlib.PurePath) -> Iterator[None]:
  """Of shares that end together one is in here at a time.

  A bucket has no locks: there all may be, and write the same bytes.
  """
  if not storage.is_local(root):
    yield
    return
  with open(root / 'finish.lock', 'w', encoding='utf-8') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def finish(
    config: Settings, inputs: gap.Inputs, store: shards.Shards,
    root: pathlib.PurePath, console: console_lib.Console,
) -> dict:
  """Makes the pairs of all shards and writes them; returns the manifest."""
  ids, found = inputs.ids, harvest.collect(store, inputs, config.shard)
  pairs = curation.pairs(found, ids, config.rules, {})
  rows = [
      curation.record(name, caption, pairs[name]) | {'codes': codes.tolist()}
      for name, caption, codes in zip(ids, inputs.captions, inputs.codes)
  ]
  text = curation.dump(rows)
  events.write_atomically(root / 'pairs.jsonl', text)
  with storage.Outbox(root / 'tfds') as outbox:
    pairs_tfds.write(str(outbox.folder), rows, inputs.codes.shape[1])
  drops = curation.drops(pairs)
  written = ['pairs.jsonl', *(
      f'tfds/{name}' for name in sorted(storage.below(root / 'tfds'))
  )]
  manifest = {
      'inputs': len(ids), 'shards': store.count, 'drops': drops,
      'sha256': {
          name: events.sha256(root / name) for name in written
      },
      'jax': jax.__version__,
  }
  events.write_atomically(
      root / 'manifest.json', json.dumps(manifest, indent=1) + '\n'
  )
  for kind, counts in drops.items():
    told = ', '.join(f'{n} {why}' for why, n in sorted(counts.items()))
    console.say(f'{kind} pairs: {told}')
  console.say(f'{len(ids)} inputs in {root}')
  return manifest
