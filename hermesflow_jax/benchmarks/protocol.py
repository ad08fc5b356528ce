"""What a benchmark gives: rows to predict, scores, and files for others.

A benchmark of understanding asks questions about images; a benchmark of
generation has prompts to draw, and perhaps questions that a judge answers about
the drawings. A benchmark reads files and scores texts: it never calls a model.
"""

import abc
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import typing

from hermesflow_jax.data import input_faults
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import settings

# Tokens of a reply at most, as in the evaluation of Show-o.
MAX_TOKENS = 100
# LLaVA's suffix of questions with short answers.
SHORT_ANSWER = '\nAnswer the question using a single word or phrase.'


@dataclasses.dataclass(frozen=True)
class ImageQuestion:
  """A question about an image.

  Attributes:
    id: name, unique in its benchmark.
    image: the image file, or an image inside another file.
    prompt: all that the user says: question, choices and the suffix that sets
      the form of the reply.
    reference: what scoring needs, e.g. the right answer; JSON values.
    max_tokens: tokens of the reply at most.
  """

  id: str
  image: pathlib.PurePath | stored_image.StoredImage
  prompt: str
  reference: Mapping[str, object]
  max_tokens: int = MAX_TOKENS


@dataclasses.dataclass(frozen=True)
class DrawingPrompt:
  """A prompt to draw.

  Attributes:
    id: name, unique in its benchmark.
    prompt: text to draw.
    files: a path for each image to draw, relative to the folder that the
      official scorer reads; '/' between folders.
    questions: questions that a judge answers about each image: mappings with
      `id`, `question`, `choices` and `answer`, and what scoring needs.
    reference: what scoring needs; JSON values.
    grid: path of a grid of the images, two a row, where the official scorer
      reads that; '' for none.
    image: the real image of the prompt. With it the model itself answers the
      questions, about this image and about its drawing.
  """

  id: str
  prompt: str
  files: tuple[str, ...]
  questions: tuple[Mapping[str, object], ...] = ()
  reference: Mapping[str, object] = dataclasses.field(default_factory=dict)
  grid: str = ''
  image: pathlib.PurePath | stored_image.StoredImage | None = None


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores of one model on one benchmark by one rule.

  Attributes:
    rule: name of the parser or rule, e.g. 'official'.
    headline: the number that papers print, in their unit.
    unit: unit of `headline`, e.g. '%' or 'of 2000'; '' for none.
    values: further numbers by name, in the order of a table; a value is a
      number, or a mapping of numbers (e.g. by split).
    rows: a number for each scored row by its id, for differences between models
      in pairs; higher is better if `unit` does not say otherwise.
    notes: sentences a reader of the number needs, e.g. the share of replies
      that were guessed.
  """

  rule: str
  headline: float
  unit: str
  values: Mapping[str, object]
  rows: Mapping[str, float]
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BenchmarkFiles:
  """Where the user has a benchmark, and how to ask.

  Attributes:
    path: folder or file of the benchmark, in a form that its `read` documents;
      '' for none.
    images: folder of the images; '' where `path` has them.
    suffix: text after each question; None for the one of the benchmark.
    on_error: 'raise' names all faults, 'skip' leaves rows with faults out.
    reply_words: 'word=meaning' each: a reply that is this word is scored as its
      meaning, for models that do not know the words of a benchmark.
    questions: file with the questions of a data set, for the benchmark `gap`.
  """

  path: str = settings.path_of_content('benchmark_files', default='')
  images: str = settings.path_of_content('benchmark_files', default='')
  suffix: str | None = None
  on_error: typing.Annotated[str, settings.one_of(*input_faults.POLICIES)] = (
    'raise'
  )
  reply_words: tuple[str, ...] = ()
  questions: str = settings.path_of_content('benchmark_files', default='')

  def __post_init__(self):
    settings.check(self)
    if not all(word.count('=') == 1 for word in self.reply_words):
      raise ValueError(
        f"reply_words must be like ('zero=no',), got {self.reply_words}"
      )


@dataclasses.dataclass(frozen=True)
class BenchmarkRows:
  """Rows of a benchmark.

  Attributes:
    rows: questions or prompts, in the order of the official file.
    form: name of the form of file that was read, e.g. 'official' or
      'VLMEvalKit'.
    left_out: a text for each row that 'skip' left out: place and fault.
    notes: sentences about the reading, e.g. what the rows do not have.
  """

  rows: Sequence[ImageQuestion] | Sequence[DrawingPrompt]
  form: str
  left_out: tuple[str, ...] = ()
  notes: tuple[str, ...] = ()


class Benchmark(abc.ABC):
  """What benchmarks of both kinds have.

  Attributes:
    name: name in configs and files, e.g. 'pope'.
    title: name for readers, e.g. 'POPE'.
    protocol: one sentence: prompt, parser, score.
  """

  name: str
  title: str
  protocol: str

  def title_of(self, rows: int) -> str:
    """Returns the title of a table of this many rows.

    Args:
      rows: number of rows that were predicted.
    """
    del rows
    return self.title


class UnderstandingBenchmark(Benchmark):
  """Questions about images.

  Attributes:
    name: name in configs and files, e.g. 'pope'.
    title: name for readers, e.g. 'POPE'.
    protocol: one sentence: prompt, parser, score.
    rows_together: number of rows in sequence that are scored together.
  """

  rows_together = 1

  @abc.abstractmethod
  def read(self, files: BenchmarkFiles) -> BenchmarkRows:
    """Reads the files and builds the prompts.

    Raises:
      ValueError: one line with all faults: what, where, what to do.
    """

  @abc.abstractmethod
  def score(
    self, rows: Sequence[ImageQuestion], replies: Mapping[str, str]
  ) -> list[Scores]:
    """Scores replies as the official scorers do.

    Args:
      rows: rows to score.
      replies: reply by id; a missing one is an empty text.

    Returns:
      Scores, the official rule first.
    """

  @abc.abstractmethod
  def prediction_files(
    self, rows: Sequence[ImageQuestion], replies: Mapping[str, str]
  ) -> dict[str, str]:
    """Returns texts of the files that official scorers read, by path."""


class DrawingBenchmark(Benchmark):
  """Prompts to draw.

  Attributes:
    name: name in configs and files, e.g. 'geneval'.
    title: name for readers, e.g. 'GenEval'.
    protocol: one sentence: images per prompt, judge, score.
  """

  @abc.abstractmethod
  def read(self, files: BenchmarkFiles) -> BenchmarkRows:
    """Reads the files.

    Raises:
      ValueError: one line with all faults: what, where, what to do.
    """

  @abc.abstractmethod
  def score(
    self,
    rows: Sequence[DrawingPrompt],
    answers: Mapping[str, Mapping[str, object]],
  ) -> list[Scores]:
    """Scores what a judge or a detector says about the images.

    Args:
      rows: prompts whose images were judged.
      answers: by path of an image, by id of a question: the answer of a judge;
        also by the names of `answer_names`, where the model has answered.

    Returns:
      Scores, the official rule first; [] where only the official scorer can
      judge the images.
    """

  def written_forms(self, question: Mapping[str, object]) -> tuple[str, ...]:
    """Returns the written forms of a right answer.

    A judge that is a model gives the probability that its reply begins so.

    Args:
      question: a question of this benchmark.

    Returns:
      Texts; () where the answer alone counts.
    """
    del question
    return ()

  def companion_files(self, rows: Sequence[DrawingPrompt]) -> dict[str, str]:
    """Returns texts of files that belong beside the images, by path."""
    del rows
    return {}

  def read_results(
    self, path: str, rows: Sequence[DrawingPrompt]
  ) -> list[Scores]:
    """Reads what the official scorer wrote about the images.

    Args:
      path: file or folder that the official scorer wrote.
      rows: prompts that were drawn.

    Raises:
      ValueError: the file is not of this benchmark or lacks images.
    """
    raise ValueError(
      f'benchmark must be one whose official scorer writes a file, got '
      f'{self.name!r}: nothing is read from {path} for {len(rows)} prompts'
    )
