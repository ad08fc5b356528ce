"""Settings of the job `curate`."""

import dataclasses
import typing

from hermesflow_jax.curation import candidate_waves
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import record_files
from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.scoring import scorer_settings
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.shapes import shape_world


@dataclasses.dataclass(frozen=True)
class Settings(reading_model.ReadingSettings, scorer_settings.ScorerSettings):
  """Job settings.

  Attributes:
    world: embedded world.
    files: the user's image-caption inputs; None for the embedded world.
    inputs: inputs per round.
    fresh_inputs: whether each round takes the next `inputs` from the source;
      otherwise all rounds have the same inputs.
    round: round that trains on the pairs, from 1.
    before: folder with the previous round's pairs: a curation, or a `round_<r>`
      from `pair_dpo`. '' in round 1, and for fresh inputs.
    images: K, candidate images per caption.
    most_images: images that are drawn for a caption, at most, see
      `candidate_waves`; 0: K for each.
    easy_score: with `most_images` or `first_images`, an input whose images all
      score at least this gets no more; None: every input without a pair does.
    first_images: images that are drawn for an input at first. An easy input
      gets no more, the others get K; see `candidate_waves.draw_rest`. 0: K for
      each.
    captions: M samplers, each writes a candidate caption per image.
    free_answers, free_prompt, choice_rule: see
      `question_answering.AnswerConfig`.
    caption_prompt: prompt for a caption.
    sampler: image sampler.
    rules: rules that accept or drop a pair.
    seed: random seed; round r samples with `seed + r`.
    shard: inputs per shard; a stop costs at most a shard.
    share: which share to curate, 0 to `shares` - 1.
    shares: processes that divide the shards. All write into the same
      `--workdir`; the last to finish writes the pairs.
    official: whether to write files of `curation.official_pair_writer`, too.
  """

  world: shape_world.World
  files: record_files.Source | None
  inputs: settings.PositiveInt
  fresh_inputs: bool = settings.may_change_on_resume(default=True, kw_only=True)
  round: settings.PositiveInt = dataclasses.field(default=1, kw_only=True)
  before: str = settings.path_of_content(
    'pairs_before', default='', kw_only=True
  )
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
  caption_prompt: str = dataclasses.field(
    default=text_tokenizer.CAPTION_PROMPT, kw_only=True
  )
  sampler: maskgit.MaskGITSampler
  rules: pair_selection.PairRules
  seed: settings.NonNegativeInt
  shard: settings.PositiveInt
  share: settings.NonNegativeInt
  shares: settings.PositiveInt
  official: bool = settings.may_change_on_resume(default=False)

  def __post_init__(self):
    super().__post_init__()
    if self.before and self.round == 1:
      raise ValueError(
        f"before must be '' in round 1, got {self.before!r}; give the number "
        'of a later round'
      )
    if not self.before and self.round > 1 and not self.fresh_inputs:
      raise ValueError(
        f"before must be a folder in round {self.round}, got ''; give the "
        'curation of the previous round'
      )
    if self.share >= self.shares:
      raise ValueError(
        f'share must be less than shares, {self.shares}, got {self.share}'
      )
    if len(self.captions) < 2:
      raise ValueError(
        f'captions must have at least 2 samplers, got {len(self.captions)}'
      )
    text_tokenizer.check_prompt('caption_prompt', self.caption_prompt)
    self.check_scorers()
    candidate_waves.check(
      self.images, self.most_images, self.easy_score, self.first_images
    )
    # Raises ValueError for answer settings that do not fit.
    _ = self.answering

  @property
  def answering(self) -> question_answering.AnswerConfig:
    """Method that answers questions with choices."""
    return question_answering.AnswerConfig(
      self.free_answers, self.free_prompt, self.choice_rule
    )

  @property
  def fresh_inputs_of_round(self) -> bool | None:
    """`fresh_inputs`; None in round 1, where it changes nothing."""
    return self.fresh_inputs if self.round > 1 else None

  @property
  def inputs_so_far(self) -> int:
    """Input count up to this round."""
    return self.inputs * (self.round if self.fresh_inputs else 1)
