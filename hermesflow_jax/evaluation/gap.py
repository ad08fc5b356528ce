"""Understanding, generation and the gap between them, on the same questions.

HermesFlow (arXiv 2502.12148), table 4. Understanding: the model answers
questions about the real image. Generation: the model generates an image
from the caption, and a judge answers the same questions about it.
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import processes
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import scored_images
from hermesflow_jax.sampling import search
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_similarity

# Name of the base model as judge.
BASE_MODEL = 'base model'


class Judge(Protocol):
  """Answers multiple-choice questions about generated images.

  A run takes its judge from `play_settings.PlayData.judge`, which
  `jobs.setup.job_judging` makes as the setting `judge` says. A judge with costs
  has an attribute `usage`, a `judging.usage.Usage`. `UnifiedModel.decode` turns
  codes into pixels.
  """

  def __call__(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers the questions about each image.

    Args:
      codes: int32[N, I], image codes.
      questions: N lists of TIFA records, with `question` and `choices`.

    Returns:
      N lists of answers, an answer per question; right if equal to the record's
      `answer`.
    """


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of N scenes, in [0, 1], and the answers behind them.

  Attributes:
    understanding: float[N], share of the model's answers about the real image
      that are right.
    generation: float[N], share of the judge's answers about the generated
      image that are right.
    own_score: float[N], the same share for the model's own answers. If it
      rises and `generation` does not, the model has learned to please itself.
      None if the model is the judge: the two would be equal.
    similarity: float[N], similarity of the greedy caption to the true caption.
    und_right: N lists of bools, a bool per question.
    gen_right: N lists of bools, a bool per question.
    codes: int32[N, I], generated images.
    captions: N greedy captions.
    answers: N lists, the model's answers about the real images.
    judged: N lists, the judge's answers about the generated images.
    own: N lists, the model's answers about the generated images; None if
      `own_score` is None.
    passes: float[N], decoder passes of each generated image; None without
      search.
  """

  understanding: np.ndarray
  generation: np.ndarray
  own_score: np.ndarray | None
  similarity: np.ndarray
  und_right: list[list[bool]]
  gen_right: list[list[bool]]
  codes: np.ndarray
  captions: list[str]
  answers: list[list[str]]
  judged: list[list[str]]
  own: list[list[str]] | None
  passes: np.ndarray | None = None

  def select(self, places: Sequence[int]) -> 'Result':
    """Returns the results of the scenes at these positions, in this order."""
    return input_set.select(self, places)


def evaluate(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  sampler: maskgit.MaskGITSampler,
  judge: Judge | None,
  similarity: text_similarity.Scorer,
  seed: int,
  searching: search_settings.Search = search_settings.Search(),
) -> Result:
  """Measures a model on held-out inputs.

  Args:
    unified: the model.
    inputs: N inputs, each with at least one question.
    sampler: image sampler; each caption has one image.
    judge: answers about the generated images; None: the model itself.
    similarity: caption scorer, compares greedy captions with true captions.
    seed: random seed for sampling.
    searching: search for the image of each caption; by default off.
  """
  answers = unified.answer(inputs.images, inputs.questions)
  greedy = [batched.Decoding(temperature=1.0, top_k=1)]
  captions = [
    c[0] for c in unified.describe(inputs.ids, inputs.images, greedy, seed)
  ]
  codes, passes = search.draw(
    unified,
    inputs.ids,
    inputs.captions,
    1,
    sampler,
    seed,
    searching,
    inputs.questions,
  )
  codes = codes[:, 0]
  if judge:
    judged = judge(codes, inputs.questions)
    own = unified.answer(codes, inputs.questions)
  else:
    judged, own = unified.answer(codes, inputs.questions), None
  return score_answers(
    inputs,
    _similarities(unified, inputs, captions, similarity),
    codes,
    captions,
    answers,
    judged,
    own,
    passes[:, 0] if searching.is_on else None,
  )


def _similarities(unified, inputs, captions, similarity) -> np.ndarray:
  """Returns the scores of captions, float[N]; all processes call it."""

  def score():
    images = scored_images.ScoredImages(unified, inputs.ids, inputs.codes)
    return scored_images.score_captions(
      similarity, captions, inputs.captions, images
    )

  if processes.single_process() or text_similarity.uses_devices(similarity):
    return score()
  return np.array(processes.broadcast_from_first(lambda: score().tolist()))


def score_answers(
  inputs: input_set.Inputs,
  similarity: np.ndarray,
  codes: np.ndarray,
  captions: list[str],
  answers: list[list[str]],
  judged: list[list[str]],
  own: list[list[str]] | None,
  passes: np.ndarray | None = None,
) -> Result:
  """Scores the answers of a model and a judge.

  Args:
    inputs: N inputs.
    similarity: float[N], see `Result`.
    codes: int32[N, I], generated images.
    captions: N greedy captions.
    answers: N lists, the model's answers about the real images.
    judged: N lists, the judge's answers about the generated images.
    own: N lists, the model's answers about the generated images, or None.
    passes: float[N], see `Result`; or None.
  """

  def right_answers(answers):
    return [
      input_set.correct_answers(a, q) for a, q in zip(answers, inputs.questions)
    ]

  def shares(rows):
    return np.array([np.mean(row) for row in rows])

  und, gen = right_answers(answers), right_answers(judged)
  return Result(
    understanding=shares(und),
    generation=shares(gen),
    own_score=None if own is None else shares(right_answers(own)),
    similarity=similarity,
    und_right=und,
    gen_right=gen,
    codes=codes,
    captions=captions,
    answers=answers,
    judged=judged,
    own=own,
    passes=passes,
  )


def standard_error(values: np.ndarray) -> float:
  """Returns the standard error of a mean: of float[N] independent values.

  NaN for fewer than two values.
  """
  if len(values) < 2:
    return float('nan')
  return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def summarize(result: Result, inputs: input_set.Inputs) -> dict:
  """Returns means and standard errors over scenes as JSON types.

  Args:
    result: scores of N scenes.
    inputs: the same N scenes.

  Returns:
    `<score>` and `<score>_se` for understanding, generation, gap (with the
    error of the differences scene by scene), own_score (left out if the model
    is the judge) and caption_similarity; `by_type`: scores by question type;
    `geneval`: by tag, share of images with every question right; `by_tag`:
    scores by tag, with the tag's share of the scenes; with search,
    `decoder_passes`, the mean per image.
  """
  values = {
    'understanding': result.understanding,
    'generation': result.generation,
    'gap': result.understanding - result.generation,
    'own_score': result.own_score,
    'caption_similarity': result.similarity,
  }
  out = {'scenes': len(inputs)}
  for name, scores in values.items():
    if scores is not None:
      out[name] = float(scores.mean())
      out[f'{name}_se'] = standard_error(scores)
  if result.passes is not None:
    out['decoder_passes'] = float(np.mean(result.passes))
  by_type = {}
  for questions, und, gen in zip(
    inputs.questions, result.und_right, result.gen_right
  ):
    for question, u, g in zip(questions, und, gen):
      by_type.setdefault(question['element_type'], []).append((u, g))
  out['by_type'] = {
    kind: {
      'questions': len(rows),
      'understanding': float(np.mean([u for u, _ in rows])),
      'generation': float(np.mean([g for _, g in rows])),
    }
    for kind, rows in sorted(by_type.items())
  }
  all_right = {}
  for tag, gen in zip(inputs.tags, result.gen_right):
    if tag:
      all_right.setdefault(tag, []).append(all(gen))
  out['geneval'] = {t: float(np.mean(v)) for t, v in sorted(all_right.items())}
  tags = np.array(inputs.tags)
  out['by_tag'] = {
    tag: {
      'scenes': int((tags == tag).sum()),
      'share': float((tags == tag).mean()),
      **{
        name: float(values[name][tags == tag].mean())
        for name in ('understanding', 'generation', 'gap')
      },
    }
    for tag in sorted(all_right)
  }
  return out
