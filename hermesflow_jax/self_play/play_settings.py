"""Self-play settings and data."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import typing

from hermesflow_jax.pair_dpo import learning_config
from hermesflow_jax.runtime import lazy_modules
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import search_settings
from hermesflow_jax.scoring import scorer_settings

with lazy_modules.on_first_use():
  from hermesflow_jax.curation import candidate_scores
  from hermesflow_jax.curation import candidate_waves
  from hermesflow_jax.curation import pair_selection
  from hermesflow_jax.data import caption_set
  from hermesflow_jax.data import input_set
  from hermesflow_jax.evaluation import gap
  from hermesflow_jax.sampling import batched
  from hermesflow_jax.sampling import maskgit
  from hermesflow_jax.sampling import question_answering


@dataclasses.dataclass(frozen=True)
class PlayConfig(
  learning_config.LearningConfig, scorer_settings.ScorerSettings
):
  """Self-play settings, added to the training settings.

  Attributes:
    rounds: R rounds.
    images: K, candidate images per input.
    most_images: images that are drawn for an input, at most, see
      `candidate_waves`; 0: K for each.
    easy_score: with `most_images` or `first_images`, an input whose images all
      score at least this gets no more; None: every input without a pair does.
    first_images: images that are drawn for an input at first. An easy input
      gets no more, the others get K; see `candidate_waves.draw_rest`. 0: K for
      each.
    captions: M caption samplers, each writes a candidate caption per input.
    free_answers: see `question_answering.AnswerConfig`.
    free_prompt: see `question_answering.AnswerConfig`.
    choice_rule: see `question_answering.AnswerConfig`.
    shard: inputs that are curated at once; a stop costs at most a shard.
    curation_sampler: candidate image sampler.
    evaluation_sampler: evaluation image sampler.
    search: search for the images of the evaluation.
    rules: rules that accept or drop a pair.
    reference: frozen reference: 'round' (the model that the round starts from)
      or 'base'. In grpo the divergence is measured from it.
  """

  rounds: settings.PositiveInt = settings.may_change_on_resume()
  images: typing.Annotated[int, settings.at_least(2)]
  most_images: settings.NonNegativeInt = dataclasses.field(
    default=0, kw_only=True
  )
  easy_score: typing.Annotated[float, settings.FINITE] | None = (
    dataclasses.field(default=None, kw_only=True)
  )
  first_images: settings.NonNegativeInt = dataclasses.field(
    default=0, kw_only=True
  )
  captions: tuple[batched.Decoding, ...]
  free_answers: bool
  free_prompt: str = dataclasses.field(default='{question}', kw_only=True)
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  shard: settings.PositiveInt
  curation_sampler: maskgit.MaskGITSampler
  evaluation_sampler: maskgit.MaskGITSampler
  rules: pair_selection.PairRules
  reference: typing.Annotated[str, settings.one_of('round', 'base')] = (
    settings.of_learning()
  )
  search: search_settings.Search = dataclasses.field(
    default=search_settings.Search(), kw_only=True
  )

  def __post_init__(self):
    super().__post_init__()
    self.check_scorers()
    if self.reference != 'round':
      self.objective.check_reference(self.reference, "'round'")
    candidate_waves.check(
      self.images, self.most_images, self.easy_score, self.first_images
    )
    self.search.check_sampler(self.evaluation_sampler)
    # Raises ValueError for answer settings that do not fit.
    _ = self.answering
    if len(self.captions) < 2:
      raise ValueError(
        f'captions must have at least 2 samplers, got {len(self.captions)}'
      )

  @property
  def answering(self) -> question_answering.AnswerConfig:
    """Method that answers questions with choices."""
    return question_answering.AnswerConfig(
      self.free_answers, self.free_prompt, self.choice_rule
    )


@dataclasses.dataclass(frozen=True)
class PlayData:
  """Inputs, held-out inputs and judge.

  Attributes:
    inputs: image-caption inputs per round. If an input occurs again in the next
      round, its old pair decides the new loser; see
      `pair_selection.choose_pair`.
    held_out: inputs for evaluation.
    judge: judge for generated images, in evaluation and diagnostics. Training
      never uses it, except in `experiments.ablation` for the 'judge' arm.
    judge_record: `name` of the judge, `gap.BASE_MODEL` for the base model;
      `prompt`; and where they apply its `model` and `host`. JSON types.
    similarity: caption scorer, compares captions with the true captions.
    image_scorer: scores the images that are drawn for the inputs; None: by the
      share of right answers.
    unseen: inputs for evaluation whose captions no round has: more inputs, or
      some from `held_out`; None for none.
    answer_inputs: inputs without candidates, whose questions the answer term
      also learns from; None for none.
    publish: (folder, inputs, pairs, decode) -> None, writes a round's pairs for
      other programs; None for none. See
      `official_pair_writer.write_official`.
  """

  inputs: Sequence[input_set.Inputs]
  held_out: input_set.Inputs
  judge: gap.Judge
  judge_record: dict[str, str]
  similarity: Callable
  image_scorer: candidate_scores.ImageScorer | None = None
  unseen: input_set.Inputs | None = None
  answer_inputs: input_set.Inputs | None = None
  publish: Callable | None = None

  @functools.cached_property
  def input_captions(self) -> caption_set.CaptionSet:
    """Captions that inputs have in any round."""
    return captions_of(self.inputs, self.answer_inputs)

  @property
  def judged_by(self) -> str:
    """Name of the judge."""
    return self.judge_record['name']

  def judges_itself(self, learned: bool) -> bool:
    """Returns whether the judge and the judged model are the same.

    Args:
      learned: whether the judged model has been trained since the base model.
    """
    return self.judged_by == gap.BASE_MODEL and not learned


def captions_of(
  inputs: Sequence[input_set.Inputs], answer_inputs: input_set.Inputs | None
) -> caption_set.CaptionSet:
  """Returns the captions of inputs and of `PlayData.answer_inputs`."""
  parts = [*inputs, *([answer_inputs] if answer_inputs else [])]
  return caption_set.CaptionSet(
    caption for part in parts for caption in part.captions
  )


def round_inputs(
  records: Callable[[int], Sequence[dict]], count: int, rounds: int, fresh: bool
) -> list[input_set.Inputs]:
  """Returns the inputs per round.

  Args:
    records: function from a number to that many records.
    count: inputs per round.
    rounds: R rounds.
    fresh: whether each round has its own inputs.

  Raises:
    ValueError: no image of a round can be read.
  """
  rows = records(count * rounds if fresh else count)
  if not fresh:
    return [input_set.from_records(rows)] * rounds
  return [
    input_set.from_span(rows, range(count * r, count * (r + 1)))
    for r in range(rounds)
  ]
