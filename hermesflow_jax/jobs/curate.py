"""Makes homologous preference pairs, alone or as one of several processes."""

from collections.abc import Iterator
import contextlib
import dataclasses
import fcntl
import json
import pathlib

import jax

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import gathering
from hermesflow_jax.curation import official_pairs
from hermesflow_jax.curation import pair_dataset
from hermesflow_jax.curation import pair_files
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.curation import shards
from hermesflow_jax.data import input_set
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs.setup import job_inputs
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import workdir_claim
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import transfer
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.shapes import shape_world


@dataclasses.dataclass(frozen=True)
class Settings(job_model.ModelSettings):
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
    free_answers, free_prompt, choice_rule: see `question_answering.AnswerConfig`.
    caption_prompt: what captions are asked with.
    sampler: of the images.
    rules: what makes a pair.
    caption_scorer: key of `text_similarity.SCORERS`, scores captions.
    seed: of the rounds, each of which samples with another.
    shard: inputs a shard, which is what a stop may cost.
    share: which part of the shards this process makes, 0 to `shares` - 1.
    shares: among how many processes the work is divided. All write into the
      same `--workdir`; the last to end makes the pairs.
    official: the pairs are also written in the form of the official code,
      with PNG files; see `data.official`.
  """

  world: shape_world.World
  files: record_files.Source | None
  inputs: int
  fresh_inputs: bool
  round: int
  before: str
  images: int
  captions: tuple[batched.Decoding, ...]
  free_answers: bool
  free_prompt: str = dataclasses.field(default='{question}', kw_only=True)
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  sampler: maskgit.MaskGITSampler
  rules: pair_selection.PairRules
  caption_scorer: str = dataclasses.field(default='ngram', kw_only=True)
  seed: int
  shard: int
  share: int
  shares: int
  official: bool = settings.not_identity(default=False)

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
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    text_similarity.get_scorer(self.caption_scorer)
    # It refuses what it cannot be made of.
    self.answering  # pylint: disable=pointless-statement

  @property
  def answering(self) -> question_answering.AnswerConfig:
    """How questions with choices are answered."""
    return question_answering.AnswerConfig(
      self.free_answers, self.free_prompt, self.choice_rule
    )

  @property
  def inputs_so_far(self) -> int:
    """How many inputs this round and those before it have together."""
    return self.inputs * (self.round if self.fresh_inputs else 1)


def run(
  config: Settings, workdir: str, console: terminal.Console
) -> dict | None:
  """Curates; returns what `manifest.json` holds, None if others go on.

  Raises:
    ValueError: a setting, a file or the workdir cannot be used.
  """
  path = job_model.locate(config, console)
  data = None
  if config.files:
    records = record_files.read_records(config.files)
    job_inputs.report_unused(
      config.files, len(records), config.inputs_so_far, console
    )
    data = record_files.file_hashes(config.files)
  before, identity = {}, {}
  if config.before:
    before, identity['pairs_before'] = read_previous_round(
      config.before, config.round - 1
    )
  mesh = config.mesh.make()
  parts = job_model.load_parts(config, path, mesh)
  sums = job_model.weight_hashes(config, path)
  workdir_claim.claim_workdir(
    workdir,
    dataclasses.replace(config, share=0, shares=1),
    console,
    base=sums,
    data=data,
    **identity,
    **job_model.answer_encoding(parts.text),
  )
  root = storage.path(workdir)
  done = root / 'manifest.json'
  if done.exists():
    console.say(
      f'this run is finished: see {root}; to start afresh, remove it or '
      'give another --workdir'
    )
    return json.loads(done.read_text())
  unified = job_model.place_on_mesh(
    config, parts, mesh, console, config.answering, config.caption_prompt
  )
  rows = job_inputs.read_inputs(
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
  inputs = input_set.from_records(rows).part(slice(first, None))
  same = config.before and not config.fresh_inputs
  if same and before.keys().isdisjoint(inputs.ids):
    raise ValueError(
      f'before must hold pairs of the same inputs, got {config.before}, '
      'which has none of their ids; give the curation of the round before'
    )
  recipe = candidate_generation.CandidateConfig(
    config.sampler,
    config.images,
    config.captions,
    text_similarity.get_scorer(config.caption_scorer),
    config.seed + config.round,
  )
  spans = list(shards.shard_slices(len(inputs), config.shard))
  store = shards.Shards(root / 'shards', len(spans))
  there = store.count - len(store.missing())
  if there:
    console.say(f'{there} of {store.count} shards are there')
  clock = gathering.gather(
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
    return write_pairs(config, inputs, before, store, root, console, unified)


def read_previous_round(folder: str, number: int) -> tuple[dict, str]:
  """Returns the pairs of a round before, by id, and the SHA-256 of their file.

  Args:
    folder: of a curation, or of a round of a `pair_dpo` run.
    number: of the round before.

  Raises:
    ValueError: there are no pairs, or they are damaged, or of another round.
  """
  root = storage.path(folder)
  try:
    content = output_files.sha256(root / 'pairs.jsonl')
    pairs = pair_files.read_pairs(root)
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


def write_pairs(
  config: Settings,
  inputs: input_set.Inputs,
  before: dict,
  store: shards.Shards,
  root: pathlib.PurePath,
  console: terminal.Console,
  unified: unified_model.UnifiedModel,
) -> dict:
  """Makes the pairs of all shards and writes them; returns the manifest."""
  ids, found = inputs.ids, gathering.collect(store, inputs, config.shard)
  pairs = pair_selection.select_pairs(found, ids, config.rules, before)
  rows = [
    pair_files.pair_to_record(name, caption, pairs[name])
    | {'codes': codes.tolist()}
    for name, caption, codes in zip(ids, inputs.captions, inputs.codes)
  ]
  text = output_files.json_lines(rows)
  output_files.write_atomically(root / 'pairs.jsonl', text)
  with transfer.Outbox(root / 'tfds') as outbox:
    pair_dataset.write_dataset(str(outbox.folder), rows, inputs.codes.shape[1])
  if config.official:
    known = config.files and official_pairs.known_fields(
      record_files.read_records(config.files)
    )
    official_pairs.write_official(
      root, inputs, pairs, unified.decode, known, console.say
    )
  drops = pair_files.drop_counts(pairs)
  written = [
    'pairs.jsonl',
    *(f'tfds/{name}' for name in sorted(storage.list_files(root / 'tfds'))),
  ]
  manifest = {
    'round': config.round,
    'inputs': len(ids),
    'shards': store.count,
    'drops': drops,
    'sha256': {name: output_files.sha256(root / name) for name in written},
    'jax': jax.__version__,
  }
  output_files.write_atomically(
    root / 'manifest.json', json.dumps(manifest, indent=1) + '\n'
  )
  for kind, counts in drops.items():
    told = ', '.join(f'{n} {why}' for why, n in sorted(counts.items()))
    console.say(f'{kind} pairs: {told}')
  console.say(f'{len(ids)} inputs in {root}')
  return manifest
