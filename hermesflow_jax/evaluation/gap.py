"""Understanding, generation and the gap between them, on the same questions.

HermesFlow (arXiv 2502.12148), table 4: the model answers the questions about
the real image (understanding); a judge answers them about one image that the
model generated from the caption (generation).
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model


@dataclasses.dataclass(frozen=True)
class Result:
  """Scores of each scene, in [0, 1], and what they were computed from.

  Attributes:
    understanding, generation: float[N], the share of right answers.
    own_score: float[N], the share of answers to the questions about the
      generated image that the model itself finds right; where it rises and
      `generation` does not, the model has learned to please itself. None where
      the model is the judge: the two are the same by construction.
    similarity: float[N], of the greedy caption to the true one.
    und_right, gen_right: N lists of bools, one per question.
    codes: int32[N, I], the generated images.
    captions: the greedy captions.
    answers: the model's answers about the real images.
    judged, own: the judge's and the model's answers about the generated ones;
      `own` is None where `own_score` is.
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

  def select(self, places: Sequence[int]) -> 'Result':
    """Returns the results of the scenes at these places, in this order."""
    return input_set.select(self, places)


# (codes int32[N, I] of images, N lists of questions) -> N lists of answers.
Judge = Callable[[np.ndarray, Sequence[Sequence[dict]]], list[list[str]]]


def evaluate(
  unified: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  sampler: maskgit.MaskGITSampler,
  judge: Judge | None,
  similarity: Callable[[Sequence[str], Sequence[str]], np.ndarray],
  seed: int,
) -> Result:
  """Measures a model on held-out inputs.

  Args:
    unified: the model.
    inputs: N inputs; each with at least one question.
    sampler: how the one image per caption is sampled.
    judge: answers about the generated images; None: the model itself, which
      then has no second score of its own.
    similarity: text scorer.
    seed: of the sampling.
  """
  answers = unified.answer(inputs.codes, inputs.questions)
  greedy = [batched.Decoding(temperature=1.0, top_k=1)]
  captions = [
    c[0] for c in unified.describe(inputs.ids, inputs.codes, greedy, seed)
  ]
  codes = unified.draw(inputs.ids, inputs.captions, 1, sampler, seed)[:, 0]
  if judge:
    judged = judge(codes, inputs.questions)
    own = unified.answer(codes, inputs.questions)
  else:
    judged, own = unified.answer(codes, inputs.questions), None
  return score_answers(
    inputs,
    np.asarray(similarity(captions, inputs.captions)),
    codes,
    captions,
    answers,
    judged,
    own,
  )


def score_answers(
  inputs: input_set.Inputs,
  similarity: np.ndarray,
  codes: np.ndarray,
  captions: list[str],
  answers: list[list[str]],
  judged: list[list[str]],
  own: list[list[str]] | None,
) -> Result:
  """Returns the scores of answers that a model and a judge gave.

  Args:
    inputs: N inputs.
    similarity, codes, captions, answers, judged, own: see `Result`.
  """

  def marks(replies):
    return [
      input_set.correct_answers(a, q) for a, q in zip(replies, inputs.questions)
    ]

  def shares(rows):
    return np.array([np.mean(row) for row in rows])

  und, gen = marks(answers), marks(judged)
  return Result(
    understanding=shares(und),
    generation=shares(gen),
    own_score=None if own is None else shares(marks(own)),
    similarity=similarity,
    und_right=und,
    gen_right=gen,
    codes=codes,
    captions=captions,
    answers=answers,
    judged=judged,
    own=own,
  )


def standard_error(values: np.ndarray) -> float:
  """Returns the standard error of the mean of independent values."""
  if len(values) < 2:
    return float('nan')
  return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def summarize(result: Result, inputs: input_set.Inputs) -> dict:
  """Returns means and standard errors as JSON types.

  The gap's error is paired: of the differences scene by scene. `by_tag` has
  the scores of each kind of caption and its share of the scenes; `geneval` is
  the share of images of a tag with every question right. `own_score` is left
  out where the model is its own judge.
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
  by_type = {}
  for asked, und, gen in zip(
    inputs.questions, result.und_right, result.gen_right
  ):
    for question, u, g in zip(asked, und, gen):
      by_type.setdefault(question['element_type'], []).append((u, g))
  out['by_type'] = {
    kind: {
      'questions': len(rows),
      'understanding': float(np.mean([u for u, _ in rows])),
      'generation': float(np.mean([g for _, g in rows])),
    }
    for kind, rows in sorted(by_type.items())
  }
  whole = {}
  for tag, gen in zip(inputs.tags, result.gen_right):
    if tag:
      whole.setdefault(tag, []).append(all(gen))
  out['geneval'] = {t: float(np.mean(v)) for t, v in sorted(whole.items())}
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
    for tag in sorted(whole)
  }
  return out
