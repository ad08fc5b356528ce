"""The settings of a job that its judge reads."""

import dataclasses
import typing

from hermesflow_jax.jobs.setup import reading_model
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.sampling import question_answering
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.sequences import text_tokenizer


class AnswerSettings(typing.Protocol):
  """Settings of answers: self-play has them, and `ChosenAnswers` of others.

  Attributes:
    answering: how a model answers questions with choices.
    free_answers: whether it writes free answers, which become choices.
    caption_prompt: prompt for a caption.
    answer_matcher: maps free answers to choices; see `choice_matchers`.
    encoders: encoders of the matcher.
  """

  answering: question_answering.AnswerConfig
  free_answers: bool
  caption_prompt: str
  answer_matcher: str
  encoders: encoder_settings.EncoderSettings


@dataclasses.dataclass(frozen=True)
class ChosenAnswers:
  """Answers are the likeliest choices; see `AnswerSettings`.

  Attributes:
    answer_matcher: maps free answers of endpoints and files to choices.
    encoders: encoders of the matcher.
  """

  answer_matcher: str
  encoders: encoder_settings.EncoderSettings
  answering: typing.ClassVar = question_answering.AnswerConfig()
  free_answers: typing.ClassVar[bool] = False
  caption_prompt: typing.ClassVar[str] = text_tokenizer.CAPTION_PROMPT


@dataclasses.dataclass(frozen=True)
class JudgedJob:
  """A job whose drawings are judged.

  Attributes:
    model: settings of the model that the job starts from.
    judge: settings of the judge.
    answers: how models answer, and how free answers become choices.
    has_own_images: whether images show more than the embedded world, so that
      pixels say nothing, and the base model is the judge without a setting.
    flag: beginning of the flags of these settings, e.g. '--config'.
    answer_flag: beginning of the flags of `answers`.
  """

  model: reading_model.ReadingSettings
  judge: judge_settings.JudgeSettings
  answers: AnswerSettings
  has_own_images: bool
  flag: str = '--config'
  answer_flag: str = '--config'


def of_self_play(config, flag: str = '--config') -> JudgedJob:
  """Returns the settings of self-play that its judge reads.

  Args:
    config: settings of `pair_dpo`.
    flag: beginning of their flags.
  """
  return JudgedJob(
    config,
    config.judge,
    config.play,
    has_own_images=config.files is not None,
    flag=flag,
    answer_flag=f'{flag}.play',
  )
