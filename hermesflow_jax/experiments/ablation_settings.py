"""Settings of the ablation: arms, seeds and sweeps."""

import dataclasses
import pathlib
import typing

from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import play_settings


@dataclasses.dataclass(frozen=True)
class Point:
  """An arm of a sweep after a round, and the value of the setting there."""

  at: str
  arm: str
  round: int = 1


@dataclasses.dataclass(frozen=True)
class Sweep:
  """Arms that differ in one setting, in order."""

  title: str
  points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Settings of the job.

  Attributes:
    command: what started the job, for the page.
    variant: of the config.
    self_play: what all arms have; `play.images` is how many candidates there
      are, `play.rounds` for how many rounds there are inputs.
    seeds: S seeds.
    arms: in the order of the tables.
    against: the arm that the others are compared with, after as many rounds.
    sweeps: tables of arms that differ in one setting.
    search_scenes: of the preference split, on which the arms' learning rates
      are chosen, with the first seed.
  """

  command: str = settings.not_identity()
  variant: str
  self_play: pair_dpo.Settings
  seeds: tuple[int, ...]
  arms: tuple[comparison_arms.Arm, ...]
  against: str
  sweeps: tuple[Sweep, ...]
  search_scenes: typing.Annotated[int, settings.at_least(2)]

  def __post_init__(self):
    settings.check(self)
    if not self.seeds or len(set(self.seeds)) < len(self.seeds):
      raise ValueError(f'seeds is {self.seeds}, wanted different numbers')
    if min(self.seeds) < 0:
      raise ValueError(f'seeds is {self.seeds}, wanted no negative number')
    for arm in self.arms:
      play = arm.play(self.self_play.play, self.seeds[0])
      if play.rounds > self.self_play.play.rounds:
        raise ValueError(
          f'arm {arm.name} has {play.rounds} rounds, wanted at most '
          f'{self.self_play.play.rounds}, for which there are inputs'
        )
    names = [arm.name for arm in self.arms]
    if len(set(names)) < len(names):
      raise ValueError(f'arms of the same name: {", ".join(sorted(names))}')
    used = {self.against} | {
      point.arm for sweep in self.sweeps for point in sweep.points
    }
    if missing := sorted(used - set(names)):
      raise ValueError(f'no such arms: {", ".join(missing)}')
    rounds_of_arm = self.rounds
    for sweep in self.sweeps:
      for point in sweep.points:
        if not 1 <= point.round <= rounds_of_arm[point.arm]:
          raise ValueError(
            f'sweep {sweep.title}: arm {point.arm} has '
            f'{rounds_of_arm[point.arm]} '
            f'rounds, so none of number {point.round}'
          )

  @property
  def rounds(self) -> dict[str, int]:
    """How many rounds each arm plays."""
    return {
      arm.name: arm.play(self.self_play.play, self.seeds[0]).rounds
      for arm in self.arms
    }

  @property
  def tested(self) -> pair_dpo.Settings:
    """What learning rates are searched with: scenes like the inputs."""
    return dataclasses.replace(
      self.self_play, held_out_split='preference', held_out=self.search_scenes
    )


@dataclasses.dataclass(frozen=True)
class SharedSetup:
  """What all arms share.

  Attributes:
    base: the model.
    world: with the scenes of the comparison.
    tested: with those of the search.
    root: of the job.
    console: shows progress.
  """

  base: unified_model.UnifiedModel
  world: play_settings.PlayData
  tested: play_settings.PlayData
  root: pathlib.PurePath
  console: terminal.Console

  def pool(self, config: Settings, seed: int) -> comparison_arms.CandidatePool:
    """Returns the candidates of a seed."""
    play = dataclasses.replace(config.self_play.play, seed=seed)
    return comparison_arms.CandidatePool(
      self.base,
      self.world,
      play,
      self.root / f'seed_{seed}' / 'base',
      self.console,
    )
