"""Chat completions in OpenAI's form: reads requests."""

from collections.abc import Mapping
import dataclasses

from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import reply_scores
from hermesflow_jax.serving import api_errors

# Fields that would change a reply, and the values that change nothing.
_UNSUPPORTED = {
  'tools': ([],),
  'functions': ([],),
  'logit_bias': ({},),
  'presence_penalty': (0,),
  'frequency_penalty': (0,),
  'modalities': (['text'],),
  'audio': (),
  'prediction': (),
}
_MOST_STOPS = 4


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
    stop: texts before which a reply ends.
    top_logprobs: likely tokens with log-probabilities at each place; None for
      no log-probabilities.
    streams: whether the reply goes out in parts.
    usage: whether a stream ends with the number of tokens.
  """

  prompt: str
  image_url: str
  decoding: batched.Decoding
  most_tokens: int
  count: int
  seed: int
  stop: tuple[str, ...]
  top_logprobs: int | None
  streams: bool
  usage: bool


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
    api_errors.FieldError: the value has another type or is out of bounds.
  """
  value = body.get(name)
  if value is None:
    return default
  if isinstance(value, bool) or not isinstance(value, kind):
    noun = 'a number' if float in _types(kind) else 'a whole number'
    raise api_errors.FieldError(name, f'be {noun}, got {value!r:.40}')
  if not low <= value <= high:
    raise api_errors.FieldError(
      name, f'be between {low} and {high}, got {value!r:.40}'
    )
  return value


def _types(kind):
  return kind if isinstance(kind, tuple) else (kind,)


def truth(body: Mapping, name: str) -> bool:
  """Returns a truth value of a request; False if it is absent or null.

  Args:
    body: the request.
    name: its field.

  Raises:
    api_errors.FieldError: the value has another type.
  """
  value = body.get(name)
  if value is not None and not isinstance(value, bool):
    raise api_errors.FieldError(name, f'be true or false, got {value!r:.40}')
  return bool(value)


def read(body: Mapping, longest: int, top_k: int) -> ChatRequest:
  """Checks a request.

  Args:
    body: JSON object; fields that OpenAI does not have are ignored.
    longest: tokens of a reply at most.
    top_k: likeliest tokens that a sampled token is among.

  Raises:
    ValueError: says which field has a fault.
  """
  for field, values in _UNSUPPORTED.items():
    if body.get(field) is not None and body[field] not in values:
      raise api_errors.FieldError(
        field, f'be absent, which this model cannot do, got {body[field]!r:.40}'
      )
  _check_form(body.get('response_format'))
  prompt, urls = _last_question(body.get('messages'))
  if len(urls) != 1:
    raise api_errors.FieldError(
      'messages',
      f'have one image, which the question is about, got {len(urls)}',
    )
  temperature = number(body, 'temperature', 1.0, 0, 2)
  if number(body, 'top_p', 1.0, 0, 1) != 1 and temperature:
    raise api_errors.FieldError('top_p', 'be 1 with a temperature above 0')
  most = min(
    number(body, 'max_tokens', longest, 1, 10**6, int),
    number(body, 'max_completion_tokens', longest, 1, 10**6, int),
  )
  decoding = batched.GREEDY
  if temperature:
    decoding = batched.Decoding(float(temperature), top_k)
  options = body.get('stream_options') or {}
  if not isinstance(options, Mapping):
    raise api_errors.FieldError('stream_options', 'be an object')
  return ChatRequest(
    prompt,
    urls[0],
    decoding,
    min(most, longest),
    number(body, 'n', 1, 1, 16, int),
    number(body, 'seed', 0, 0, 2**32 - 1, int),
    _stops(body.get('stop')),
    _top_logprobs(body),
    truth(body, 'stream'),
    truth(options, 'include_usage'),
  )


def _check_form(form):
  kind = form.get('type') if isinstance(form, Mapping) else form
  if kind not in (None, 'text'):
    raise api_errors.FieldError(
      'response_format', f"be {{'type': 'text'}}, got {form!r:.60}"
    )


def _top_logprobs(body) -> int | None:
  most = number(body, 'top_logprobs', 0, 0, reply_scores.MOST, int)
  if truth(body, 'logprobs'):
    return most
  if most:
    raise api_errors.FieldError('logprobs', 'be true with top_logprobs')
  return None


def _stops(stop) -> tuple[str, ...]:
  stops = [stop] if isinstance(stop, str) else stop or []
  is_list = isinstance(stops, list) and len(stops) <= _MOST_STOPS
  if not is_list or not all(isinstance(text, str) and text for text in stops):
    raise api_errors.FieldError(
      'stop', f'be a text or at most {_MOST_STOPS} texts, got {stop!r:.40}'
    )
  return tuple(stops)


def _last_question(messages) -> tuple[str, list[str]]:
  """Returns (text, image addresses) of the last message of the user.

  An image of an earlier message counts where the last one has none.

  Raises:
    ValueError: there is no such message, or one has another form.
  """
  if not isinstance(messages, list) or not messages:
    raise api_errors.FieldError('messages', 'be a list with a message')
  text, urls = '', []
  for message in messages:
    if not isinstance(message, Mapping):
      raise api_errors.FieldError(
        'messages', 'be objects with role and content'
      )
    if message.get('role') != 'user':
      continue
    text, own = _parts(message.get('content'))
    urls = own or urls
  if not text.strip():
    raise api_errors.FieldError('messages', 'have a text of the user, got none')
  return text, urls


def _parts(content) -> tuple[str, list[str]]:
  if isinstance(content, str):
    return content, []
  if not isinstance(content, list):
    raise api_errors.FieldError(
      'messages', 'have a content that is a text or a list of parts'
    )
  texts, urls = [], []
  for part in content:
    kind = part.get('type') if isinstance(part, Mapping) else None
    if kind == 'text' and isinstance(part.get('text'), str):
      texts.append(part['text'])
    elif kind == 'image_url':
      value = part.get('image_url')
      url = value.get('url') if isinstance(value, Mapping) else value
      if not isinstance(url, str):
        raise api_errors.FieldError(
          'messages', 'have a text as url of an image'
        )
      urls.append(url)
    else:
      raise api_errors.FieldError(
        'messages', f'have parts text and image_url, got {kind!r:.40}'
      )
  return '\n'.join(texts), urls
