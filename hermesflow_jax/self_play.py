"""The rounds of self-play: curate, learn by Pair-DPO, evaluate, again.

Every phase is a function of what earlier phases wrote, and its own result
appears at once and whole. So a run that is stopped anywhere goes on at the
phase it had reached, and ends with the same numbers.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import io
import json
import math
import pathlib
import shutil
import time

import jax
import numpy as np

from hermesflow_jax import agreement
from hermesflow_jax import alignment
from hermesflow_jax import checkpoint
from hermesflow_jax import console as console_lib
from hermesflow_jax import curation
from hermesflow_jax import events
from hermesflow_jax import harvest
from hermesflow_jax import inference
from hermesflow_jax import masking
from hermesflow_jax import sampling
from hermesflow_jax import settings
from hermesflow_jax import shards
from hermesflow_jax import sharding
from hermesflow_jax import train
from hermesflow_jax.data import pipeline
from hermesflow_jax.evaluation import gap


@dataclasses.dataclass(frozen=True)
class Play:
  """What a round does.

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
    objective: the loss.
    compat: official defects to reproduce.
    mask_schedule: of the random masks in training.
    optim: the optimizer of one round.
    epochs: passes over the pairs of a round, which may end it before
      `optim.steps`; 0 for no such end.
    batch: pairs a step.
    label_rows: labels of a record whose logits are in memory at once.
    log_every: steps between two lines of metrics.
    reference: 'round' (the model that the round starts from) or 'base'.
    seed: of sampling, order and masks.
  """

  rounds: int
  images: int
  captions: tuple[inference.Decoding, ...]
  free_answers: bool
  shard: int
  curation_sampler: sampling.MaskGIT
  evaluation_sampler: sampling.MaskGIT
  rules: curation.Rules
  objective: alignment.Objective
  compat: alignment.Compat
  mask_schedule: str
  optim: train.Optim
  epochs: float
  batch: int
  label_rows: int
  log_every: int
  reference: str
  seed: int

  def __post_init__(self):
    if self.reference not in ('round', 'base'):
      raise ValueError(
          f"reference is {self.reference!r}, wanted 'round' or 'base'"
      )
    settings.require(self, {
        'rounds': 1, 'batch': 1, 'label_rows': 1, 'log_every': 1,
        'images': 2, 'seed': 0, 'epochs': 0, 'shard': 1,
    })
    if len(self.captions) < 2:
      raise ValueError(
          f'captions has {len(self.captions)} samplers, wanted at least 2'
      )
    masking.parse(self.mask_schedule)
    if self.compat.batch_sum and self.optim.accumulate > 1:
      raise ValueError('compat.batch_sum wants accumulate 1: it is no sum')
    if self.compat.plain and self.objective.fixed_masks:
      raise ValueError(
          'fixed_masks go neither with compat.score_images_as_text nor with '
          'compat.separate_drops'
      )


@dataclasses.dataclass(frozen=True)
class World:
  """What the rounds play with.

  Attributes:
    inputs: for preferences, of each round. Where a round meets an input of
      the round before again, the rule of rounds makes its pair.
    held_out: for evaluation.
    judge: of generated images; for evaluation and diagnostics only.
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
) -> list[dict]:
  """Runs or resumes the rounds; returns one summary per round, base first.

  Writes `round_<r>/` with the pairs (`pairs.jsonl`, `codes.npz`), what was
  curated and dropped (`curation.json`), training metrics, `evaluation.json`
  and generated codes, and `checkpoints/<r>`.
  """

  def playing(model):
    # Not kept while a round learns: what samplers want of a model is as large.
    return dataclasses.replace(base, model=model)

  root = pathlib.Path(workdir)
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
        console,
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
    folder: pathlib.Path, console: console_lib.Console,
) -> dict:
  """Evaluates a model once; later calls read the file.

  Writes `scenes.jsonl` and `scenes.npz`, then `evaluation.json`, the summary.
  """
  done = folder / 'evaluation.json'
  if done.exists():
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
          'similarity': float(s), 'caption': caption, 'answers': answers,
          'judged': judged,
      }
      for name, u, g, s, caption, answers, judged in zip(
          world.held_out.ids, result.understanding, result.generation,
          result.similarity, result.captions, result.answers, result.judged,
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
  if done.exists():
    console.say(f'{folder.name}: pairs are there')
    return read_pairs(folder), json.loads(done.read_text())
  began = time.perf_counter()
  recipe = curation.Recipe(
      config.curation_sampler, config.images, config.captions,
      world.similarity, config.seed + number,
  )
  count = len(list(shards.spans(len(inputs), config.shard)))
  store = shards.Shards(folder / 'candidates', count)
  harvest.gather(player, inputs, recipe, store, config.shard)
  found = harvest.collect(store, inputs, config.shard)
  before = read_pairs(root / f'round_{number - 1}') if number > 1 else {}
  pairs = curation.pairs(found, inputs.ids, config.rules, before)
  rows = [
      curation.record(name, caption, pairs[name])
      for name, caption in zip(inputs.ids, inputs.captions)
  ]
  made = {'drops': curation.drops(pairs)}
  made |= agreement.measure(world.judge, inputs, found, pairs)
  made['seconds'] = time.perf_counter() - began
  events.write_atomically(folder / 'codes.npz', _npz(
      real=inputs.codes, candidates=found.codes,
      image_scores=found.image_scores, caption_scores=found.caption_scores,
  ))
  events.write_atomically(folder / 'pairs.jsonl', curation.dump(rows))
  events.write_atomically(done, _json(made))
  return pairs, made


def read_pairs(folder) -> dict:
  """Returns the pairs of a round by id."""
  with open(pathlib.Path(folder) / 'pairs.jsonl', encoding='utf-8') as file:
    rows = [json.loads(line) for line in file]
  return {row['id']: curation.from_record(row) for row in rows}


def records_of(inputs: gap.Inputs, pairs: dict, both: bool) -> list[dict]:
  """Joins pairs with their inputs by id.

  Args:
    inputs: of the round.
    pairs: of captions and of images, by id.
    both: leave out inputs that lack one pair; otherwise those without any.
  """
  enough = any if both else all
  by_id = dict(zip(inputs.ids, zip(inputs.captions, inputs.codes)))
  rows = []
  for name, (und, gen) in pairs.items():
    if enough((und.dropped, gen.dropped)):
      continue
    caption, codes = by_id[name]
    rows.append({
        'id': name, 'caption': caption, 'codes': codes,
        'caption_win': und.win.value, 'caption_lose': und.lose.value,
        'caption_dropped': und.dropped,
        'codes_win': np.asarray(gen.win.value, np.int32),
        'codes_lose': np.asarray(gen.lose.value, np.int32),
        'image_dropped': gen.dropped,
    })
  return rows


def _trained(
    model, reference, base, inputs, pairs, config, root, number, console
):
  """Trains a round once; later calls read its checkpoint and its meta."""
  path = root / 'checkpoints' / str(number)
  folder = root / f'round_{number}'
  placed = sharding.shardings(model, base.mesh)
  if path.exists():
    console.say(f'{folder.name}: checkpoint is there')
    meta = checkpoint.meta(str(path))
    return checkpoint.restore(str(path), model, placed), meta
  began = time.perf_counter()
  rows = records_of(inputs, pairs, config.rules.both)
  optim = dataclasses.replace(
      config.optim, steps=steps_of(config, len(rows))
  )
  if rows:
    model = _optimised(
        model, reference, base, rows, config, optim, folder, number, console
    )
  else:
    console.say(f'{folder.name}: no pair was kept, nothing is learned')
  meta = {
      'round': number, 'inputs': len(rows),
      'steps': optim.steps if rows else 0,
      'seconds': time.perf_counter() - began,
  }
  checkpoint.save(str(path), model, meta)
  return model, meta


def steps_of(config: Play, records: int) -> int:
  """Returns the steps of a round: `epochs` passes, at most `optim.steps`."""
  if not config.epochs:
    return config.optim.steps
  passes = math.ceil(config.epochs * records / config.batch)
  return max(1, min(config.optim.steps, passes))


def _optimised(
    model, reference, base, rows, config, optim, folder, number, console
):
  """Returns the model after one round of Pair-DPO."""
  state = train.start_state(model, optim, base.mesh)
  objective, compat = config.objective, config.compat
  masks = dict(
      schedule=masking.parse(config.mask_schedule),
      image_tokens=model.config.image_tokens,
  )

  fit = alignment.fitted(base.vocab, base.text, base.lengths, rows)

  def arrays(drop_condition):
    return alignment.transform(
        base.vocab, base.text, base.lengths, drop_condition, compat, fit
    )

  if not compat.plain:
    make = {dropped: arrays(float(dropped)) for dropped in (False, True)}
    rng = np.random.default_rng(0)  # Nothing is left to chance.
    rows = alignment.score_reference(
        reference, rows, lambda row, dropped: make[dropped](row, rng),
        objective=objective, seed=config.seed + number, chunk=config.batch,
        rows=config.label_rows, mesh=base.mesh, **masks,
    )
    if objective.fixed_masks:
      reference = None
  batches = pipeline.batches(
      rows, arrays(objective.drop_condition), seed=config.seed + number,
      batch=config.batch, start=0, mesh=base.mesh,
  )
  loss = functools.partial(
      alignment.loss, objective=objective, reply=base.lengths.reply,
      compat=compat, rows=config.label_rows,
  )
  prepare = functools.partial(
      alignment.prepare, masks=objective.masks, **masks
  )
  key = jax.random.fold_in(jax.random.key(config.seed), number)
  step = train.make_step(loss, optim, key, base.mesh, prepare)
  # What an interrupted attempt wrote is written again.
  shutil.rmtree(folder / 'training', ignore_errors=True)
  with events.Log(str(folder / 'training')) as log:
    state = train.run(
        state, step, reference, batches, optim.steps,
        log_every=config.log_every, log=log,
        progress=console.progress(f'round {number}: learning'),
    )
  return state.model
