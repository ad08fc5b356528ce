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
from hermesflow_jax import self_play
from hermesflow_jax import settings
from hermesflow_jax import shards
from hermesflow_jax import storage
from hermesflow_jax import text as text_lib
from hermesflow_jax import text_similarity
from hermesflow_jax.data import files
from hermesflow_jax.data import official
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
    inputs: how many a round has.
    fresh_inputs: each round has its own, the next `inputs` of the source;
      otherwise all have the same.
    round: which round the pairs are for, from 1.
    before: where the pairs of the round before are: the folder of its curation,
      or of the round of a `pair_dpo` run. '' for the first round, and where no
      input comes twice.
    images: candidates drawn per caption.
    captions: candidates written per image.
    free_answers, free_prompt, choice_rule: see `inference.Answering`.
    caption_prompt: what captions are asked with.
    sampler: of the images.
    rules: what makes a pair.
    seed: of the rounds, each of which samples with another.
    shard: inputs a shard, which is what a stop may cost.
    share: which part of the shards this process makes, 0 to `shares` - 1.
    shares: among how many processes the work is divided. All write into the
      same `--workdir`; the last to end makes the pairs.
    official: the pairs are also written in the form of the official code,
      with PNG files; see `data.official`.
  """

  world: common.World
  files: files.Source | None
  inputs: int
  fresh_inputs: bool
  round: int
  before: str
  images: int
  captions: tuple[inference.Decoding, ...]
  free_answers: bool
  free_prompt: str = dataclasses.field(default='{question}', kw_only=True)
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  caption_prompt: str = dataclasses.field(
    default=text_lib.CAPTION_PROMPT, kw_only=True
  )
  sampler: sampling.MaskGIT
  rules: curation.Rules
  seed: int
  shard: int
  share: int
  shares: int
  official: bool = settings.free(default=False)

  def __post_init__(self):
    super().__post_init__()
    settings.require(
      self,
      {
        'inputs': 1,
        'images': 2,
        'seed': 0,
        'shard': 1,
        'share': 0,
        'shares': 1,
        'round': 1,
      },
    )
    if self.before and self.round == 1:
      raise ValueError(
        f"before must be '' in round 1, got {self.before!r}; give the number "
        'of a later round'
      )
    if not self.before and self.round > 1 and not self.fresh_inputs:
      raise ValueError(
        f"before must be a folder in round {self.round}, got ''; give the "
        'curation of the round before'
      )
    if self.share >= self.shares:
      raise ValueError(
        f'share is {self.share}, wanted less than shares {self.shares}'
      )
    if len(self.captions) < 2:
      raise ValueError(
        f'captions has {len(self.captions)} samplers, wanted at least 2'
      )
    text_lib.check_prompt('caption_prompt', self.caption_prompt)
    # It refuses what it cannot be made of.
    self.answering  # pylint: disable=pointless-statement

  @property
  def answering(self) -> inference.Answering:
    """How questions with choices are answered."""
    return inference.Answering(
      self.free_answers, self.free_prompt, self.choice_rule
    )

  @property
  def inputs_so_far(self) -> int:
    """How many inputs this round and those before it have together."""
    return self.inputs * (self.round if self.fresh_inputs else 1)


def run(
  config: Settings, workdir: str, console: console_lib.Console
) -> dict | None:
  """Curates; returns what `manifest.json` holds, None if others go on.

  Raises:
    ValueError: a setting, a file or the workdir cannot be used.
  """
  path = start.located(config, console)
  data = None
  if config.files:
    records = files.read(config.files)
    inputs_lib.say_surplus(
      config.files, len(records), config.inputs_so_far, console
    )
    data = files.sums(config.files)
  before, identity = {}, {}
  if config.before:
    before, identity['pairs_before'] = read_before(
      config.before, config.round - 1
    )
  mesh = config.mesh.make()
  parts = start.load(config, path, mesh)
  sums = start.sums(config, path)
  common.claim(
    workdir,
    dataclasses.replace(config, share=0, shares=1),
    console,
    base=sums,
    data=data,
    **identity,
    **start.answers(parts.text),
  )
  root = storage.path(workdir)
  done = root / 'manifest.json'
  if done.exists():
    console.say(
      f'this run is finished: see {root}; to start afresh, remove it or '
      'give another --workdir'
    )
    return json.loads(done.read_text())
  unified = start.unified(
    config, parts, mesh, console, config.answering, config.caption_prompt
  )
  rows = inputs_lib.read(
    unified,
    config.files,
    config.world,
    'preference',
    config.world.seed,
    config.inputs_so_far,
    str(root / 'data' / str(config.share)),
    console,
  )
  # Those of earlier rounds come first, and are none of this round's.
  first = config.inputs_so_far - config.inputs
  inputs = shapes_records.inputs(rows).part(slice(first, None))
  same = config.before and not config.fresh_inputs
  if same and before.keys().isdisjoint(inputs.ids):
    raise ValueError(
      f'before must hold pairs of the same inputs, got {config.before}, '
      'which has none of their ids; give the curation of the round before'
    )
  recipe = curation.Recipe(
    config.sampler,
    config.images,
    config.captions,
    text_similarity.ngram_cosines,
    config.seed + config.round,
  )
  spans = list(shards.spans(len(inputs), config.shard))
  store = shards.Shards(root / 'shards', len(spans))
  there = store.count - len(store.missing())
  if there:
    console.say(f'{there} of {store.count} shards are there')
  clock = harvest.gather(
    unified,
    inputs,
    recipe,
    store,
    config.shard,
    share=config.share,
    shares=config.shares,
    progress=console.progress('curating'),
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
    return finish(config, inputs, before, store, root, console, unified)


def read_before(folder: str, number: int) -> tuple[dict, str]:
  """Returns the pairs of a round before, by id, and the SHA-256 of their file.

  Args:
    folder: of a curation, or of a round of a `pair_dpo` run.
    number: of the round before.

  Raises:
    ValueError: there are no pairs, or they are damaged, or of another round.
  """
  root = storage.path(folder)
  try:
    content = events.sha256(root / 'pairs.jsonl')
    pairs = self_play.read_pairs(root)
  except (*storage.failures(), ValueError, KeyError, TypeError) as error:
    raise ValueError(
      'before must be the folder of a curation, or of a round such as '
      f'runs/pair_dpo/round_1, got {folder}: {error}'
    ) from error
  manifest = root / 'manifest.json'
  if manifest.exists():
    facts = json.loads(manifest.read_text())
    if content != facts['sha256']['pairs.jsonl']:
      raise ValueError(f'{root / "pairs.jsonl"} is damaged')
    if facts.get('round', 1) != number:
      raise ValueError(
        f'before must hold the pairs of round {number}, got {folder} of '
        f'round {facts.get("round", 1)}'
      )
  return pairs, content


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
  config: Settings,
  inputs: gap.Inputs,
  before: dict,
  store: shards.Shards,
  root: pathlib.PurePath,
  console: console_lib.Console,
  unified: inference.Unified,
) -> dict:
  """Makes the pairs of all shards and writes them; returns the manifest."""
  ids, found = inputs.ids, harvest.collect(store, inputs, config.shard)
  pairs = curation.pairs(found, ids, config.rules, before)
  rows = [
    curation.record(name, caption, pairs[name]) | {'codes': codes.tolist()}
    for name, caption, codes in zip(ids, inputs.captions, inputs.codes)
  ]
  text = curation.dump(rows)
  events.write_atomically(root / 'pairs.jsonl', text)
  with storage.Outbox(root / 'tfds') as outbox:
    pairs_tfds.write(str(outbox.folder), rows, inputs.codes.shape[1])
  if config.official:
    known = config.files and official.about(files.read(config.files))
    official.write(root, inputs, pairs, unified.decode, known, console.say)
  drops = curation.drops(pairs)
  written = [
    'pairs.jsonl',
    *(f'tfds/{name}' for name in sorted(storage.below(root / 'tfds'))),
  ]
  manifest = {
    'round': config.round,
    'inputs': len(ids),
    'shards': store.count,
    'drops': drops,
    'sha256': {name: events.sha256(root / name) for name in written},
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
