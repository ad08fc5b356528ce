"""Settings of self-play, and the data that it uses."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import gap
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.sequences import text_similarity

# The judge of files is the model that the rounds start from.
BASE_MODEL = 'base model'


@dataclasses.dataclass(frozen=True)
class PlayConfig(learning.LearningConfig):
  """What a round does; see `learning.LearningConfig` for how it learns.

  Attributes:
    rounds: R.
    images: candidates drawn per caption.
    captions: candidates written per image.
    free_answers, free_prompt, choice_rule: see `question_answering.AnswerConfig`.
    shard: inputs that are curated at once: what a stop may cost.
    curation_sampler: of the candidates.
    evaluation_sampler: of the one judged image.
    rules: what makes a pair.
    caption_scorer: key of `text_similarity.SCORERS`, scores captions.
    reference: 'round' (the model that the round starts from) or 'base'.
  """

  rounds: int = settings.not_identity()
  images: int
  captions: tuple[batched.Decoding, ...]
  free_answers: bool
  free_prompt: str = dataclasses.field(default='{question}', kw_only=True)
  choice_rule: str = dataclasses.field(default='constrained', kw_only=True)
  shard: int
  curation_sampler: maskgit.MaskGITSampler
  evaluation_sampler: maskgit.MaskGITSampler
  rules: pair_selection.PairRules
  caption_scorer: str = dataclasses.field(default='ngram', kw_only=True)
  reference: str

  def __post_init__(self):
    super().__post_init__()
    if self.reference not in ('round', 'base'):
      raise ValueError(
        f"reference is {self.reference!r}, wanted 'round' or 'base'"
      )
    settings.require(self, {'rounds': 1, 'images': 2, 'shard': 1})
    text_similarity.get_scorer(self.caption_scorer)
    # It refuses what it cannot be made of.
    self.answering  # pylint: disable=pointless-statement
    if len(self.captions) < 2:
      raise ValueError(
        f'captions has {len(self.captions)} samplers, wanted at least 2'
      )

  @property
  def answering(self) -> question_answering.AnswerConfig:
    """How questions with choices are answered."""
    return question_answering.AnswerConfig(
      self.free_answers, self.free_prompt, self.choice_rule
    )


@dataclasses.dataclass(frozen=True)
class PlayData:
  """What the rounds play with.

  Attributes:
    inputs: for preferences, of each round. Where a round meets an input of
      the round before again, the rule of rounds makes its pair.
    held_out: for evaluation.
    judge: of generated images; for evaluation and diagnostics, and for the
      arm of `jobs.ablation` that is scored by it.
    judged_by: the name of the judge; BASE_MODEL for the model that the rounds
      start from.
    similarity: text scorer.
    unseen: more inputs for evaluation, or some of `held_out`, whose captions no
      input of a round has; None for none.
    publish: (folder of a round, inputs, pairs, decode) -> None; writes the
      pairs for other programs, None for nothing. See `official_pairs.write_official`.
  """

  inputs: Sequence[input_set.Inputs]
  held_out: input_set.Inputs
  judge: gap.Judge
  judged_by: str
  similarity: Callable
  unseen: input_set.Inputs | None = None
  publish: Callable | None = None

  @functools.cached_property
  def input_captions(self) -> frozenset[str]:
    """The captions of the inputs of all rounds."""
    return frozenset(c for inputs in self.inputs for c in inputs.captions)

  def judges_itself(self, learned: bool) -> bool:
    """Returns whether the judge is the model that is judged.

    Args:
      learned: whether the model has learned anything since the base model.
    """
    return self.judged_by == BASE_MODEL and not learned
