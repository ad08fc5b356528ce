"""Asks an OpenAI-compatible chat endpoint, with retries."""

import base64
from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import io
import time

import numpy as np
from PIL import Image

from hermesflow_jax.judging import endpoint_settings
from hermesflow_jax.judging import http_transport
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.judging import retried_requests

# Settings to look at after a refusal, by HTTP status.
_SETTINGS = {
  401: 'key_variable must name a variable with a valid key',
  403: 'key_variable must name a variable with a key that may use the model',
  404: 'url and model must be known to the endpoint',
}


@dataclasses.dataclass(frozen=True)
class Reply:
  """Reply of an endpoint.

  Attributes:
    text: words of the model; '' if it refused.
    prompt_tokens: tokens of the request; 0 if the endpoint does not count.
    completion_tokens: tokens of the reply.
    retries: failed tries before the reply.
    seconds: time of the try that succeeded.
  """

  text: str
  prompt_tokens: int
  completion_tokens: int
  retries: int
  seconds: float


class ChatEndpoint:
  """An endpoint and the pace of its requests; threads may share it.

  Args:
    config: settings.
    setting: name of the settings, for errors.
    processes: number of processes that share the rate.
    clock: returns seconds.
    sleep: waits for a number of seconds.

  Raises:
    ValueError: the key is missing.
  """

  def __init__(
    self,
    config: endpoint_settings.EndpointSettings,
    setting: str,
    processes: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
  ):
    self.config, self._setting = config, setting
    self._requests = retried_requests.RetriedRequests(
      config,
      setting,
      config.address,
      retried_requests.Refusals(
        'an endpoint',
        _SETTINGS,
        'model must accept these requests',
        f'model {config.model!r}',
      ),
      processes,
      clock,
      sleep,
    )

  def ask(self, text: str, image_url: str = '') -> Reply:
    """Returns the reply to a text, or to a text about an image.

    Args:
      text: words of the user.
      image_url: see `image_url`; '' for none.

    Raises:
      ValueError: the endpoint refuses the request, e.g. the key or the model.
      ConnectionError: all tries failed.
    """
    return self._ask(text, image_url, self.config.retries)

  def probe(self, with_image: bool = True) -> None:
    """Asks a question with a known answer, with at most one retry.

    Args:
      with_image: whether the question is about a grey image.

    Raises:
      ValueError: there is no reply.
    """
    text, picture = 'Is 2 more than 1? Reply yes or no.', ''
    if with_image:
      text = 'Is this image grey? Reply yes or no.'
      picture = image_url(np.full((64, 64, 3), 128, np.uint8))
    try:
      self._ask(text, picture, min(1, self.config.retries))
    except ConnectionError as error:
      raise ValueError(
        f'{error}; start the endpoint, or give {self._setting}.probe=False'
      ) from error

  def _ask(self, text, image_url, retries) -> Reply:
    config, content = self.config, text
    if image_url:
      content = [
        {'type': 'image_url', 'image_url': {'url': image_url}},
        {'type': 'text', 'text': text},
      ]
    body = {
      'model': config.model,
      'messages': [{'role': 'user', 'content': content}],
      'max_tokens': config.max_tokens,
      'temperature': config.temperature,
      'seed': config.seed,
    } | config.body
    body = {name: value for name, value in body.items() if value is not None}
    reply, number, seconds = self._requests.send(body, _reply, retries)
    return dataclasses.replace(reply, retries=number, seconds=seconds)


def image_url(pixels: np.ndarray) -> str:
  """Returns an image as a `data:` URL with a PNG file.

  Args:
    pixels: uint8[H, W, 3].
  """
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'PNG')
  return f'data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}'


def _reply(value) -> Reply:
  """Returns the reply in a JSON value, without retries and seconds.

  Raises:
    RequestFault: the value has another form.
  """
  try:
    content = value['choices'][0]['message'].get('content')
    if isinstance(content, Sequence) and not isinstance(content, str):
      content = ''.join(part.get('text') or '' for part in content)
    if not isinstance(content, str | None):
      raise TypeError('content is no text')
  except (KeyError, IndexError, TypeError, AttributeError) as error:
    reason = ' '.join(str(value).split())[:200]
    raise http_transport.RequestFault(
      f'no choices[0].message.content: {reason}'
    ) from error
  is_cut = value['choices'][0].get('finish_reason') == 'length'
  if is_cut and not question_prompts.without_thought(content or ''):
    raise http_transport.RequestFault(
      'a reply that max_tokens has cut before its first word; give a larger '
      'max_tokens',
      may_pass=False,
    )
  counts = value.get('usage')
  counts = counts if isinstance(counts, dict) else {}

  def count(name):
    number = counts.get(name)
    return number if type(number) is int and 0 <= number < 2**40 else 0

  return Reply(
    # Half a character, which JSON may hold, fits into no file.
    (content or '').encode(errors='replace').decode(),
    count('prompt_tokens'),
    count('completion_tokens'),
    retries=0,
    seconds=0.0,
  )
