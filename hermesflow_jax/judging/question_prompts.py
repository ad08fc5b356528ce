"""Questions about an image as texts for an endpoint, and replies as answers."""

from collections.abc import Sequence
import re

from hermesflow_jax.sequences import text_similarity

PROMPT = (
  'Look at the image and answer the question. Reply with one of the choices, '
  'in its exact words, and with nothing else.\n'
  'Question: {question}\n'
  'Choices: {choices}'
)
_SEVERAL = (
  'There are {count} questions about the image. Write {count} lines: the '
  'number of a question, a full stop, and the answer, e.g. "1. yes".\n\n'
)
_LINE = re.compile(r'^\W*(\d+)\s*[.):]\s*(.*?)\s*$')
# A thought that max_tokens has cut has no end, and no answer after it.
_THOUGHT = re.compile(r'^.*</think>|^\s*<think>.*', re.DOTALL)
# Longest reply to a question that is read, in characters.
_LONGEST = 2_000


def check(setting: str, prompt: str) -> None:
  """Raises ValueError for a prompt without a question, or with other fields.

  Args:
    setting: name of the setting, for the error.
    prompt: text with the fields {question} and {choices}.
  """
  try:
    text = prompt.format(question='<question>', choices='<choices>')
  except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
    raise ValueError(
      f'{setting} must have no fields but {{question}} and {{choices}}, got '
      f'{prompt!r}; write {{{{ for a brace'
    ) from error
  if '<question>' not in text:
    raise ValueError(
      f'{setting} must have the field {{question}}, got {prompt!r}'
    )


def write(prompt: str, questions: Sequence[dict]) -> str:
  """Returns the text of a request.

  Args:
    prompt: see `check`.
    questions: TIFA records, at least one.

  >>> write('{question} {choices}', [{'question': 'q ?', 'choices': ['a']}])
  'q ? a'
  """
  texts = [
    prompt.format(question=q['question'], choices=', '.join(q['choices']))
    for q in questions
  ]
  if len(texts) == 1:
    return texts[0]
  rows = '\n\n'.join(f'{n}. {text}' for n, text in enumerate(texts, 1))
  return _SEVERAL.format(count=len(texts)) + rows


def without_thought(reply: str) -> str:
  """Returns the text behind a model's thought; '' if there is none.

  Args:
    reply: text of an endpoint.
  """
  return _THOUGHT.sub('', reply).strip()


def read(reply: str, count: int) -> list[str]:
  r"""Returns a reply per question; '' for a question without a reply.

  Args:
    reply: text of an endpoint; thoughts before it are dropped.
    count: questions in the request.

  >>> read('<think>1. or 2.?</think>1. red\n**2)** two', 2)
  ['red', 'two']
  """
  reply = without_thought(reply)[: _LONGEST * count]
  if count == 1:
    return [reply]
  replies = [''] * count
  for line in reply.splitlines():
    match = _LINE.match(line.replace('*', ''))
    if match and 1 <= (number := int(match[1][:9])) <= count:
      replies[number - 1] = replies[number - 1] or match[2]
  return replies


def choose(
  matcher: text_similarity.Matcher,
  replies: Sequence[str],
  questions: Sequence[dict],
) -> list[int | None]:
  """Returns N choice indices, None where a reply resembles no choice.

  A blank reply resembles none: a model that is cut in its thoughts has chosen
  nothing, although a text encoder calls some choice the nearest.

  Args:
    matcher: maps replies to the nearest choices.
    replies: N replies without thoughts.
    questions: N TIFA records.

  >>> questions = [{'choices': ['a', 'b']}] * 2
  >>> choose(text_similarity.nearest_choices, ['', 'B.'], questions)
  [None, 1]
  """
  numbers = [None] * len(replies)
  written = [n for n, reply in enumerate(replies) if reply.strip()]
  if written:
    matched = matcher(
      [replies[n] for n in written], [questions[n]['choices'] for n in written]
    )
    for n, number in zip(written, matched, strict=True):
      numbers[n] = number
  return numbers
