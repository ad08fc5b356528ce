"""Token rows with answers to questions about the inputs' own images.

  image | prompt answer | prompt answer | ...
    0          1               1

A row has the image once. Each answer follows a prompt of its own, and sees the
image, this prompt and its own earlier tokens. The first answer is the right
one. Prompts and answers have the tokens with which the model answers questions,
see `sampling.question_answering`.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.data import input_set
from hermesflow_jax.runtime import disk_arrays
from hermesflow_jax.sampling import batched
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import clip_rows
from hermesflow_jax.sequences import token_rows

# Prompts that are tokenized together.
_ENCODED = 1_000


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AnswerRows:
  """Rows with S answers to a question; a batch has a leading axis B.

  Attributes:
    image: int32[E], tokens of the image without a prompt. With features in the
      order of `clip_rows.features_first`.
    texts: int32[S, L], the prompt and an answer without its end, right-padded.
    length: int32[], tokens of the prompt.
    answers: int32[S, A], the answers with their ends; UNSCORED on pads and for
      a question with fewer answers. The first is right.
    features: float[F, C], CLIP features of the image; None for a model that
      reads its codes, or before `real_images.add_features`.
    start: position of the first feature in the official row.
  """

  image: np.ndarray
  texts: np.ndarray
  length: np.ndarray
  answers: np.ndarray
  features: np.ndarray | None = None
  start: int = dataclasses.field(default=0, metadata={'static': True})


@dataclasses.dataclass(frozen=True)
class Question:
  """A question about an input's image, in tokens.

  Attributes:
    place: position of the input.
    number: position of the question among those of the input.
    codes: int32[I], codes of the image.
    prompt: ids of the prompt.
    choices: the right answer, then the wrong choices.
    answers: ids of the choices.
  """

  place: int
  number: int
  codes: np.ndarray
  prompt: Sequence[int]
  choices: Sequence[str]
  answers: Sequence[Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Questions(Sequence):
  """Q questions whose objects are made when they are taken.

  Attributes:
    inputs: inputs with TIFA records.
    places: int32[Q, 2], positions of input and question, see `Question`.
    tokens: int32[...], the prompts one after the other.
    ends: int64[Q + 1], 0 and the end of each prompt in `tokens`.
    answers: ids of an answer by its text.
    order: int64[Q], row of each question in the arrays.
  """

  inputs: input_set.Inputs
  places: np.ndarray
  tokens: np.ndarray
  ends: np.ndarray
  answers: dict[str, list[int]]
  order: np.ndarray

  def __len__(self) -> int:
    return len(self.order)

  def __getitem__(self, index: int) -> Question:
    row = self.order[index]
    place, number = self.places[row].tolist()
    choices = _choices(self.inputs.questions[place][number])
    return Question(
      place,
      number,
      self.inputs.codes[place],
      self.tokens[self.ends[row] : self.ends[row + 1]].tolist(),
      choices,
      [self.answers[choice] for choice in choices],
    )

  def select(self, numbers: Sequence[int]) -> 'Questions':
    """Returns the questions with these numbers, in this order."""
    order = self.order[np.array(numbers, np.int64)]
    return dataclasses.replace(self, order=order)


def _choices(record: dict) -> list[str] | None:
  """Returns the answer, then the wrong choices; None without either."""
  choices = list(dict.fromkeys(record.get('choices') or ()))
  if record['answer'] not in choices or len(choices) < 2:
    return None
  wrong = [choice for choice in choices if choice != record['answer']]
  return [record['answer'], *wrong]


def _with_choices(inputs):
  """Yields (place, number, record, choices) of questions with choices."""
  for place, records in enumerate(inputs.questions):
    for number, record in enumerate(records):
      if choices := _choices(record):
        yield place, number, record, choices


def read_questions(unified, inputs: input_set.Inputs) -> Questions:
  """Returns the questions that a model can learn from, in tokens.

  Left out are questions without a wrong choice, those whose answer is not among
  the choices, and those with a wrong choice that has the answer's tokens.

  Args:
    unified: a `unified_model.UnifiedModel`; its way to answer decides the
      prompt.
    inputs: inputs with TIFA records.
  """
  words = dict.fromkeys(
    word for *_, choices in _with_choices(inputs) for word in choices
  )
  answers = dict(zip(words, unified.text.encode_replies(list(words))))
  places, tokens = (disk_arrays.Integers(dtype=np.int32) for _ in range(2))
  ends = disk_arrays.Integers([0])
  records = _with_choices(inputs)
  while part := list(itertools.islice(records, _ENCODED)):
    turns = [
      unified.reader.user_turn(unified.answering.prompt(record))
      for _, _, record, _ in part
    ]
    prompts = unified.text.encode(turns)
    for (place, number, _, choices), prompt in zip(part, prompts, strict=True):
      right, *wrong = (answers[choice] for choice in choices)
      if right not in wrong:
        places.extend((place, number))
        tokens.extend(prompt)
        ends.append(len(tokens))
  return Questions(
    inputs,
    # Copies have no room for more.
    disk_arrays.join([places.array]).reshape(-1, 2),
    disk_arrays.join([tokens.array]),
    disk_arrays.join([ends.array]),
    answers,
    disk_arrays.Integers(range(len(ends) - 1)).array,
  )


@dataclasses.dataclass(frozen=True)
class RowLengths:
  """Lengths that all rows of a round share.

  Attributes:
    text: L, tokens of a prompt and an answer without its end.
    answer: A, tokens of an answer with its end.
    count: most answers to a question.
  """

  text: int
  answer: int
  count: int


def row_lengths(questions: Sequence[Question]) -> RowLengths:
  """Returns the lengths of rows, rounded up so that rounds share programs."""
  text = answer = count = 0
  for question in questions:
    longest = max(map(len, question.answers))
    # <|sot|> precedes a prompt, except in the CLIP variant.
    text = max(text, 1 + len(question.prompt) + longest)
    answer = max(answer, longest + 1)
    count = max(count, len(question.answers))
  multiple = batched.LENGTH_MULTIPLE
  return RowLengths(-(-text // multiple) * multiple, answer, count)


def all_answers(question: Question, count: int) -> list[int]:
  """Returns the numbers of all answers, with -1 behind them up to `count`."""
  size = len(question.answers)
  return [*range(size), *[-1] * (count - size)]


def make_transform(
  unified, lengths: RowLengths
) -> Callable[[Question, Sequence[int]], AnswerRows]:
  """Returns the function from a question to its row.

  It takes the question and the numbers of S answers, -1 for none in its place.

  Args:
    unified: a `unified_model.UnifiedModel`.
    lengths: see `row_lengths`.
  """
  vocab = unified.vocab
  start, opening, clip_image = 0, [vocab.sot], None
  if unified.vision is not None:
    (system,) = unified.text.encode([clip_rows.SYSTEM_PROMPT])
    patches = unified.vision.config.patches
    (clip_image,) = clip_rows.features_first(vocab, system, patches, []).tokens
    start, opening = len(system) + 2, []

  def make_row(question, chosen):
    image = clip_image
    if image is None:
      (block,) = token_rows.image_part(vocab, question.codes[None], 1)
      image = np.array([vocab.mmu, *block], np.int32)
    head = [*opening, *question.prompt]
    replies = [() if n < 0 else question.answers[n] for n in chosen]
    texts = [[*head, *reply] for reply in replies]
    answers = np.full((len(chosen), lengths.answer), token_rows.UNSCORED)
    for row, number, reply in zip(answers, chosen, replies):
      if number >= 0:
        row[: len(reply) + 1] = [*reply, vocab.eos]
    return AnswerRows(
      image=image,
      texts=token_rows.right_padded(vocab, texts, lengths.text),
      length=np.array(len(head), np.int32),
      answers=answers.astype(np.int32),
      start=start,
    )

  return make_row


def pack_batch(
  batch: AnswerRows,
) -> tuple[jax.Array, jax.Array, attention_mask.Packed]:
  """Returns tokens int32[B, T], positions int32[B, T] and the attention mask.

  T is E + S L.

  Args:
    batch: B rows.
  """
  count, size = batch.image.shape
  copies, length = batch.texts.shape[1:]
  places, image, own = jnp.arange(size), size, None
  if batch.features is not None:
    places, ends = clip_rows.features_first_layout(
      size, batch.features.shape[-2], batch.start
    )
    image, own = 0, attention_mask.Interval(end=ends)
  positions = jnp.concatenate(
    [places, size + jnp.tile(jnp.arange(length), copies)]
  )
  mask = attention_mask.Packed(
    (
      attention_mask.Segment(size, image=image),
      attention_mask.Segment(length, copies, prefix=0),
    ),
    (own, attention_mask.Interval(end=1 + jnp.arange(length))),
    (None, None),
  )
  return (
    jnp.concatenate([batch.image, batch.texts.reshape(count, -1)], axis=-1),
    jnp.broadcast_to(positions, (count, positions.size)),
    mask,
  )
