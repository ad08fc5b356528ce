"""The HTTP routes of the server.

`/v1/chat/completions`, `/v1/images/generations`, `/v1/images/edits` and
`/v1/models` have the form of OpenAI's API; `/healthz` tells whether the server
works; `/` is a page to try the model.
"""

import dataclasses
import hmac
import json
import time

from starlette import applications
from starlette import concurrency
from starlette import requests as web
from starlette import responses
from starlette import routing

from hermesflow_jax.serving import chat_forms
from hermesflow_jax.serving import client_waiting
from hermesflow_jax.serving import image_forms
from hermesflow_jax.serving import local_requests
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import page
from hermesflow_jax.serving import request_images
from hermesflow_jax.serving import request_queue


@dataclasses.dataclass(frozen=True)
class AppSettings:
  """How the server answers.

  Attributes:
    name: name of the model in replies.
    key: what clients send as a bearer token; '' for none.
    limits: what images may be.
    most_body: bytes of a request at most.
    top_k: likeliest tokens that a sampled token is among.
  """

  name: str
  key: str
  limits: request_images.ImageLimits
  most_body: int
  top_k: int


class Server:
  """Answers requests by a model.

  Args:
    service: the model.
    queue: runs the requests in batches.
    settings: how it answers.
  """

  def __init__(
    self,
    service: model_service.ModelService,
    queue: request_queue.RequestQueue,
    settings: AppSettings,
  ):
    self.service, self.queue, self.settings = service, queue, settings
    self.started = int(time.time())

  def app(self) -> applications.Starlette:
    """Returns the application for an ASGI server."""
    posts = {
      '/v1/chat/completions': self.chat,
      '/v1/images/generations': self.generate,
      '/v1/images/edits': self.edit,
    }
    return applications.Starlette(
      routes=[
        routing.Route('/v1/models', self._guarded(self.models)),
        routing.Route('/healthz', self.health),
        *(
          routing.Route(path, self._guarded(act), methods=['POST'])
          for path, act in posts.items()
        ),
        *page.routes(
          self.service,
          self.settings.name,
          bool(self.settings.key),
          self._guarded,
        ),
      ],
      middleware=local_requests.checks(self.settings.key, fault),
    )

  def _guarded(self, act):
    """Returns a route that checks the key, and turns faults into replies."""

    async def route(request: web.Request):
      if self.settings.key and not self._has_key(request):
        return fault(401, 'the key is missing or wrong', 'invalid_api_key')
      length = request.headers.get('content-length', '0')
      if not length.isdigit() or int(length) > self.settings.most_body:
        return fault(
          413, f'the body must have at most {self.settings.most_body} bytes'
        )
      try:
        return await act(request)
      except ValueError as error:
        return fault(400, str(error))
      except request_queue.QueueFull as error:
        reply = fault(429, f'{error}; try again later', 'rate_limit_exceeded')
        reply.headers['Retry-After'] = '1'
        return reply
      except request_queue.QueueClosed as error:
        return fault(503, str(error))
      except client_waiting.ClientLeft:
        return responses.Response(status_code=499)

    return route

  def _has_key(self, request) -> bool:
    expected = f'Bearer {self.settings.key}'.encode()
    sent = request.headers.get('authorization', '').encode()
    return hmac.compare_digest(sent, expected)

  async def models(self, request: web.Request):
    """Lists the model."""
    del request
    model = {
      'id': self.settings.name,
      'object': 'model',
      'created': self.started,
      'owned_by': 'hermesflow_jax',
    }
    return responses.JSONResponse({'object': 'list', 'data': [model]})

  async def health(self, request: web.Request):
    """Tells how many requests wait."""
    del request
    return responses.JSONResponse({'status': 'ok', 'waiting': len(self.queue)})

  async def chat(self, request: web.Request):
    """Answers a question about an image."""
    service = self.service
    longest = service.unified.lengths.reply
    body = await self._json(request)
    chat = chat_forms.read(body, longest, self._top_k())
    service.unified.check_question({'question': chat.prompt})
    data = await concurrency.run_in_threadpool(
      request_images.read, chat.image_url, self.settings.limits
    )
    pixels = await concurrency.run_in_threadpool(
      request_images.to_pixels, data, service.size
    )
    kind = ('reply', chat.decoding, chat.most_tokens)
    name = request_images.content_name(data)
    futures = self.queue.submit(
      kind,
      [
        model_service.ReplyRequest(name, pixels, chat.prompt, chat.seed, n)
        for n in range(chat.count)
      ],
    )
    replies = await client_waiting.results(request, futures)
    completion = chat_forms.write(
      self.settings.name, replies, service.prompt_tokens(chat.prompt)
    )
    if not chat.streams:
      return responses.JSONResponse(completion)

    async def events():
      for line in chat_forms.stream_lines(completion):
        yield line

    return responses.StreamingResponse(events(), media_type='text/event-stream')

  async def generate(self, request: web.Request):
    """Draws images for a prompt."""
    body = await self._json(request)
    image = image_forms.read(body, self.service.size)
    draws = [
      model_service.DrawRequest(image.prompt, image.seed, n)
      for n in range(image.best_of)
    ]
    return await self._draw(request, 'draw', image, draws)

  async def edit(self, request: web.Request):
    """Draws the transparent part of an image anew."""
    async with request.form(max_part_size=self.settings.most_body) as form:
      image_file = await _file(form, 'image')
      mask = await _file(form, 'mask', needed=False)
      body = {
        key: _plain(value)
        for key, value in form.items()
        if isinstance(value, str)
      }
    for data in filter(None, (image_file, mask)):
      request_images.check_pixels(data, self.settings.limits)
    service = self.service
    image = image_forms.read(body, service.size)
    pixels, known = await concurrency.run_in_threadpool(
      lambda: (
        request_images.to_pixels(image_file, service.size),
        image_forms.known_codes(
          image_file, mask, service.unified.grid, service.size
        ),
      )
    )
    draws = [
      model_service.DrawRequest(image.prompt, image.seed, n, pixels, known)
      for n in range(image.best_of)
    ]
    return await self._draw(request, 'edit', image, draws)

  async def _draw(self, request, kind, image, draws):
    """Returns the response with the best of some drawings."""
    futures = self.queue.submit((kind, self.service.sampler), draws)
    drawn = await client_waiting.results(request, futures)
    if image.best_of > image.count:
      ranks = [
        model_service.RankRequest(pixels, image.prompt) for pixels in drawn
      ]
      scores = await client_waiting.results(
        request, self.queue.submit(('rank',), ranks)
      )
      order = sorted(range(len(drawn)), key=lambda n: -scores[n])
      drawn = [drawn[n] for n in order[: image.count]]
    content = await concurrency.run_in_threadpool(image_forms.write, drawn)
    return responses.JSONResponse(content)

  async def _json(self, request):
    """Returns the JSON value of a body.

    Raises:
      ValueError: it is no JSON, or too long.
    """
    data = b''
    async for part in request.stream():
      data += part
      if len(data) > self.settings.most_body:
        raise ValueError(
          f'the body must have at most {self.settings.most_body} bytes'
        )
    try:
      return json.loads(data)
    except (ValueError, RecursionError) as error:
      raise ValueError(f'the body must be JSON: {error}') from error

  def _top_k(self) -> int:
    return self.settings.top_k or self.service.unified.vocab.text_size


async def _file(form, name, needed=True) -> bytes:
  """Returns the bytes of a file of a form; b'' for none.

  Raises:
    ValueError: there is no such file.
  """
  value = form.get(name)
  if value is None or isinstance(value, str):
    if needed:
      raise ValueError(f'{name} must be a file')
    return b''
  return await value.read()


def _plain(text):
  """Returns a field of a form as a number where it is one."""
  try:
    return int(text)
  except ValueError:
    return text


def fault(status: int, message: str, code: str = '') -> responses.JSONResponse:
  """Returns an error in OpenAI's form.

  Args:
    status: HTTP status.
    message: what is wrong, and what to do.
    code: code of the error; '' for none.
  """
  kind = 'invalid_request_error' if status < 500 else 'server_error'
  error = {
    'message': message,
    'type': kind,
    'param': None,
    'code': code or None,
  }
  return responses.JSONResponse({'error': error}, status_code=status)
