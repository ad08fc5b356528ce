"""Chat completions in OpenAI's form: writes replies."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import math
import time
import uuid

import numpy as np

from hermesflow_jax.sampling import reply_scores
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_bytes

# OpenAI's number for a token that is hardly possible.
_LEAST_LOGP = -9999.0


@dataclasses.dataclass(frozen=True)
class Reply:
  """A reply.

  Attributes:
    text: the text.
    tokens: int32[R], generated tokens, with the end.
    complete: whether the model or a stop text ended it.
  """

  text: str
  tokens: np.ndarray
  complete: bool


def to_reply(
  text: text_tokenizer.TextTokenizer,
  tokens: np.ndarray,
  stops: Sequence[str] = (),
) -> Reply:
  """Decodes a reply and ends it before the first stop text.

  Args:
    text: text tokenizer.
    tokens: int32[R], ids of the reply, with its end if the model ended it.
    stops: stop texts.
  """
  words = text.decode_reply(tokens)
  cut = _cut(words, stops)
  if cut == words:
    return Reply(words, tokens, bool((tokens == text.eos).any()))
  count = next(
    count
    for count in range(1, len(tokens) + 1)
    if _cut(text.decode_reply(tokens[:count]), stops) == cut
    and text.decode_reply(tokens[:count]) != cut
  )
  return Reply(cut, tokens[:count], True)


def certain_text(words: str, stops: Sequence[str]) -> str:
  """Returns the part of a growing reply that no later token changes.

  Args:
    words: the reply so far, without stop texts.
    stops: stop texts.

  >>> certain_text('a red ri', ['ring'])
  'a red '
  """
  words = words.rstrip('\ufffd')
  for begin in range(len(words)):
    if any(stop.startswith(words[begin:]) for stop in stops):
      return words[:begin]
  return words


def _cut(words, stops) -> str:
  places = [place for s in stops if (place := words.find(s)) >= 0]
  return words[: min(places)] if places else words


class Completion:
  """Writes a chat completion, at once or as events of a stream.

  Args:
    model: name of the model.
    prompt_tokens: tokens of the image and the question.
  """

  def __init__(self, model: str, prompt_tokens: int):
    self._prompt_tokens = prompt_tokens
    self._head = {
      'id': f'chatcmpl-{uuid.uuid4().hex}',
      'created': int(time.time()),
      'model': model,
    }

  def whole(
    self, replies: Sequence[Reply], logprobs: Sequence[dict] | None = None
  ) -> dict:
    """Returns the completion with all replies.

    Args:
      replies: replies to the question.
      logprobs: from `token_logprobs` for each reply; None for none.
    """
    return self._head | {
      'object': 'chat.completion',
      'choices': [
        {
          'index': index,
          'message': {'role': 'assistant', 'content': reply.text},
          'logprobs': logprobs and logprobs[index],
          'finish_reason': _reason(reply),
        }
        for index, reply in enumerate(replies)
      ],
      'usage': self._usage(replies),
    }

  def delta(self, index: int, text: str | None, **more) -> str:
    """Returns an event with a further part of a reply.

    Args:
      index: number of the reply.
      text: the part; None for the event before the first part.
      **more: further fields of the choice.
    """
    content = {'content': text or ''}
    if text is None:
      content['role'] = 'assistant'
    return self._event(
      [{'index': index, 'delta': content, 'finish_reason': None} | more]
    )

  def end(self, index: int, reply: Reply) -> str:
    """Returns the event that ends a reply.

    Args:
      index: number of the reply.
      reply: the reply.
    """
    choice = {'index': index, 'delta': {}, 'finish_reason': _reason(reply)}
    return self._event([choice])

  def usage(self, replies: Sequence[Reply]) -> str:
    """Returns the event with the numbers of tokens.

    Args:
      replies: all replies.
    """
    return self._event([], usage=self._usage(replies))

  def _event(self, choices, **more) -> str:
    content = self._head | {
      'object': 'chat.completion.chunk',
      'choices': choices,
    }
    return event(content | more)

  def _usage(self, replies) -> dict:
    tokens = sum(len(reply.tokens) for reply in replies)
    return {
      'prompt_tokens': self._prompt_tokens,
      'completion_tokens': tokens,
      'total_tokens': self._prompt_tokens + tokens,
    }


def event(content: Mapping | str) -> str:
  """Returns an event of a stream.

  Args:
    content: JSON object, or '[DONE]'.
  """
  text = content if isinstance(content, str) else json.dumps(content)
  return f'data: {text}\n\n'


def _reason(reply) -> str:
  return 'stop' if reply.complete else 'length'


def token_logprobs(
  text: text_tokenizer.TextTokenizer,
  reply: Reply,
  scores: reply_scores.TokenScores,
  most: int,
) -> dict:
  """Returns the log-probabilities of a reply's tokens in OpenAI's form.

  The end of a reply is no token of its text, so it has no entry.

  Args:
    text: text tokenizer.
    reply: the reply.
    scores: scores of its tokens.
    most: likely tokens at each place.
  """

  def entry(place, token, logp):
    data = token_bytes.token_bytes(text, int(token))
    if not place:
      # The text of a reply begins behind the space of its first word.
      data = data.removeprefix(b' ')
    logp = float(logp)
    return {
      # Half a character has no text of its own.
      'token': data.decode('utf-8', 'replace'),
      'logprob': logp if math.isfinite(logp) else _LEAST_LOGP,
      'bytes': list(data),
    }

  content = []
  for place, token in enumerate(reply.tokens):
    if token == text.eos:
      break
    likely = zip(scores.likely[place, :most], scores.likely_logps[place, :most])
    content.append(
      entry(place, token, scores.own[place])
      | {'top_logprobs': [entry(place, *pair) for pair in likely]}
    )
  return {'content': content, 'refusal': None}
