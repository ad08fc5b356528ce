"""Settings for the ablation: arms, seeds and sweeps."""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import pathlib
import typing

from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal

with lazy_modules.on_first_use():
  from hermesflow_jax.curation import candidate_scores
  from hermesflow_jax.experiments import arm_runs
  from hermesflow_jax.experiments import comparison_arms
  from hermesflow_jax.jobs import pair_dpo
  from hermesflow_jax.sampling import search_settings
  from hermesflow_jax.sampling import unified_model
  from hermesflow_jax.self_play import play_settings


@dataclasses.dataclass(frozen=True)
class Point:
  """A value of a sweep's setting, and the arm that has it.

  Attributes:
    at: the value, as the table shows it.
    arm: arm name.
    round: the arm's scores after this round count.
  """

  at: str
  arm: str
  round: int = 1


@dataclasses.dataclass(frozen=True)
class Sweep:
  """A table of arms that differ in one setting.

  Attributes:
    title: table title.
    points: table rows, in order.
  """

  title: str
  points: tuple[Point, ...]


@dataclasses.dataclass(frozen=True)
class Settings:
  """Job settings.

  Attributes:
    command: command that starts the job, for the page.
    variant: config variant.
    self_play: settings that all arms share. `play.images` counts the images
      for each caption, `play.rounds` the rounds with inputs.
    seeds: S different seeds.
    arms: arms, in table order.
    against: arm name; others are compared with this arm after equally many
      rounds.
    sweeps: tables of arms that differ in one setting.
    search_scenes: number of scenes from the preference split on which the
      first seed's scores choose each arm's learning rate.
    image_search: search with which the base model and each arm's last round
      are evaluated once more; None or a single candidate: not at all.
  """

  command: str = settings.may_change_on_resume()
  variant: str
  self_play: pair_dpo.Settings
  seeds: tuple[int, ...]
  arms: tuple[comparison_arms.Arm, ...]
  against: str
  sweeps: tuple[Sweep, ...]
  search_scenes: typing.Annotated[int, settings.at_least(2)]
  image_search: search_settings.Search | None = None

  def __post_init__(self):
    settings.check(self)
    check_seeds(self.seeds)
    for arm in self.arms:
      play = arm.play(self.self_play.play, self.seeds[0])
      if play.rounds > self.self_play.play.rounds:
        raise ValueError(
          f'rounds of arm {arm.name} must be at most '
          f'{self.self_play.play.rounds}, the rounds with inputs, got '
          f'{play.rounds}'
        )
    names = [arm.name for arm in self.arms]
    if len(set(names)) < len(names):
      raise ValueError(
        f'names of arms must differ, got {", ".join(sorted(names))}'
      )
    if self.searches:
      # A run compares them only after all arms of a seed.
      self.image_search.check_sampler(
        self.self_play.play.evaluation_sampler, 'image_search'
      )
      if 'base' in names:
        raise ValueError(
          "names of arms must not be 'base' with image_search, which searches "
          f'by the base model, too, got {", ".join(names)}; rename the arm'
        )
    used = {self.against} | {
      point.arm for sweep in self.sweeps for point in sweep.points
    }
    if missing := sorted(used - set(names)):
      raise ValueError(
        f'against and sweeps must name arms, got {", ".join(missing)}'
      )
    rounds = self.rounds
    for sweep in self.sweeps:
      for point in sweep.points:
        last = rounds[point.arm]
        if not 1 <= point.round <= last:
          raise ValueError(
            f'sweep {sweep.title}: the round of arm {point.arm} must be 1 to '
            f'{last}, got {point.round}'
          )

  @property
  def searches(self) -> bool:
    """Whether models are evaluated with `image_search`, too."""
    return self.image_search is not None and self.image_search.candidates > 1

  @property
  def rounds(self) -> dict[str, int]:
    """Number of rounds by arm name."""
    return {
      arm.name: arm.play(self.self_play.play, self.seeds[0]).rounds
      for arm in self.arms
    }

  @property
  def tested(self) -> pair_dpo.Settings:
    """Settings for the learning-rate search: scenes like the inputs."""
    return dataclasses.replace(
      self.self_play, held_out_split='preference', held_out=self.search_scenes
    )


def check_seeds(seeds: tuple[int, ...]) -> None:
  """Checks the setting `seeds`.

  Raises:
    ValueError: a seed comes twice or is negative, or no seed is given.
  """
  if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
    raise ValueError(f'seeds must be different numbers from 0, got {seeds}')


@dataclasses.dataclass(frozen=True)
class SharedSetup:
  """Model and data that all arms share.

  Attributes:
    base: the base model.
    data: data with the held-out scenes for the comparison.
    tested: data with the held-out scenes for the search.
    root: job folder.
    console: shows progress.
    image_scorers: image scorers of the arms that have their own, by arm name.
  """

  base: unified_model.UnifiedModel
  data: play_settings.PlayData
  tested: play_settings.PlayData
  root: pathlib.PurePath
  console: terminal.Console
  image_scorers: Mapping[str, candidate_scores.ImageScorer | None] = (
    dataclasses.field(default_factory=dict)
  )

  def with_scorer(
    self, data: play_settings.PlayData, arm: str
  ) -> play_settings.PlayData:
    """Returns data with the image scorer of an arm.

    Args:
      data: `data` or `tested`.
      arm: arm name.
    """
    if arm not in self.image_scorers:
      return data
    return dataclasses.replace(data, image_scorer=self.image_scorers[arm])

  def pool(self, config: Settings, seed: int) -> arm_runs.CandidatePool:
    """Returns the base model's candidates with a seed."""
    play = dataclasses.replace(config.self_play.play, seed=seed)
    return arm_runs.CandidatePool(
      self.base,
      self.data,
      play,
      self.root / f'seed_{seed}' / 'base',
      self.console,
    )
