"""Scores of the arms with self-verified search, beside the base model's.

The best of several images by the model's own answers is a rival of training:
it costs passes for each image, and no training. So the base model has the same
search as the arms.
"""

from collections.abc import Mapping
import dataclasses
import pathlib

from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.experiments import ablation_results
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.self_play import evaluation_phase

_BASE = 'base'


def evaluate(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  seed: int,
) -> dict[str, dict]:
  """Evaluates the base model and each arm's last round with the search.

  Evaluations that exist are read.

  Args:
    config: settings with `image_search`.
    setup: model and data.
    seed: random seed, whose arms have run.

  Returns:
    Evaluation summaries by arm name, with 'base' for the base model.
  """
  summaries = {}
  for name, number in _last_rounds(config).items():
    model = setup.base.model
    if number:
      checkpoint = setup.root / f'seed_{seed}' / name / 'checkpoints'
      model, _ = trained_model.restore_parts(
        str(checkpoint / str(number)), setup.base
      )
    play = dataclasses.replace(
      config.self_play.play, seed=seed, search=config.image_search
    )
    summaries[name] = evaluation_phase.evaluate(
      dataclasses.replace(setup.base, model=model),
      setup.data,
      play,
      _folder(setup.root, seed, name, number),
      setup.console,
      learned=number > 0,
    )
  return summaries


def results(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  search: dict,
  played: dict,
  searched: dict,
) -> dict:
  """Returns results of the seeds in `config`, with search and without.

  Args:
    config: settings; only its seeds count.
    setup: model and data.
    search: from `ablation.search_rates`.
    played: by (seed, arm name), round summaries, the base first.
    searched: by (seed, arm name), summaries from `evaluate`.
  """
  values = ablation_results.arm_results(config, setup, search, played)
  if config.searches:
    values['searched'] = rows(config, setup, searched)
  return values


def rows(
  config: ablation_settings.Settings,
  setup: ablation_settings.SharedSetup,
  searched: Mapping[tuple[int, str], Mapping],
) -> list[dict]:
  """Returns a row for each searched model: the base, then the arms.

  Args:
    config: settings; only its seeds count.
    setup: model and data.
    searched: from `evaluate`, by (seed, arm name).

  Returns:
    JSON objects: `label`, `passes` per image by seed, mean `scores`, and for
    the arms their changes since the searched `base`.
  """
  labels = {_BASE: 'base'} | {arm.name: arm.label for arm in config.arms}
  scores = {
    name: [
      scene_statistics.read_scenes(
        _folder(setup.root, seed, name, number),
        setup.data.held_out,
        setup.data.input_captions,
      )
      for seed in config.seeds
    ]
    for name, number in _last_rounds(config).items()
  }
  table = []
  for name, runs in scores.items():
    row = {
      'label': labels[name],
      'passes': [
        searched[seed, name].get('decoder_passes') for seed in config.seeds
      ],
      'scores': ablation_results.mean_scores(runs),
    }
    if name != _BASE:
      row['base'] = ablation_results.score_changes(scores[_BASE], runs)
    table.append(row)
  return table


def _last_rounds(config) -> dict[str, int]:
  return {_BASE: 0} | config.rounds


def _folder(root, seed, name, number) -> pathlib.PurePath:
  return root / f'seed_{seed}' / name / 'searched' / f'round_{number}'
