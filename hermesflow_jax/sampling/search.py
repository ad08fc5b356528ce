"""Self-verified search: draws several candidates and chooses the best.

With stages, drafts are scored after a few steps, and only the best of them are
drawn to the end (hierarchical thinning). With waves, a prompt whose drawing is
good enough gets no more candidates. A candidate has the random key that it has
in `UnifiedModel.draw`: if it reaches the end, it is the same image.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import early_finish
from hermesflow_jax.sampling import image_steps
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import search_scores
from hermesflow_jax.sampling import search_settings


@dataclasses.dataclass(frozen=True)
class Choice:
  """The best M candidates of N prompts, the best first.

  Attributes:
    codes: int32[N, M, I], image codes.
    numbers: int[N, M], their numbers among the candidates.
    passes: float[N], decoder passes of all candidates of a prompt, see
      `search_settings.decoder_passes`.
  """

  codes: np.ndarray
  numbers: np.ndarray
  passes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Task:
  """What a search draws, and how.

  Attributes:
    unified: a `unified_model.UnifiedModel`.
    sampler: image sampler settings.
    search: candidates, score and stages.
    captions: N texts.
    keys: uint32[N, K, 2], raw random keys of K candidates.
    questions: N lists of TIFA records; None only if the score needs none.
    known_codes: (codes int32[N, K, I], known bool[N, K, I]), codes to keep
      where known; or None.
  """

  unified: object
  sampler: maskgit.MaskGITSampler
  search: search_settings.Search
  captions: Sequence[str]
  keys: np.ndarray
  questions: Sequence[Sequence[dict]] | None = None
  known_codes: tuple[np.ndarray, np.ndarray] | None = None

  def part(self, prompts: np.ndarray, candidates: slice) -> 'Task':
    """Returns the task of some prompts int[R] and some candidates."""

    def take(values):
      return values[prompts][:, candidates]

    return dataclasses.replace(
      self,
      captions=[self.captions[n] for n in prompts],
      questions=self.questions and [self.questions[n] for n in prompts],
      keys=take(self.keys),
      known_codes=self.known_codes and tuple(map(take, self.known_codes)),
    )

  def score(self, codes: np.ndarray) -> np.ndarray:
    """Returns scores float64[N, J] of drawings int32[N, J, I]."""
    prompts = np.repeat(np.arange(len(codes)), codes.shape[1])
    scores = search_scores.score(
      self.unified,
      self.search.score,
      codes.reshape(len(prompts), -1),
      [self.captions[n] for n in prompts],
      self.questions and [self.questions[n] for n in prompts],
    )
    return scores.reshape(codes.shape[:2])


def choose(task: Task, images: int = 1) -> Choice:
  """Draws candidates, and chooses the best of each prompt.

  Args:
    task: prompts, settings and keys.
    images: M best candidates that are chosen, at most K.

  Raises:
    ValueError: a stage is behind the last step of the sampler.
  """
  task.search.check_sampler(task.sampler)
  count, candidates = task.keys.shape[:2]
  search = dataclasses.replace(task.search, candidates=candidates)
  task = dataclasses.replace(task, search=search)
  size = task.unified.grid[0] * task.unified.grid[1]
  codes = np.zeros((count, images, size), np.int32)
  numbers = np.zeros((count, images), int)
  scores = np.full((count, images), -np.inf)
  passes, active = np.zeros(count), np.arange(count)
  for wave in search_settings.waves(search, images):
    part = task.part(active, wave)
    *drawn, drawing = _draw_wave(part, images)
    passes[active] += drawing + _scoring_passes(part, images)
    # Of equal scores the first candidate wins.
    both = [
      np.concatenate([old[active], new], axis=1)
      for old, new in zip((scores, numbers, codes), drawn, strict=True)
    ]
    both[1][:, images:] += wave.start
    places = best(both[0], images)
    scores[active], numbers[active], codes[active] = (
      _take(values, places) for values in both
    )
    if search.enough is not None:
      active = active[(scores[active] < search.enough).any(1)]
    if not len(active):
      break
  return Choice(codes, numbers, passes)


def _draw_wave(task: Task, images: int):
  """Draws the candidates of a wave; thins them in stages.

  Returns:
    (scores float64[N, J], numbers int[N, J], codes int32[N, J, I]) of the
    candidates that reach the end, and the decoder passes that drew all
    candidates, float[N]. Scores are 0 where none are needed.
  """
  steps = image_steps.prepare(task.unified, task.captions, task.sampler)
  count, candidates = task.keys.shape[:2]
  numbers = np.tile(np.arange(candidates), (count, 1))
  rows = search_settings.stages(
    task.search, task.sampler.steps, candidates, images
  )
  *thinning, (last, alive, _) = rows
  if not thinning:
    codes, passes = early_finish.draw(steps, task.keys, task.known_codes)
    passes = passes.sum(1)
  else:
    # Stages compute all steps, also of candidates that are finished.
    passes = search_settings.drawing_passes(
      task.search, task.sampler, candidates, images, task.known_codes is None
    )
    fill, keys = search_settings.FILLS[task.search.fill], task.keys
    states, begin = early_finish.first_states(task.known_codes), 0
    for end, _, going_on in thinning:
      states, drafts = steps.draw_span(keys, states, (begin, end), fill)
      # Later stages have the candidates in their order.
      places = np.sort(best(task.score(drafts), going_on), axis=1)
      keys, numbers, states = (
        _take(values, places) for values in (keys, numbers, states)
      )
      begin = end
    # The last step leaves a code masked: its sampled code ends the image.
    _, codes = steps.draw_span(keys, states, (begin, last), maskgit.sampled)
  scores = np.zeros(numbers.shape)
  if search_settings.scores_last(task.search, images, alive):
    scores = task.score(codes)
  return scores, numbers, codes, passes


def _scoring_passes(task: Task, images: int) -> np.ndarray:
  """Returns float[N], the decoder passes that score a wave."""
  counts = [len(posed) for posed in task.questions or [()] * len(task.keys)]
  return np.array(
    [
      search_settings.scoring_passes(
        task.search, task.sampler.steps, task.keys.shape[1], count, images
      )
      for count in counts
    ]
  )


def best(scores: np.ndarray, count: int) -> np.ndarray:
  """Returns int[N, count], the places of the highest scores float[N, J]."""
  return np.argsort(-scores, axis=1, kind='stable')[:, :count]


def _take(values, places):
  """Returns values [N, J, ...] at places int[N, K] as [N, K, ...]."""
  return values[np.arange(len(places))[:, None], places]


def draw(
  unified,
  names: Sequence[str],
  captions: Sequence[str],
  images: int,
  sampler: maskgit.MaskGITSampler,
  seed: int,
  search: search_settings.Search,
  questions: Sequence[Sequence[dict]] | None = None,
  *,
  codes=None,
  known=None,
) -> tuple[np.ndarray, np.ndarray | None]:
  """Draws images for captions as `UnifiedModel.draw`, each the best of several.

  Image m of a caption is chosen from the candidates m, m + M, m + 2 M and so
  on; the first of them is the image without search.

  Args:
    unified: a `unified_model.UnifiedModel`.
    names: N names, from which random keys derive.
    captions: N texts.
    images: M images per caption.
    sampler: image sampler settings.
    seed: run seed.
    search: candidates per image, their score and stages.
    questions: N lists of TIFA records; None only if the score needs none.
    codes: int[N, M, I], codes to keep where `known`; or None.
    known: bool[N, M, I], positions to keep; None if `codes` is None.

  Returns:
    (image codes int32[N, M, I], decoder passes of each image float[N, M]; None
    without search, if each step of the sampler costs the same).

  Raises:
    ValueError: a stage is behind the last step of the sampler.
  """
  count, per_image = len(names), search.candidates
  if not (search.is_on or (sampler and sampler.has_fewer_passes)):
    start = {} if codes is None else {'codes': codes, 'known': known}
    return unified.draw(names, captions, images, sampler, seed, **start), None
  keys = batched.identity_keys(
    seed, [f'image/{name}' for name in names], per_image * images
  )
  if not search.is_on:
    known_codes = None if codes is None else (codes.astype(np.int32), known)
    steps = image_steps.prepare(unified, captions, sampler)
    return early_finish.draw(steps, keys, known_codes)
  keys = keys.reshape(count, per_image, images, -1).swapaxes(1, 2)
  known_codes = None
  # Without a known code, the candidates share their first step.
  if codes is not None and known.any():
    known_codes = tuple(
      np.repeat(a.reshape(count * images, 1, -1), per_image, axis=1)
      for a in (codes.astype(np.int32), known)
    )
  choice = choose(
    Task(
      unified,
      sampler,
      search,
      # The images of a caption stand one behind the other.
      [caption for caption in captions for _ in range(images)],
      keys.reshape(count * images, per_image, -1),
      questions and [posed for posed in questions for _ in range(images)],
      known_codes,
    )
  )
  return (
    choice.codes.reshape(count, images, -1),
    choice.passes.reshape(count, images),
  )
