"""Arms of a comparison: each a way to learn, all from the same candidates.

The base model writes captions and draws images of the inputs of the first
round once for each seed. Every arm makes its pairs of these, learns from the
base model with the same order and masks, and is measured on the same scenes.
An arm of several rounds goes on by itself, as `self_play` does. All files are
those of `self_play`, so what was stopped goes on.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import time
import typing

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import round_state
from hermesflow_jax.self_play import rounds

SELF, JUDGE = 'self', 'judge'
# What an evaluation and a curation leave; the last of each is its seal.
_EVALUATION = ('scenes.jsonl', 'scenes.npz', 'evaluation.json')
_CURATION = ('codes.npz', 'pairs.jsonl', 'curation.json')
# What the base model's candidates and scores depend on.
_COMMON = (
  'captions',
  'caption_scorer',
  'caption_prompt',
  'free_answers',
  'free_prompt',
  'choice_rule',
  'curation_sampler',
  'evaluation_sampler',
  'shard',
  'seed',
)


@dataclasses.dataclass(frozen=True)
class Arm:
  """A way to learn.

  Attributes:
    name: of its folder.
    label: in tables.
    changes: settings of `play_settings.PlayConfig` that differ, nested as there.
    scorer: of the images of the first round: 'self' (the model's own
      answers), or 'judge', who knows the truth: an upper bound, no method.
    rates: learning rates that are tried for it; none: its own is taken.
  """

  name: str
  label: str
  changes: dict
  scorer: typing.Annotated[str, settings.one_of(SELF, JUDGE)] = SELF
  rates: tuple[settings.PositiveFloat, ...] = ()

  def __post_init__(self):
    settings.check(self)
    if not self.name.isidentifier():
      raise ValueError(
        f'name is {self.name!r}, wanted letters, digits and underscores'
      )

  def play(
    self, common: play_settings.PlayConfig, seed: int, lr: float | None = None
  ) -> play_settings.PlayConfig:
    """Returns what the arm plays.

    Args:
      common: what all arms have.
      seed: of this play.
      lr: the learning rate that was found; None: as it is set.

    Raises:
      ValueError: `changes` does not fit.
    """
    try:
      return self._play(common, seed, lr)
    except ValueError as error:
      raise ValueError(f'arm {self.name}: {error}') from error

  def _play(self, common, seed, lr):
    mine = settings.with_changes(common, self.changes, 'changes')
    for name in _COMMON:
      if getattr(mine, name) != getattr(common, name):
        raise ValueError(f'changes.{name}: all arms have the same')
    if mine.images > common.images:
      raise ValueError(
        f'changes.images is {mine.images}, wanted at most {common.images}, '
        'the candidates that there are'
      )
    optim = mine.optim if lr is None else dataclasses.replace(mine.optim, lr=lr)
    return dataclasses.replace(mine, seed=seed, optim=optim)


class CandidatePool:
  """The base model's scores and its candidates of the first round, of a seed.

  Args:
    base: the model.
    world: what is played with.
    config: of the plays; `images` says how many candidates there are.
    folder: where they are kept.
    console: shows progress.
  """

  def __init__(
    self,
    base: unified_model.UnifiedModel,
    world: play_settings.PlayData,
    config: play_settings.PlayConfig,
    folder: pathlib.PurePath,
    console: terminal.Console,
  ):
    self._base, self._world, self._config = base, world, config
    self._folder, self._console, self._found = folder, console, None
    evaluation_phase.evaluate(
      self._player(), world, config, folder / 'round_0', console, learned=False
    )

  def _player(self):
    """The base model, without what samplers keep of a model."""
    return dataclasses.replace(self._base)

  def _first_round(self, config, folder):
    """Returns the first round of the base model."""
    return round_state.Round(
      number=1,
      base=self._base,
      model=self._base.model,
      learned=False,
      data=self._world,
      config=config,
      folder=folder,
      console=self._console,
    )

  def found(self, images: int, scorer: str) -> candidate_generation.Candidates:
    """Returns the candidates, the first images of each caption.

    Args:
      images: of a caption, at most as many as there are.
      scorer: see `Arm`.
    """
    if self._found is None:
      self._found = curation_phase.gather_candidates(
        self._first_round(self._config, self._folder / 'round_1'),
        self._player(),
      )
    scores, codes = self._found.image_scores, self._found.codes[:, :images]
    if scorer == JUDGE:
      questions = self._world.inputs[0].questions
      scores = judge_agreement.agreement_scores(
        self._world.judge, codes, questions
      )
    return dataclasses.replace(
      self._found,
      codes=codes,
      image_scores=scores[:, :images],
      answers=[each[:images] for each in self._found.answers],
    )

  def give(
    self,
    arm: Arm,
    play: play_settings.PlayConfig,
    folder: pathlib.PurePath,
    scored: pathlib.PurePath,
  ) -> None:
    """Lets an arm begin with what the base model has.

    Args:
      arm: says who scores.
      play: of the arm.
      folder: of the arm.
      scored: the evaluation of the base that it is compared with.
    """
    copy_files(scored, folder / 'round_0', _EVALUATION)
    if (folder / 'round_1' / _CURATION[-1]).exists():
      return
    # Arms that make the same pairs share them.
    rules = '_'.join(
      f'{value:g}'
      for value in (play.images, play.rules.least_win, play.rules.least_margin)
    )
    shared = self._folder / 'pairs' / f'{arm.scorer}_{rules}'
    if not (shared / _CURATION[-1]).exists():
      began = time.perf_counter()
      curation_phase.make_pairs(
        self._first_round(play, shared),
        self.found(play.images, arm.scorer),
        {},
        began,
        self.found(play.images, SELF).image_scores,
      )
    copy_files(shared, folder / 'round_1', _CURATION)


def copy_files(
  source: pathlib.PurePath, target: pathlib.PurePath, names
) -> None:
  """Copies files in order, unless the last is there."""
  if not (target / names[-1]).exists():
    for name in names:
      output_files.write_atomically(target / name, (source / name).read_bytes())


def reuse_first_round(
  source: pathlib.PurePath,
  target: pathlib.PurePath,
  base: unified_model.UnifiedModel,
) -> None:
  """Gives an arm what it has learned in its first round already, elsewhere.

  Metrics and adapters stay with the source. Of one that is damaged the arm has
  nothing, and learns it.

  Args:
    source: folder of the same arm, with the same seed and rate.
    target: folder of the arm.
    base: says the shapes.
  """
  there, here = (at / 'checkpoints' / '1' for at in (source, target))
  if not checkpoint.exists(here):
    try:
      learned, notes = trained_model.restore_parts(str(there), base)
    except read_errors.Damaged:
      return
    notes.pop(trained_model.KEY, None)
    checkpoint.remove(here)
    trained_model.save_model(
      str(here), dataclasses.replace(base, model=learned), '', notes
    )


def run_arm(
  base: unified_model.UnifiedModel,
  world: play_settings.PlayData,
  pool: CandidatePool,
  arm: Arm,
  play: play_settings.PlayConfig,
  folder: pathlib.PurePath,
  scored: pathlib.PurePath,
  console: terminal.Console,
) -> list[dict]:
  """Plays an arm, or goes on; returns one summary a round, the base's first.

  Args:
    base: the model that it starts from.
    world: what is played with; its held-out scenes are those of `scored`.
    pool: of the first round.
    arm: which.
    play: of `arm.play`.
    folder: where.
    scored: folder of the base model's evaluation.
    console: shows progress.
  """
  pool.give(arm, play, folder, scored)
  return rounds.play_rounds(base, world, play, str(folder), console)


def best_rate(tried: Mapping[float, Mapping]) -> float:
  """Returns the learning rate after which a model answers and draws best.

  Args:
    tried: summaries of evaluations by rate.
  """
  return max(
    tried, key=lambda lr: tried[lr]['understanding'] + tried[lr]['generation']
  )
