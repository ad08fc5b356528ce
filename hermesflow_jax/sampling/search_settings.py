"""Settings of self-verified search: candidates, their score, how they thin."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math
import typing

from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import maskgit

# answers: share of the model's own answers that are right.
# soft: mean probability of the right answers.
# likelihood: mean log-probability of the prompt's tokens, given the image.
SCORES = ('answers', 'soft', 'likelihood')
# Functions that fill the codes of drafts that are still masked, by name.
FILLS = {'likeliest': maskgit.likeliest, 'sampled': maskgit.sampled}


@dataclasses.dataclass(frozen=True)
class Stage:
  """A stage of thinning.

  Attributes:
    steps: steps of the sampler after which drafts are scored.
    keep: share of the candidates that go on, of those that reach the stage,
      rounded up.
  """

  steps: settings.PositiveInt
  keep: typing.Annotated[float, settings.POSITIVE, settings.between(0, 1)]

  def __post_init__(self):
    settings.check(self)


@dataclasses.dataclass(frozen=True)
class Search:
  """Settings of a search for the best of several drawings.

  Attributes:
    candidates: drawings that an image is chosen from; 1 turns the search off.
    score: ranks drawings, a member of SCORES. Only `likelihood` needs no
      questions.
    stages: stages of thinning, in the order of their steps; () draws all
      candidates to the end.
    fill: codes of a draft that are still masked, a key of FILLS.
    wave: candidates that are drawn at once; 0 for all.
    enough: score at which a prompt needs no further wave; None for none. With
      `answers` and 1.0 the chosen image is the same as without waves.

  Raises:
    ValueError: a setting is invalid, or stages are out of order.
  """

  candidates: typing.Annotated[settings.PositiveInt, settings.below(10_001)] = 1
  score: typing.Annotated[str, settings.one_of(*SCORES)] = 'likelihood'
  stages: tuple[Stage, ...] = ()
  fill: typing.Annotated[str, settings.one_of(*FILLS)] = 'likeliest'
  wave: settings.NonNegativeInt = 0
  enough: typing.Annotated[float, settings.FINITE] | None = None

  def __post_init__(self):
    settings.check(self)
    steps = [stage.steps for stage in self.stages]
    if steps != sorted(set(steps)):
      raise ValueError(
        f'stages must have increasing steps, got {steps}; put them in order'
      )
    if self.enough is not None and not self.wave:
      raise ValueError(
        f'wave must be at least 1 with enough={self.enough}, got 0: all '
        'candidates are drawn at once'
      )

  @property
  def is_on(self) -> bool:
    """Whether there is more than a single candidate."""
    return self.candidates > 1

  @property
  def needs_questions(self) -> bool:
    """Whether the score reads questions."""
    return self.is_on and self.score != 'likelihood'

  def check_sampler(
    self, sampler: maskgit.MaskGITSampler, name: str = 'search'
  ) -> None:
    """Checks that all stages are before the last step.

    Args:
      sampler: image sampler settings.
      name: setting of this search, for the error.

    Raises:
      ValueError: a stage is not.
    """
    for number, stage in enumerate(self.stages):
      if stage.steps >= sampler.steps:
        raise ValueError(
          f'{name}.stages[{number}].steps must be less than the '
          f'{sampler.steps} steps of the sampler, got {stage.steps}'
        )

  def check_questions(self, questions: Sequence[Sequence], name: str) -> None:
    """Checks that every prompt has questions, where the score needs them.

    Args:
      questions: a list of questions for each prompt.
      name: where the prompts come from, for the error.

    Raises:
      ValueError: a prompt has none.
    """
    if self.needs_questions and not all(questions):
      raise ValueError(
        f'search.score must be likelihood with {name}, where prompts have no '
        f'questions, got {self.score!r}'
      )


def waves(search: Search, images: int) -> Iterator[slice]:
  """Yields the numbers of the candidates of each wave.

  Args:
    search: the settings.
    images: number of best candidates that are chosen; a wave has at least as
      many.

  >>> list(waves(Search(8, wave=3), 1))
  [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
  """
  size = max(search.wave or search.candidates, images)
  for begin in range(0, search.candidates, size):
    yield slice(begin, min(begin + size, search.candidates))


def stages(
  search: Search, steps: int, candidates: int, images: int
) -> list[tuple[int, int, int]]:
  """Returns the stages of a wave, the last step as the last of them.

  Args:
    search: the settings.
    steps: S, steps of the sampler.
    candidates: candidates of the wave.
    images: number of best candidates that are chosen.

  Returns:
    (steps so far, candidates that reach the stage, candidates that go on). A
    stage that every candidate passes is left out.

  >>> stages(Search(8, stages=(Stage(4, 0.25), Stage(8, 0.5))), 16, 8, 1)
  [(4, 8, 2), (8, 2, 1), (16, 1, 1)]
  """
  rows, alive = [], candidates
  for stage in search.stages:
    # 1e-9: a third of three candidates is one.
    going_on = max(min(images, alive), math.ceil(stage.keep * alive - 1e-9))
    if going_on < alive:
      rows.append((stage.steps, alive, going_on))
    alive = going_on
  return [*rows, (steps, alive, min(images, alive))]


def scores_last(search: Search, images: int, going_on: int) -> bool:
  """Returns whether complete drawings of a wave are scored.

  Args:
    search: the settings.
    images: number of best candidates that are chosen.
    going_on: complete drawings of the wave.
  """
  return going_on > images or len(list(waves(search, images))) > 1


def step_passes(guided: Sequence[bool], sharing: int = 1) -> float:
  """Returns the decoder passes of an image in some steps.

  Args:
    guided: whether each step has guidance, and so two branches.
    sharing: images that share the first of these steps.

  >>> step_passes([False, True, True], sharing=2)
  4.5
  """
  branches = [2 if is_guided else 1 for is_guided in guided]
  return sum(branches) - branches[0] * (1 - 1 / sharing)


def drawing_passes(
  search: Search,
  sampler: maskgit.MaskGITSampler,
  candidates: int,
  images: int = 1,
  shares_first: bool = True,
) -> float:
  """Counts the decoder passes that draw a wave, see `decoder_passes`.

  Args:
    search: the settings.
    sampler: image sampler settings.
    candidates: candidates of the wave.
    images: number of best candidates that are chosen.
    shares_first: whether the first step is shared, as no codes are known.
  """
  guided, total, begin = sampler.guided_steps(), 0.0, 0
  for end, alive, _ in stages(search, sampler.steps, candidates, images):
    sharing = alive if begin == 0 and shares_first else 1
    total += alive * step_passes(guided[begin:end], sharing)
    begin = end
  return total


def scoring_passes(
  search: Search, steps: int, candidates: int, questions: float, images: int = 1
) -> float:
  """Counts the decoder passes that score a wave, see `decoder_passes`.

  Args:
    search: the settings.
    steps: S, steps of the sampler.
    candidates: candidates of the wave.
    questions: (mean) number of questions of a prompt.
    images: number of best candidates that are chosen.
  """
  per_score = 1 if search.score == 'likelihood' else questions
  total = 0.0
  for end, alive, going_on in stages(search, steps, candidates, images):
    is_last = end == steps
    if scores_last(search, images, alive) if is_last else going_on < alive:
      total += per_score * alive
  return total


def decoder_passes(
  search: Search,
  sampler: maskgit.MaskGITSampler,
  candidates: int,
  questions: float,
  images: int = 1,
  shares_first: bool = True,
) -> float:
  """Counts forward passes of rows through the transformer for a wave.

  A row is an image with its text. A step of the sampler costs a pass for each
  candidate, or two with guidance; the candidates of a wave share their first
  step. A score costs a pass for each candidate by likelihood, and a pass for
  each question by answers. The count is an upper bound: the questions about an
  image share its cache, so that only their own tokens are computed; and with
  an error budget candidates may be finished before the last step.

  Args:
    search: the settings.
    sampler: image sampler settings.
    candidates: candidates of the wave.
    questions: (mean) number of questions of a prompt.
    images: number of best candidates that are chosen.
    shares_first: whether the first step is shared, as no codes are known.

  >>> one = maskgit.MaskGITSampler(16, 0.5)
  >>> decoder_passes(Search(), one, 1, 0)
  32.0
  >>> decoder_passes(Search(8, 'likelihood', (Stage(4, 0.125),)), one, 8, 0)
  82.0
  """
  return drawing_passes(
    search, sampler, candidates, images, shares_first
  ) + scoring_passes(search, sampler.steps, candidates, questions, images)


def most_decoder_passes(
  search: Search, sampler: maskgit.MaskGITSampler, shares_first: bool = True
) -> float:
  """Returns the decoder passes of an image if all waves are drawn.

  Args:
    search: the settings; the score is `likelihood`.
    sampler: image sampler settings.
    shares_first: whether the first step is shared, as no codes are known.
  """
  return sum(
    decoder_passes(
      search, sampler, wave.stop - wave.start, 0, shares_first=shares_first
    )
    for wave in waves(search, 1)
  )
