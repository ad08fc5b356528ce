"""The rounds of self-play: curate, learn by Pair-DPO, evaluate, again.

Every phase is a function of what earlier phases wrote, and its own result
appears at once and whole. So a run that is stopped anywhere goes on at the
phase it had reached, and ends with the same numbers.
"""

import dataclasses

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase
from hermesflow_jax.self_play import learning_phase
from hermesflow_jax.self_play import play_settings


def play_rounds(
  base: unified_model.UnifiedModel,
  world: play_settings.PlayData,
  config: play_settings.PlayConfig,
  workdir: str,
  console: terminal.Console,
  source: str = '',
) -> list[dict]:
  """Runs or resumes the rounds; returns one summary per round, base first.

  Writes `round_<r>/` with the pairs (`pairs.jsonl`, `codes.npz`), what was
  curated and dropped (`pair_selection.json`), training metrics, what `evaluated`
  writes, and `checkpoints/<r>`, a trained model (trained.py) whose record names
  `source`, the model that the rounds started from.
  """

  def playing(model, number):
    # Not kept while a round learns: what samplers want of a model is as large.
    return dataclasses.replace(
      base,
      model=model,
      progress=terminal.with_prefix(base.progress, f'round {number}'),
    )

  root = storage.path(workdir)
  summaries = [
    evaluation_phase.evaluate(
      playing(base.model, 0),
      world,
      config,
      root / 'round_0',
      console,
      learned=False,
    )
  ]
  print_round(console, 0, summaries[0])
  model, steps = base.model, 0
  for number in range(1, config.rounds + 1):
    folder = root / f'round_{number}'
    inputs = world.inputs[number - 1]
    pairs, made = curation_phase.curate(
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
    model, learned = learning_phase.learn(
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
    summary = evaluation_phase.evaluate(
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
    print_round(console, number, summary)
  summaries[0]['round'] = 0
  return summaries


def print_round(console, number, summary):
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
