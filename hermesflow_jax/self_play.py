"""The rounds of self-play: curate, learn by Pair-DPO, evaluate, again.

Every phase is a function of what earlier phases wrote, and its own result
appears at once and whole. So a run that is stopped anywhere goes on at the
phase it had reached, and ends with the same numbers.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import time

import numpy as np

from hermesflow_jax import agreement
from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import curation
from hermesflow_jax import events
from hermesflow_jax import harvest
from hermesflow_jax import inference
from hermesflow_jax import learning
from hermesflow_jax import pictures
from hermesflow_jax import processes
from hermesflow_jax import sampling
from hermesflow_jax import settings
from hermesflow_jax import shards
from hermesflow_jax import storage
from hermesflow_jax import trained
from hermesflow_jax.evaluation import gap


# Inputs whose samples are looked at while a round learns.
_SAMPLES = 4
# The judge of files is the model that the rounds start from.
BASE_MODEL = 'base model'
_SAME_CANDIDATES = (
  'The judge is the model that drew and scored these images, so how far the '
  'two agree is not measured.'
)
_SAME_IMAGES = (
  'The base model judges its own images: generation is its own score of '
  'them, so own_score is left out.'
)


@dataclasses.dataclass(frozen=True)
class Play(learning.Learning):
  """What a round does; see `learning.Learning` for how it learns.

  Attributes:
    rounds: R.
    images: candidates drawn per caption.
    captions: candidates written per image.
    free_answers, free_prompt, choice_rule: see `inference.Answering`.
    shard: inputs that are curated at once: what a stop may cost.
    curation_sampler: of the candidates.
    evaluation_sampler: of the one judged image.
    rules: what makes a pair.
    reference: 'round' (the model that the round starts from) or 'base'.
  """

  rounds: int = settings.free()
  images: int
  captions: tuple[inference.Decoding, ...]
  free_answers: bool
  free_prompt: str = dataclasses.field(default='{question}', kw_only=True)
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  shard: int
  curation_sampler: sampling.MaskGIT
  evaluation_sampler: sampling.MaskGIT
  rules: curation.Rules
  reference: str

  def __post_init__(self):
    super().__post_init__()
    if self.reference not in ('round', 'base'):
      raise ValueError(
        f"reference is {self.reference!r}, wanted 'round' or 'base'"
      )
    settings.require(self, {'rounds': 1, 'images': 2, 'shard': 1})
    # It refuses what it cannot be made of.
    self.answering  # pylint: disable=pointless-statement
    if len(self.captions) < 2:
      raise ValueError(
        f'captions has {len(self.captions)} samplers, wanted at least 2'
      )

  @property
  def answering(self) -> inference.Answering:
    """How questions with choices are answered."""
    return inference.Answering(
      self.free_answers, self.free_prompt, self.choice_rule
    )


@dataclasses.dataclass(frozen=True)
class World:
  """What the rounds play with.

  Attributes:
    inputs: for preferences, of each round. Where a round meets an input of
      the round before again, the rule of rounds makes its pair.
    held_out: for evaluation.
    judge: of generated images; for evaluation and diagnostics, and for the
      arm of `jobs.ablation` that is scored by it.
    judged_by: the name of the judge; BASE_MODEL for the model that the rounds
      start from.
    similarity: text scorer.
    unseen: more inputs for evaluation, or some of `held_out`, whose captions no
      input of a round has; None for none.
    publish: (folder of a round, inputs, pairs, decode) -> None; writes the
      pairs for other programs, None for nothing. See `data.official.write`.
  """

  inputs: Sequence[gap.Inputs]
  held_out: gap.Inputs
  judge: gap.Judge
  judged_by: str
  similarity: Callable
  unseen: gap.Inputs | None = None
  publish: Callable | None = None

  @functools.cached_property
  def input_captions(self) -> frozenset[str]:
    """The captions of the inputs of all rounds."""
    return frozenset(c for inputs in self.inputs for c in inputs.captions)

  def judges_itself(self, learned: bool) -> bool:
    """Returns whether the judge is the model that is judged.

    Args:
      learned: whether the model has learned anything since the base model.
    """
    return self.judged_by == BASE_MODEL and not learned


def play(
  base: inference.Unified,
  world: World,
  config: Play,
  workdir: str,
  console: console_lib.Console,
  source: str = '',
) -> list[dict]:
  """Runs or resumes the rounds; returns one summary per round, base first.

  Writes `round_<r>/` with the pairs (`pairs.jsonl`, `codes.npz`), what was
  curated and dropped (`curation.json`), training metrics, what `evaluated`
  writes, and `checkpoints/<r>`, a trained model (trained.py) whose record names
  `source`, the model that the rounds started from.
  """

  def playing(model, number):
    # Not kept while a round learns: what samplers want of a model is as large.
    return dataclasses.replace(
      base,
      model=model,
      progress=console_lib.named(base.progress, f'round {number}'),
    )

  root = storage.path(workdir)
  summaries = [
    evaluated(
      playing(base.model, 0),
      world,
      config,
      root / 'round_0',
      console,
      learned=False,
    )
  ]
  say_round(console, 0, summaries[0])
  model, steps = base.model, 0
  for number in range(1, config.rounds + 1):
    folder = root / f'round_{number}'
    inputs = world.inputs[number - 1]
    pairs, made = _curated(
      playing(model, number),
      world,
      inputs,
      config,
      root,
      number,
      console,
      learned=steps > 0,
    )
    if world.publish:
      decode = playing(model, number).decode
      world.publish(folder, inputs, pairs, decode)
    reference = base.model if config.reference == 'base' else model
    model, learned = _trained(
      model,
      reference,
      base,
      inputs,
      pairs,
      config,
      root,
      number,
      console,
      source,
    )
    steps += learned['steps']
    summary = evaluated(
      playing(model, number), world, config, folder, console, learned=steps > 0
    )
    summary['round'] = number
    summary['curation'] = made
    summary['learned'] = {k: learned[k] for k in ('inputs', 'steps')}
    summary['seconds'] |= {
      'curation': made['seconds'],
      'training': learned['seconds'],
    }
    summaries.append(summary)
    say_round(console, number, summary)
  summaries[0]['round'] = 0
  return summaries


def say_round(console, number, summary):
  """Prints one line of results."""
  line = f'round {number}: {_scores_in_words(summary)}'
  if unseen := summary.get('unseen'):
    line += f'; where no input has the caption: {_scores_in_words(unseen)}'
  console.say(line)


def _scores_in_words(summary):
  return ', '.join(
    f'{name} {summary[name]:.3f} +- {summary[name + "_se"]:.3f}'
    for name in ('understanding', 'generation', 'gap')
  )


def _npz(**arrays) -> bytes:
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()


def _json(value) -> str:
  return json.dumps(value, indent=1, allow_nan=False) + '\n'


def evaluated(
  player: inference.Unified,
  world: World,
  config: Play,
  folder: pathlib.PurePath,
  console: console_lib.Console,
  learned: bool = True,
) -> dict:
  """Evaluates a model once; later calls read the file.

  Writes `scenes.jsonl` and `scenes.npz`, the same of the unseen captions as
  `scenes_unseen`, then `evaluation.json`, the summary. Where a run plays more
  rounds than it did, new inputs may have captions that were unseen before:
  then the unseen captions are evaluated again, and the rest is kept.

  Args:
    player: the model.
    world: has the inputs and the judge.
    config: says how images are drawn.
    folder: of the files.
    console: hears what is read.
    learned: whether the player is another model than the base.
  """
  done = folder / 'evaluation.json'
  summary = processes.agreed(
    lambda: json.loads(done.read_text()) if done.exists() else None
  )
  content = _content(world.unseen)
  known = summary and (summary.get('unseen') or {}).get('content')
  if summary and known == content:
    console.say(f'{folder.name}: evaluation is there')
    return summary | _seen(world)
  began = time.perf_counter()
  judge = None if world.judges_itself(learned) else world.judge

  def measure(inputs):
    return gap.evaluate(
      player,
      inputs,
      config.evaluation_sampler,
      judge,
      world.similarity,
      config.seed,
    )

  if summary:
    console.say(
      f'{folder.name}: the captions that no input has are others than '
      'before, and are evaluated again'
    )
    seconds = summary['seconds']['evaluation']
  else:
    result, seconds = measure(world.held_out), 0.0
    _write_scenes(folder, 'scenes', result, world.held_out)
    summary = gap.summary(result, world.held_out)
    summary['judge'] = world.judged_by
    if judge is None:
      summary['note'] = _SAME_IMAGES
  summary |= _seen(world) | {'unseen': None}
  if world.unseen:
    result = _of_held_out(folder, world) or measure(world.unseen)
    _write_scenes(folder, 'scenes_unseen', result, world.unseen)
    summary['unseen'] = gap.summary(result, world.unseen)
    summary['unseen']['content'] = content
  seconds += time.perf_counter() - began
  summary['seconds'] = {'evaluation': seconds}
  events.write_atomically(done, _json(summary))
  return summary


def _seen(world):
  """How many of the held-out captions are captions of inputs, too."""
  known = world.input_captions
  return {
    'captions_also_of_inputs': sum(
      caption in known for caption in world.held_out.captions
    )
  }


def _content(inputs):
  """A hash of the names of inputs; None for no inputs."""
  if inputs is None:
    return None
  return hashlib.sha256(json.dumps(inputs.ids).encode()).hexdigest()


def _of_held_out(folder, world):
  """The result of unseen captions that are held-out ones, or None."""
  place = {name: n for n, name in enumerate(world.held_out.ids)}
  if not place.keys() >= set(world.unseen.ids):
    return None
  processes.meet()
  result = _read_scenes(folder, 'scenes', world.held_out)
  return result.select([place[name] for name in world.unseen.ids])


def _write_scenes(folder, name, result, inputs):
  """Writes what a model and its judge answered, and what it drew."""
  columns = {
    'id': inputs.ids,
    'understanding': result.understanding,
    'generation': result.generation,
    'own_score': result.own_score,
    'similarity': result.similarity,
    'caption': result.captions,
    'answers': result.answers,
    'judged': result.judged,
    'own': result.own,
  }
  columns = {
    key: values.tolist() if isinstance(values, np.ndarray) else values
    for key, values in columns.items()
    if values is not None
  }
  rows = [
    dict(zip(columns, row)) for row in zip(*columns.values(), strict=True)
  ]
  events.write_atomically(folder / f'{name}.jsonl', curation.dump(rows))
  events.write_atomically(folder / f'{name}.npz', _npz(codes=result.codes))


def _read_scenes(folder, name, inputs) -> gap.Result:
  """Returns what `_write_scenes` wrote."""
  with storage.text(folder / f'{name}.jsonl') as file:
    rows = [json.loads(line) for line in file]
  with np.load(io.BytesIO((folder / f'{name}.npz').read_bytes())) as arrays:
    codes = arrays['codes']

  def column(key):
    return [row[key] for row in rows] if key in rows[0] else None

  return gap.scored(
    inputs,
    np.array(column('similarity')),
    codes,
    column('caption'),
    column('answers'),
    column('judged'),
    column('own'),
  )


def _curated(player, world, inputs, config, root, number, console, learned):
  """Curates a round once; later calls read the files."""
  folder = root / f'round_{number}'
  done = folder / 'curation.json'
  if processes.agreed(done.exists):
    console.say(f'{folder.name}: pairs are there')
    return read_pairs(folder), json.loads(done.read_text())
  began = time.perf_counter()
  found = gathered(player, world, inputs, config, folder, number)
  before = read_pairs(root / f'round_{number - 1}') if number > 1 else {}
  return paired(
    found, world, inputs, config, before, folder, began, learned=learned
  )


def gathered(
  player: inference.Unified,
  world: World,
  inputs: gap.Inputs,
  config: Play,
  folder: pathlib.PurePath,
  number: int,
) -> curation.Candidates:
  """Returns the candidates of a round; makes those that are not there.

  Args:
    player: the model that makes them.
    world: scores captions.
    inputs: of the round.
    config: how many, and how.
    folder: of the round.
    number: of the round.
  """
  recipe = curation.Recipe(
    config.curation_sampler,
    config.images,
    config.captions,
    world.similarity,
    config.seed + number,
  )
  store = _store(folder / 'candidates', inputs, config)
  harvest.gather(
    player,
    inputs,
    recipe,
    store,
    config.shard,
    progress=player.progress('curating'),
  )
  return harvest.collect(store, inputs, config.shard)


def _store(folder, inputs, config) -> shards.Shards:
  """The shards of a round's inputs."""
  return shards.Shards(
    folder, len(list(shards.spans(len(inputs), config.shard)))
  )


def paired(
  found: curation.Candidates,
  world: World,
  inputs: gap.Inputs,
  config: Play,
  before: dict,
  folder: pathlib.PurePath,
  began: float,
  own: np.ndarray | None = None,
  learned: bool = True,
) -> tuple[dict, dict]:
  """Makes the pairs of a round and writes them; `curation.json` comes last.

  The judge is asked after the pairs are written, shard by shard: a stop there
  loses one shard of his answers.

  Args:
    found: candidates.
    world: has the judge, who is asked for what `curation.json` tells people.
    inputs: of the round.
    config: says what makes a pair, and how many inputs a shard has.
    before: the pairs of the round before, {} in the first.
    folder: of the round.
    began: when the curation did, by `time.perf_counter`.
    own: the model's own scores of images, where `found` has another's.
    learned: whether another model than the base made the candidates.

  Returns:
    (pairs by id, what `curation.json` says).
  """
  pairs = curation.pairs(found, inputs.ids, config.rules, before)
  rows = [
    curation.record(name, caption, pairs[name])
    for name, caption in zip(inputs.ids, inputs.captions)
  ]
  events.write_atomically(
    folder / 'codes.npz',
    _npz(
      real=inputs.codes,
      candidates=found.codes,
      image_scores=found.image_scores,
      caption_scores=found.caption_scores,
    ),
  )
  events.write_atomically(folder / 'pairs.jsonl', curation.dump(rows))
  made = {'drops': curation.drops(pairs)}
  if world.judges_itself(learned):
    made['note'] = _SAME_CANDIDATES
  else:
    judged = agreement.judged(
      world.judge,
      inputs,
      found.codes,
      pairs,
      _store(folder / 'judged', inputs, config),
      config.shard,
    )
    made |= agreement.measure(
      found.image_scores if own is None else own, *judged
    )
  made['seconds'] = time.perf_counter() - began
  events.write_atomically(folder / 'curation.json', _json(made))
  return pairs, made


def read_pairs(folder) -> dict:
  """Returns the pairs of a round by id."""
  with storage.text(storage.path(folder) / 'pairs.jsonl') as file:
    rows = [json.loads(line) for line in file]
  return {row['id']: curation.from_record(row) for row in rows}


def _sampling(player, inputs, config, folder):
  """state -> None; shows what it draws and writes of the first inputs."""
  first = inputs.part(slice(0, _SAMPLES))
  quiet = dataclasses.replace(player, progress=lambda label: lambda x: x)

  def sample(state):
    now = dataclasses.replace(quiet, model=state.model)
    codes = now.draw(
      first.ids, first.captions, 1, config.evaluation_sampler, config.seed
    )[:, 0]
    written = now.describe(
      first.ids, first.codes, [inference.GREEDY], config.seed
    )
    name = f'{int(state.step):06d}'
    pictures.sheet(
      folder / f'{name}.png',
      list(zip(now.decode(first.codes), now.decode(codes))),
      first.captions,
    )
    events.write_atomically(
      folder / f'{name}.jsonl',
      curation.dump(
        [
          {'id': each, 'caption': true, 'written': caption}
          for each, true, (caption,) in zip(first.ids, first.captions, written)
        ]
      ),
    )

  return sample


def _trained(
  model, reference, base, inputs, pairs, config, root, number, console, source
):
  """Trains a round once; later calls read its checkpoint and its meta.

  One that is damaged is made again from the round before; where it was made,
  with the same bits.
  """
  path = root / 'checkpoints' / str(number)
  folder = root / f'round_{number}'
  player = dataclasses.replace(base, model=model)
  if processes.agreed(lambda: checkpoint.is_there(path)):
    try:
      found, learned = trained.restore(str(path), player)
    except checkpoint.Damaged as error:
      console.say(f'{error}: {folder.name} is learned again')
    else:
      console.say(f'{folder.name}: checkpoint is there')
      _forget_steps(folder)
      return found, learned
  began = time.perf_counter()
  rows = learning.records_of(inputs, pairs, config.rules.both)
  steps = learning.steps_of(config, len(rows)) if rows else 0
  if rows:
    model = learning.learn(
      player,
      reference,
      rows,
      config,
      steps,
      folder / 'training',
      number,
      console,
      _sampling(base, inputs, config, folder / 'samples'),
    )
  else:
    console.say(f'{folder.name}: no pair was kept, nothing is learned')
  meta = {
    'round': number,
    'inputs': len(rows),
    'steps': steps,
    'seconds': time.perf_counter() - began,
  }
  # Only one that is damaged can be there.
  processes.first_does(lambda: checkpoint.remove(path))
  player = dataclasses.replace(base, model=model)
  trained.save(str(path), player, source, meta)
  _forget_steps(folder)
  return model, meta


def _forget_steps(folder):
  """Removes the checkpoints within a round that has its own."""
  processes.first_does(lambda: storage.remove(folder / 'training' / 'steps'))
