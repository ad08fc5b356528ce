"""Writes questions about captions by a language model, in TIFA's form.

As in TIFA (arXiv 2303.11897), a model writes multiple-choice questions about
the elements of a caption. Then it answers each question from the caption alone;
a question is kept only if this gives the answer back.
"""

from collections.abc import Callable
import dataclasses
import hashlib
import json
import re
import threading

from hermesflow_jax.data import tifa_questions
from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.runtime import strict_json
from hermesflow_jax.sequences import text_similarity

TYPES = (
  'object',
  'human',
  'animal',
  'food',
  'activity',
  'attribute',
  'counting',
  'color',
  'material',
  'spatial',
  'location',
  'shape',
  'other',
)
WRITE = """Write questions that test whether a picture shows what a caption says.
List the elements of the caption: things, people, actions, colors, numbers,
materials, places, and how things lie to each other. Write one or two questions
about each element. A question must be answerable from the picture alone, and its
answer must stand in the caption. Give two to four short choices, one of them
right; use yes and no for whether a thing is there.
Reply with one JSON object a line and nothing else, with the keys element,
element_type ({types}), question, choices, answer.

Caption: two brown dogs on a sofa
{{"element": "dogs", "element_type": "animal", "question": "are there dogs?", "choices": ["yes", "no"], "answer": "yes"}}
{{"element": "two", "element_type": "counting", "question": "how many dogs are there?", "choices": ["one", "two", "three", "four"], "answer": "two"}}
{{"element": "brown", "element_type": "color", "question": "what color are the dogs?", "choices": ["white", "black", "brown", "grey"], "answer": "brown"}}
{{"element": "sofa", "element_type": "spatial", "question": "what are the dogs on?", "choices": ["a sofa", "a bed", "the floor"], "answer": "a sofa"}}

Caption: {caption}"""  # noqa: E501
ANSWER = """A picture shows exactly this: {caption}
Answer the question about the picture with one of the choices, in its exact
words, and with nothing else.
Question: {question}
Choices: {choices}"""


@dataclasses.dataclass(frozen=True)
class WrittenQuestions:
  """Questions about a caption.

  Attributes:
    rows: TIFA records that are kept.
    damaged: written lines that are no questions.
    refused: questions whose answer the caption does not give back.
    repeated: questions that were written before.
  """

  rows: list[dict]
  damaged: int = 0
  refused: int = 0
  repeated: int = 0


class QuestionWriter:
  """Writes and filters questions; threads may share it.

  Args:
    endpoint: asks the language model.
    cache: keeps its replies.
    matcher: maps a reply to the nearest choice.
  """

  def __init__(
    self,
    endpoint: chat_endpoint.ChatEndpoint,
    cache: answer_cache.AnswerCache,
    matcher: Callable = text_similarity.nearest_choices,
  ):
    self._endpoint, self._cache, self._matcher = endpoint, cache, matcher
    self._lock = threading.Lock()
    self.requests, self.prompt_tokens, self.completion_tokens = 0, 0, 0

  def write(self, name: str, caption: str) -> WrittenQuestions:
    """Returns the questions about a caption.

    Args:
      name: id of the record.
      caption: true caption.

    Raises:
      ValueError: the endpoint refuses a request.
      ConnectionError: all tries of a request failed.
    """
    reply = self._ask(WRITE.format(types=', '.join(TYPES), caption=caption))
    rows, damaged = read_rows(reply, name, caption)
    distinct = list({row['question']: row for row in rows}.values())
    confirmed = [row for row in distinct if self._is_given_back(row)]
    return WrittenQuestions(
      confirmed,
      damaged,
      len(distinct) - len(confirmed),
      len(rows) - len(distinct),
    )

  def _is_given_back(self, row) -> bool:
    """Returns whether the model answers the question from the caption."""
    text = ANSWER.format(
      caption=row['caption'],
      question=row['question'],
      choices=', '.join(row['choices']),
    )
    (reply,) = question_prompts.read(self._ask(text), 1)
    (number,) = self._matcher([reply], [row['choices']])
    return number is not None and row['choices'][number] == row['answer']

  def _ask(self, text) -> str:
    config = self._endpoint.config
    parts = [config.model, config.max_tokens, config.temperature, config.seed]
    key = hashlib.sha256(
      json.dumps([*parts, config.body, text], sort_keys=True).encode()
    ).hexdigest()
    record = self._cache.get(key)
    if record is None:
      reply = self._endpoint.ask(text)
      record = {
        'key': key,
        'reply': reply.text,
        'requests': 1,
        'retries': reply.retries,
        'prompt_tokens': reply.prompt_tokens,
        'completion_tokens': reply.completion_tokens,
        'seconds': reply.seconds,
      }
      with self._lock:
        self._cache.put([record])
    with self._lock:
      self.requests += 1
      self.prompt_tokens += record['prompt_tokens']
      self.completion_tokens += record['completion_tokens']
    return record['reply']


def read_rows(reply: str, name: str, caption: str) -> tuple[list[dict], int]:
  """Returns the questions in a reply, and the number of damaged lines.

  Args:
    reply: JSON lines, or a JSON list, also in a block of code.
    name: id of the record.
    caption: true caption.
  """
  reply = re.sub('^.*</think>', '', reply, flags=re.DOTALL)
  reply = re.sub('^```.*$', '', reply, flags=re.MULTILINE).strip()
  try:
    values = strict_json.parse(reply)
    values = values if isinstance(values, list) else [values]
  except ValueError:
    values = [line.strip().rstrip(',') for line in reply.splitlines()]
    values = [line for line in values if line]
  rows, damaged = [], 0
  for value in values:
    try:
      row = strict_json.parse(value) if isinstance(value, str) else value
      checked = tifa_questions.check_question(row)
    except ValueError:
      damaged += 1
      continue
    kind = checked['element_type']
    rows.append(
      {
        'id': name,
        'caption': caption,
        'element': str(checked.get('element', '')),
        'question': checked['question'],
        'choices': checked['choices'],
        'answer': checked['answer'],
        'element_type': kind if kind in TYPES else 'other',
      }
    )
  return rows, damaged
