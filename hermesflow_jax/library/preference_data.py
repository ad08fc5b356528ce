"""Builds inputs from images and captions, and preference pairs from inputs."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

import numpy as np

from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import candidate_scores
from hermesflow_jax.curation import candidate_waves
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import number_bounds
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import text_similarity


@dataclasses.dataclass(frozen=True)
class CuratedPairs:
  """Preference pairs of N inputs.

  Attributes:
    candidates: captions and images that the model made, with their scores.
    pairs: (caption pair, image pair) by input id, dropped pairs included.
    records: training records of the inputs that have a pair, see
      `record_rows.join_pairs`.
  """

  candidates: candidate_generation.Candidates
  pairs: Mapping[str, tuple[pair_selection.Pair, pair_selection.Pair]]
  records: Sequence[dict]


def make_inputs(
  model: unified_model.UnifiedModel,
  images: np.ndarray,
  captions: Sequence[str],
  questions: Sequence[Sequence[dict]],
  ids: Sequence[str] | None = None,
) -> input_set.Inputs:
  """Encodes images and joins them with their captions and questions.

  Args:
    model: the model that will read the images.
    images: uint8[N, H, W, 3], of the size that the model draws.
    captions: N true captions.
    questions: N lists of TIFA records: `question`, `choices`, `answer`,
      `element_type`.
    ids: N unique names, from which random keys derive; None: '0', '1', ...

  Raises:
    ValueError: the numbers differ, two ids are equal, an input has no
      question, a question is too long, or its answer is not a choice.
  """
  ids = [str(n) for n in range(len(images))] if ids is None else list(ids)
  counts = {len(images), len(captions), len(questions), len(ids)}
  if len(counts) > 1 or len(set(ids)) < len(ids):
    raise ValueError(
      'images, captions, questions and ids must have one length and ids must '
      f'differ, got {len(images)} images, {len(captions)} captions, '
      f'{len(questions)} lists of questions and ids {ids}'
    )
  for name, records in zip(ids, questions):
    if not records:
      raise ValueError(f'questions must not be empty, got no record for {name}')
    for record in records:
      model.check_question(record)
      if record['answer'] not in record['choices']:
        raise ValueError(
          f'answer must be one of {record["choices"]}, got '
          f'{record["answer"]!r} for {name}'
        )
  return input_set.Inputs(
    ids=ids,
    captions=list(captions),
    tags=[''] * len(ids),
    questions=[list(records) for records in questions],
    codes=model.encode(images),
  )


def curate(
  model: unified_model.UnifiedModel,
  inputs: input_set.Inputs,
  *,
  sampler: maskgit.MaskGITSampler,
  images: int = 4,
  most_images: int = 0,
  easy_score: float | None = None,
  first_images: int = 0,
  caption_samplers: Sequence[
    batched.Decoding
  ] = candidate_generation.CAPTION_SAMPLERS,
  similarity: text_similarity.Scorer = text_similarity.ngram_cosines,
  image_scorer: candidate_scores.ImageScorer | None = None,
  rules: pair_selection.PairRules | None = None,
  previous: dict | None = None,
  seed: int = 0,
) -> CuratedPairs:
  """Makes preference pairs from a model's own captions and images.

  HermesFlow (arXiv 2502.12148), section 3.2. `similarity` scores captions; the
  model's answers to an input's questions score its images, unless
  `image_scorer` does.

  Args:
    model: the model.
    inputs: N inputs.
    sampler: image sampler.
    images: images drawn per caption, at least 2.
    most_images: images drawn for an input, at most, if `images` make no pair;
      `images` of them remain. 0: no more than `images`.
    easy_score: with `most_images` or `first_images`, an input whose images all
      score at least this gets no more.
    first_images: images drawn for an input at first; easy ones get no more,
      and their images are repeated. 0: `images`.
    caption_samplers: at least 2; each writes a caption per image.
    similarity: scores a caption against the true one.
    image_scorer: scores images, e.g. `image_scorers.score_softly`; None: by the
      share of right answers.
    rules: thresholds of a pair; None: `pair_selection.PairRules()`, which keeps
      inputs with a single pair, too.
    previous: `CuratedPairs.pairs` of the round before, for the same inputs.
    seed: random seed; each round needs its own.

  Raises:
    ValueError: fewer than two images or captions per input, fewer
      `most_images` than `images`, or see `number_bounds.check_seed`.
  """
  seed = number_bounds.check_seed(seed)
  if images < 2 or len(caption_samplers) < 2:
    raise ValueError(
      'images and caption_samplers must be at least 2, got '
      f'{images} images and {len(caption_samplers)} caption samplers'
    )
  candidate_waves.check(images, most_images, easy_score, first_images)
  rules = rules or pair_selection.PairRules()
  candidates = candidate_generation.make_candidates(
    model,
    inputs,
    candidate_generation.CandidateConfig(
      sampler,
      images,
      caption_samplers,
      similarity,
      seed,
      image_scorer,
      most_images,
      rules.make_image_pairs,
      easy_score,
      first_images,
    ),
  )
  pairs = pair_selection.select_pairs(
    candidates, inputs.ids, rules, previous or {}
  )
  records = record_rows.join_pairs(inputs, pairs, rules.both)
  return CuratedPairs(candidates, pairs, disk_objects.few_as_list(records))
