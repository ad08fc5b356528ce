"""Answers to multiple-choice questions about images."""

from collections.abc import Sequence
import dataclasses
import functools
import itertools

import jax
import numpy as np

from hermesflow_jax.runtime import batching
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import choice_rules
from hermesflow_jax.sampling import choice_tokens
from hermesflow_jax.sampling import mesh_sampler
from hermesflow_jax.sampling import question_rows
from hermesflow_jax.sampling import row_parts
from hermesflow_jax.sequences import known_words
from hermesflow_jax.sequences import text_similarity
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary


@dataclasses.dataclass(frozen=True)
class AnswerConfig:
  """Question answering settings.

  Attributes:
    free: True: the model writes a free reply and the nearest choice is its
      answer, as in the official code. False: the likeliest choice is.
    free_prompt: prompt for a free reply; the fields {question} and {choices}
      are replaced by the question and the list of its choices.
    rule: rule that scores choices, a key in `choice_rules.RULES`.

  Raises:
    ValueError: the rule is unknown, or the prompt has other fields.
  """

  free: bool = False
  free_prompt: str = text_tokenizer.FREE_PROMPT
  rule: str = 'constrained'

  def __post_init__(self):
    if self.rule not in choice_rules.RULES:
      raise ValueError(
        f'choice_rule must be one of {", ".join(choice_rules.RULES)}, got '
        f'{self.rule!r}'
      )
    try:
      self.prompt({'question': 'q', 'choices': ['a', 'b']})
    except (KeyError, IndexError, ValueError, AttributeError) as error:
      raise ValueError(
        'free_prompt must have no fields but {question} and {choices}, got '
        f'{self.free_prompt!r}'
      ) from error

  def prompt(self, question: dict) -> str:
    """Returns the prompt text for a TIFA record."""
    if not self.free:
      return question['question']
    return self.free_prompt.format(
      question=question['question'], choices=list(question['choices'])
    )


@dataclasses.dataclass(frozen=True)
class QuestionAnswerer:
  """Answers multiple-choice questions; an answer is a choice.

  An answer depends only on its image and its question.

  Attributes:
    sampler: model on its mesh.
    text: text tokenizer.
    vocab: token ids.
    lengths: row lengths.
    config: settings.
    matcher: maps a free reply to the nearest choice.
    reader: builds the image part of rows.
  """

  sampler: mesh_sampler.MeshSampler
  text: text_tokenizer.TextTokenizer
  vocab: vocabulary.Vocab
  lengths: token_rows.Lengths
  config: AnswerConfig
  matcher: text_similarity.Matcher
  reader: row_parts.Reader

  def answer(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[str]]:
    """Answers questions about N images.

    Args:
      codes: int[N, I], image codes, or images that the reader reads.
      questions: N lists with TIFA records.

    Returns:
      N lists with answers; '' if a free reply resembles no choice.
    """
    records = list(itertools.chain(*questions))
    if not records:
      return [[] for _ in questions]
    counts = [len(image_questions) for image_questions in questions]
    rows = self.build_rows(codes, records, counts)
    choices = [record['choices'] for record in records]
    if self.config.free:
      numbers = self.matcher(self._free_replies(rows), choices)
    else:
      numbers = self._choice_scores(rows, choices).argmax(-1)
    answers = iter(
      '' if number is None else names[number]
      for names, number in zip(choices, numbers)
    )
    return [list(itertools.islice(answers, count)) for count in counts]

  def reply(
    self, codes: np.ndarray, prompts: Sequence[Sequence[str]]
  ) -> list[list[str]]:
    """Returns greedy replies as texts, see `reply_tokens`.

    Args:
      codes: see `reply_tokens`.
      prompts: see `reply_tokens`.
    """
    rows = self.reply_tokens(codes, prompts)
    return [[self.text.decode_reply(t) for t in tokens] for tokens in rows]

  def reply_tokens(
    self,
    codes: np.ndarray,
    prompts: Sequence[Sequence[str]],
    decoding: batched.Decoding = batched.GREEDY,
    keys: np.ndarray | None = None,
  ) -> list[list[np.ndarray]]:
    """Samples replies to prompts about N images.

    Args:
      codes: int[N, I], image codes, or images that the reader reads.
      prompts: N lists with the prompts about each image, Q in all.
      decoding: text sampler.
      keys: uint32[Q, 1, 2], raw random keys; None only if greedy.

    Returns:
      N lists with int32[R], the ids of a reply, for each prompt; behind the end
      of a reply they are `vocab.eos`.
    """
    counts = [len(texts) for texts in prompts]
    if not sum(counts):
      return [[] for _ in prompts]
    records = [{'question': text} for text in itertools.chain(*prompts)]
    plain = dataclasses.replace(self, config=AnswerConfig())
    rows = plain.build_rows(codes, records, counts)
    tokens = iter(plain._sample(rows, decoding, keys))
    return [list(itertools.islice(tokens, count)) for count in counts]

  def probabilities(
    self, codes: np.ndarray, questions: Sequence[Sequence[dict]]
  ) -> list[list[dict[str, float]]]:
    """Computes the probability of each choice, among the choices.

    The likeliest choice is the answer of `answer` without free replies. The
    rule `constrained` scores choices by log-probabilities that add up to 1;
    the scores of other rules are normalized by a softmax.

    Args:
      codes: int[N, I], image codes, or images that the reader reads.
      questions: N lists with TIFA records.

    Returns:
      N lists with a dictionary per question, from choices to probabilities.
    """
    records = list(itertools.chain(*questions))
    if not records:
      return [[] for _ in questions]
    counts = [len(image_questions) for image_questions in questions]
    choices = [record['choices'] for record in records]
    scores = self._choice_scores(
      self.build_rows(codes, records, counts), choices
    )
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    shares = (weights / weights.sum(-1, keepdims=True)).tolist()
    by_choice = iter(dict(zip(*pair)) for pair in zip(choices, shares))
    return [list(itertools.islice(by_choice, count)) for count in counts]

  def build_rows(self, codes, records, counts) -> question_rows.QuestionRows:
    """Returns the rows of all questions (records), `counts[n]` of image n."""
    return question_rows.make_rows(
      self.reader,
      self.text,
      codes,
      [self.reader.user_turn(self.config.prompt(r)) for r in records],
      counts,
      self.lengths.prompt,
    )

  def map_rows(
    self, function, rows: question_rows.QuestionRows, *more
  ) -> np.ndarray:
    """Maps a sampler over groups; `more` are pytrees of arrays [Q, ...].

    Returns:
      Array [Q, ...], a result per question.
    """

    def build(index):
      grouped = jax.tree.map(lambda a: a[rows.groups[index]], more)
      return *rows.batch(index), *grouped

    results = self.sampler.map(
      'answering questions',
      function,
      batching.BuiltRows(len(rows.groups), build, divided=True),
      rows.groups.shape[1],
    )
    out = np.zeros((len(rows), *results.shape[2:]), results.dtype)
    out[rows.groups] = results
    return out

  def _free_replies(self, rows: question_rows.QuestionRows) -> list[str]:
    """Writes a greedy reply to each question."""
    tokens = self._sample(rows, batched.GREEDY, None)
    return [self.text.decode_reply(reply) for reply in tokens]

  def _sample(
    self, rows: question_rows.QuestionRows, decoding, keys
  ) -> np.ndarray:
    """Returns int32[Q, R], a reply to each question."""
    if keys is None:
      # Greedy decoding does not depend on its keys.
      keys = np.zeros((len(rows), 1, 2), np.uint32)

    def write(batch):
      *parts, keys = batch
      return self.sampler.write([decoding], self.lengths.reply, (keys, *parts))

    return self.map_rows(write, rows, keys)[:, 0]

  def _choice_scores(
    self, rows: question_rows.QuestionRows, choices
  ) -> np.ndarray:
    """Returns float64[Q, C], scores of choices by the rule; -inf for none."""
    rule = self.config.rule
    tree = choice_tokens.encode_choices(
      self.text, choices, keep_all=rule != 'constrained'
    )
    score = functools.partial(self.sampler.score, choice_rules.RULES[rule])
    scores = self.map_rows(score, rows, tree)
    if rule == 'prior':
      blank_rows = dataclasses.replace(rows, is_blank=True)
      scores = scores - self.map_rows(score, blank_rows, tree)
    # A question with fewer choices than others has empty rows.
    is_choice = tree.valid.any(-1)
    return np.where(is_choice, scores.astype(np.float64), -np.inf)


def check_question(
  text: text_tokenizer.TextTokenizer,
  lengths: token_rows.Lengths,
  config: AnswerConfig,
  question: dict,
  image_tokens: int,
) -> None:
  """Checks that a question fits into a row, and that its choices differ.

  Args:
    text: text tokenizer.
    lengths: row lengths.
    config: settings.
    question: TIFA record; choices may be absent.
    image_tokens: I, codes per image.

  Raises:
    ValueError: the prompt is too long, or two choices have the same tokens.
      Free replies are compared with the choices as text.
  """
  # A row also holds <|mmu|>, <|soi|>, <|eoi|> and <|sot|>.
  space = lengths.prompt - image_tokens - 4
  prompt = config.prompt(question)
  (tokens,) = text.encode([text_tokenizer.user_turn(prompt)])
  if len(tokens) > space:
    raise ValueError(
      f'question must have at most {space} tokens, got {len(tokens)}: '
      f'{prompt!r}'
    )
  if not config.free:
    known_words.check_choices(text, question.get('choices', ()))
