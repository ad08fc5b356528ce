"""Comparison arms: changes to self-play's settings, under a name."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import typing

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings

with lazy_modules.on_first_use():
  from hermesflow_jax.self_play import play_settings

SELF, JUDGE, REAL = 'self', 'judge', 'real'
# Settings that decide the base model's candidates and scores.
_COMMON = (
  'captions',
  'caption_scorer',
  'answer_matcher',
  'encoders',
  'caption_prompt',
  'free_answers',
  'free_prompt',
  'choice_rule',
  'most_images',
  'easy_score',
  'first_images',
  'curation_sampler',
  'evaluation_sampler',
  'search',
  'shard',
  'seed',
)


@dataclasses.dataclass(frozen=True)
class Arm:
  """An arm: changes to self-play's settings, under a name.

  Attributes:
    name: folder name.
    label: name in tables.
    changes: fields that differ in `play_settings.PlayConfig`, nested alike.
    scorer: scores the images in the first round: 'self' (the model, by the
      setting `image_scorer`), 'judge', which knows the truth: an upper bound,
      no method; or 'real': the real image wins over the worst by the model.
    rates: learning rates to try; (): the rate in the settings is used.
  """

  name: str
  label: str
  changes: dict
  scorer: typing.Annotated[str, settings.one_of(SELF, JUDGE, REAL)] = SELF
  rates: tuple[settings.PositiveFloat, ...] = ()

  def __post_init__(self):
    settings.check(self)
    if not self.name.isidentifier():
      raise ValueError(
        'name must have letters, digits and underscores alone, got '
        f'{self.name!r}'
      )

  def play(
    self, common: play_settings.PlayConfig, seed: int, lr: float | None = None
  ) -> play_settings.PlayConfig:
    """Returns the arm's self-play settings.

    Args:
      common: settings that all arms share.
      seed: random seed.
      lr: learning rate from the search; None: the rate in the settings.

    Raises:
      ValueError: `changes` has an unknown or a shared setting, or a bad value.
    """
    try:
      return self._play(common, seed, lr)
    except ValueError as error:
      raise ValueError(f'arm {self.name}: {error}') from error

  def _play(self, common, seed, lr):
    play = settings.with_changes(common, self.changes, 'changes')
    for name in _COMMON:
      if getattr(play, name) != getattr(common, name):
        raise ValueError(
          f'changes.{name} must be the same for all arms: they share candidates'
        )
    if play.images > common.images:
      raise ValueError(
        f'changes.images must be at most {common.images}, the candidates of '
        f'all arms, got {play.images}'
      )
    waves = max(common.most_images, common.first_images)
    if waves and play.images != common.images:
      raise ValueError(
        f'changes.images must be {common.images} with most_images or '
        f'first_images, got {play.images}: they share candidates'
      )
    optim = play.optim
    if lr is not None:
      optim = dataclasses.replace(optim, lr=lr)
    return dataclasses.replace(play, seed=seed, optim=optim)


def best_rate(summaries: Mapping[float, Mapping]) -> float:
  """Returns the learning rate with the best understanding plus generation.

  Args:
    summaries: evaluation summaries by learning rate.
  """
  return max(
    summaries,
    key=lambda rate: (
      summaries[rate]['understanding'] + summaries[rate]['generation']
    ),
  )
