"""Chat completions in OpenAI's form: requests read, replies written."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import time
import uuid

from hermesflow_jax.sampling import batched
from hermesflow_jax.serving import model_service


@dataclasses.dataclass(frozen=True)
class ChatRequest:
  """A checked request.

  Attributes:
    prompt: text of the last message of the user.
    image_url: address of its image.
    decoding: text sampler.
    most_tokens: limit on the tokens of a reply.
    count: number of replies.
    seed: random seed.
    streams: whether the reply goes out in parts.
  """

  prompt: str
  image_url: str
  decoding: batched.Decoding
  most_tokens: int
  count: int
  seed: int
  streams: bool


def number(body: Mapping, name: str, default, low, high, kind=(int, float)):
  """Returns a number of a request.

  Args:
    body: the request.
    name: its field; absent or null gives the default.
    default: default.
    low: least value.
    high: greatest value.
    kind: accepted types.

  Raises:
    ValueError: the value has another type or is out of bounds.
  """
  value = body.get(name)
  if value is None:
    return default
  if isinstance(value, bool) or not isinstance(value, kind):
    raise ValueError(f'{name} must be a number, got {value!r:.40}')
  if not low <= value <= high:
    raise ValueError(f'{name} must be between {low} and {high}, got {value}')
  return value


def read(body: object, longest: int, top_k: int) -> ChatRequest:
  """Checks a request.

  Args:
    body: JSON value.
    longest: tokens of a reply at most.
    top_k: likeliest tokens that a sampled token is among.

  Raises:
    ValueError: says which field has a fault.
  """
  if not isinstance(body, Mapping):
    raise ValueError('the body must be a JSON object')
  prompt, urls = _last_question(body.get('messages'))
  if len(urls) != 1:
    raise ValueError(
      f'messages must have one image, which the question is about, got '
      f'{len(urls)}'
    )
  temperature = number(body, 'temperature', 1.0, 0, 2)
  if number(body, 'top_p', 1.0, 0, 1) not in (1, 1.0) and temperature:
    raise ValueError('top_p must be 1 with a temperature above 0')
  most = min(
    number(body, 'max_tokens', longest, 1, 10**6, int),
    number(body, 'max_completion_tokens', longest, 1, 10**6, int),
  )
  decoding = batched.GREEDY
  if temperature:
    decoding = batched.Decoding(float(temperature), top_k)
  return ChatRequest(
    prompt,
    urls[0],
    decoding,
    min(most, longest),
    number(body, 'n', 1, 1, 16, int),
    number(body, 'seed', 0, 0, 2**32 - 1, int),
    bool(body.get('stream', False)),
  )


def _last_question(messages) -> tuple[str, list[str]]:
  """Returns (text, image addresses) of the last message of the user.

  An image of an earlier message counts where the last one has none.

  Raises:
    ValueError: there is no such message, or one has another form.
  """
  if not isinstance(messages, list) or not messages:
    raise ValueError('messages must be a list with a message')
  text, urls = '', []
  for message in messages:
    if not isinstance(message, Mapping):
      raise ValueError('messages must be objects with role and content')
    if message.get('role') != 'user':
      continue
    text, own = _parts(message.get('content'))
    urls = own or urls
  if not text.strip():
    raise ValueError('messages must have a text of the user, got none')
  return text, urls


def _parts(content) -> tuple[str, list[str]]:
  if isinstance(content, str):
    return content, []
  if not isinstance(content, list):
    raise ValueError('content must be a text or a list of parts')
  texts, urls = [], []
  for part in content:
    kind = part.get('type') if isinstance(part, Mapping) else None
    if kind == 'text' and isinstance(part.get('text'), str):
      texts.append(part['text'])
    elif kind == 'image_url':
      value = part.get('image_url')
      url = value.get('url') if isinstance(value, Mapping) else value
      if not isinstance(url, str):
        raise ValueError('image_url must have a text url')
      urls.append(url)
    else:
      raise ValueError(
        f'content must have parts text and image_url, got {kind}'
      )
  return '\n'.join(texts), urls


def write(
  model: str, replies: Sequence[model_service.Reply], prompt_tokens: int
) -> dict:
  """Returns a chat completion.

  Args:
    model: name of the model.
    replies: replies to the question.
    prompt_tokens: tokens of the image and the question.
  """
  tokens = sum(reply.tokens for reply in replies)
  return {
    'id': f'chatcmpl-{uuid.uuid4().hex}',
    'object': 'chat.completion',
    'created': int(time.time()),
    'model': model,
    'choices': [
      {
        'index': index,
        'message': {'role': 'assistant', 'content': reply.text},
        'logprobs': None,
        'finish_reason': 'stop' if reply.complete else 'length',
      }
      for index, reply in enumerate(replies)
    ],
    'usage': {
      'prompt_tokens': prompt_tokens,
      'completion_tokens': tokens,
      'total_tokens': prompt_tokens + tokens,
    },
  }


def stream_lines(completion: Mapping) -> list[str]:
  """Returns a completion as the events of a stream, word by word.

  Args:
    completion: from `write`.
  """
  head = {key: completion[key] for key in ('id', 'created', 'model')} | {
    'object': 'chat.completion.chunk'
  }
  events = []
  for choice in completion['choices']:
    text = choice['message']['content']
    words = [f'{word} ' for word in text.split(' ')]
    words[-1] = words[-1][:-1]
    deltas = [{'role': 'assistant', 'content': ''}]
    deltas += [{'content': word} for word in words if word]
    for delta in deltas:
      part = {'index': choice['index'], 'delta': delta, 'finish_reason': None}
      events.append(head | {'choices': [part]})
    end = {
      'index': choice['index'],
      'delta': {},
      'finish_reason': choice['finish_reason'],
    }
    events.append(head | {'choices': [end]})
  return [f'data: {json.dumps(event)}\n\n' for event in events] + [
    'data: [DONE]\n\n'
  ]
