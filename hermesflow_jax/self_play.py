"""The rounds of self-play: curate, learn by Pair-DPO, evaluate, again.

Every phase is a function of what earlier phases wrote, and its own result
appears at once and whole. So a run that is stopped anywhere goes on at the
phase it had reached, and ends with the same numbers.
"""

from collections.abc import Callable, Sequence
import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Play(learning.Learning):
  """What a round does; see `learning.Learning` for how it learns.

  Attributes:
    rounds: R.
    images: candidates drawn per caption.
    captions: candidates written per image.
    free_answers: the model answers questions in its own words and the nearest
      choice counts, as in the official code; otherwise its likeliest choice.
    shard: inputs that are curated at once: what a stop may cost.
    curation_sampler: of the candidates.
    evaluation_sampler: of the one judged image.
    rules: what makes a pair.
    reference: 'round' (the model that the round starts from) or 'base'.
  """

  rounds: int
  images: int
  captions: tuple[inference.Decoding, ...]
  free_answers: bool
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
    if len(self.captions) < 2:
      raise ValueError(
          f'captions has {len(self.captions)} samplers, wanted at least 2'
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
    judged_by: the name of the judge.
    similarity: text scorer.
  """

  inputs: Sequence[gap.Inputs]
  held_out: gap.Inputs
  judge: gap.Judge
  judged_by: str
  similarity: Callable


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
  curated and dropped (`curation.json`), training metrics, `evaluation.json`
  and generated codes, and `checkpoints/<r>`, a trained model (trained.py)
  whose record names `source`, the model that the rounds started from.
  """

  def playing(model):
    # Not kept while a round learns: what samplers want of a model is as large.
    return dataclasses.replace(base, model=model)

  root = storage.path(workdir)
  summaries = [evaluated(
      playing(base.model), world, config, root / 'round_0', console
  )]
  say_round(console, 0, summaries[0])
  model = base.model
  for number in range(1, config.rounds + 1):
    folder = root / f'round_{number}'
    inputs = world.inputs[number - 1]
    pairs, made = _curated(
        playing(model), world, inputs, config, root, number, console
    )
    reference = base.model if config.reference == 'base' else model
    model, learned = _trained(
        model, reference, base, inputs, pairs, config, root, number,
        console, source,
    )
    summary = evaluated(playing(model), world, config, folder, console)
    summary['round'] = number
    summary['curation'] = made
    summary['learned'] = {k: learned[k] for k in ('inputs', 'steps')}
    summary['seconds'] |= {
        'curation': made['seconds'], 'training': learned['seconds'],
    }
    summaries.append(summary)
    say_round(console, number, summary)
  summaries[0]['round'] = 0
  return summaries


def say_round(console, number, summary):
  """Prints one line of results."""
  cells = [
      f'{name} {summary[name]:.3f} +- {summary[name + "_se"]:.3f}'
      for name in ('understanding', 'generation', 'gap')
  ]
  console.say(f'round {number}: ' + ', '.join(cells))


def _npz(**arrays) -> bytes:
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  return buffer.getvalue()


def _json(value) -> str:
  return json.dumps(value, indent=1, allow_nan=False) + '\n'


def evaluated(
    player: inference.Unified, world: World, config: Play,
    folder: pathlib.PurePath, console: console_lib.Console,
) -> dict:
  """Evaluates a model once; later calls read the file.

  Writes `scenes.jsonl` and `scenes.npz`, then `evaluation.json`, the summary.
  """
  done = folder / 'evaluation.json'
  if processes.agreed(done.exists):
    console.say(f'{folder.name}: evaluation is there')
    return json.loads(done.read_text())
  began = time.perf_counter()
  result = gap.evaluate(
      player, world.held_out, config.evaluation_sampler, world.judge,
      world.similarity, config.seed,
  )
  summary = gap.summary(result, world.held_out)
  summary['judge'] = world.judged_by
  summary['seconds'] = {'evaluation': time.perf_counter() - began}
  rows = [
      {
          'id': name, 'understanding': float(u), 'generation': float(g),
          'own_score': float(o), 'similarity': float(s), 'caption': caption,
          'answers': answers, 'judged': judged, 'own': own,
      }
      for name, u, g, o, s, caption, answers, judged, own in zip(
          world.held_out.ids, result.understanding, result.generation,
          result.own_score, result.similarity, result.captions, result.answers,
          result.judged, result.own,
      )
  ]
  events.write_atomically(folder / 'scenes.jsonl', curation.dump(rows))
  events.write_atomically(folder / 'scenes.npz', _npz(codes=result.codes))
  events.write_atomically(done, _json(summary))
  return summary


def _curated(player, world, inputs, config, root, number, console):
  """Curates a round once; later calls read the files."""
  folder = root / f'round_{number}'
  done = folder / 'curation.json'
  if processes.agreed(done.exists):
    console.say(f'{folder.name}: pairs are there')
    return read_pairs(folder), json.loads(done.read_text())
  began = time.perf_counter()
  found = gathered(player, world, inputs, config, folder, number)
  before = read_pairs(root / f'round_{number - 1}') if number > 1 else {}
  return paired(found, world, inputs, config.rules, before, folder, began)


def gathered(
    player: inference.Unified, world: World, inputs: gap.Inputs, config: Play,
    folder: pathlib.PurePath, number: int,
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
      config.curation_sampler, config.images, config.captions,
      world.similarity, config.seed + number,
  )
  count = len(list(shards.spans(len(inputs), config.shard)))
  store = shards.Shards(folder / 'candidates', count)
  harvest.gather(player, inputs, recipe, store, config.shard)
  return harvest.collect(store, inputs, config.shard)


def paired(
    found: curation.Candidates, world: World, inputs: gap.Inputs,
    rules: curation.Rules, before: dict, folder: pathlib.PurePath, began: float,
    own: np.ndarray | None = None,
) -> tuple[dict, dict]:
  """Makes the pairs of a round and writes them; `curation.json` comes last.

  Args:
    found: candidates.
    world: has the judge, who is asked for what `curation.json` tells people.
    inputs: of the round.
    rules: what makes a pair.
    before: the pairs of the round before, {} in the first.
    folder: of the round.
    began: when the curation did, by `time.perf_counter`.
    own: the model's own scores of images, where `found` has another's.

  Returns:
    (pairs by id, what `curation.json` says).
  """
  pairs = curation.pairs(found, inputs.ids, rules, before)
  rows = [
      curation.record(name, caption, pairs[name])
      for name, caption in zip(inputs.ids, inputs.captions)
  ]
  made = {'drops': curation.drops(pairs)}
  made |= agreement.measure(
      world.judge, inputs, found.codes,
      found.image_scores if own is None else own, pairs,
  )
  made['seconds'] = time.perf_counter() - began
  events.write_atomically(folder / 'codes.npz', _npz(
      real=inputs.codes, candidates=found.codes,
      image_scores=found.image_scores, caption_scores=found.caption_scores,
  ))
  events.write_atomically(folder / 'pairs.jsonl', curation.dump(rows))
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
        folder / f'{name}.png', list(zip(now.decode(first.codes), now.decode(codes))),
        first.captions,
    )
    events.write_atomically(folder / f'{name}.jsonl', curation.dump([
        {'id': each, 'caption': true, 'written': caption}
        for each, true, (caption,) in zip(first.ids, first.captions, written)
    ]))

  return sample


def _trained(
    model, reference, base, inputs, pairs, config, root, number, console,
    source,
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
        player, reference, rows, config,
        steps, folder / 'training', number, console,
        _sampling(base, inputs, config, folder / 'samples'),
    )
  else:
    console.say(f'{folder.name}: no pair was kept, nothing is learned')
  meta = {
      'round': number, 'inputs': len(rows), 'steps': steps,
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
