"""The HTTP routes of the server.

`/v1/chat/completions`, `/v1/images/generations`, `/v1/images/edits` and
`/v1/models` have the form of OpenAI's API; `/healthz` tells whether the server
works; `/` is a page to try the model.
"""

import dataclasses
import hmac
import time

from starlette import applications
from starlette import concurrency
from starlette import exceptions
from starlette import middleware
from starlette import requests as web
from starlette import responses
from starlette import routing

from hermesflow_jax.serving import api_errors
from hermesflow_jax.serving import chat_forms
from hermesflow_jax.serving import chat_route
from hermesflow_jax.serving import client_waiting
from hermesflow_jax.serving import image_forms
from hermesflow_jax.serving import local_requests
from hermesflow_jax.serving import model_service
from hermesflow_jax.serving import page
from hermesflow_jax.serving import request_bodies
from hermesflow_jax.serving import request_images
from hermesflow_jax.serving import request_queue
from hermesflow_jax.serving import searched_images
from hermesflow_jax.serving import service_requests


@dataclasses.dataclass(frozen=True)
class AppSettings:
  """How the server answers.

  Attributes:
    name: name of the model in replies.
    key: what clients send as a bearer token; '' for none.
    limits: what images may be.
    most_body: bytes of a request at most.
    top_k: likeliest tokens that a sampled token is among.
    candidates: drawings for each image of a request without `best_of`.
  """

  name: str
  key: str
  limits: request_images.ImageLimits
  most_body: int
  top_k: int
  candidates: int = 1


class Server:
  """Answers requests by a model.

  Args:
    service: the model.
    queue: runs the requests in batches.
    settings: how it answers.

  Attributes:
    progress: what is still compiled; '' for nothing.
  """

  def __init__(
    self,
    service: model_service.ModelService,
    queue: request_queue.RequestQueue,
    settings: AppSettings,
  ):
    self.service, self.queue, self.settings = service, queue, settings
    self.started = int(time.time())
    self.progress = ''

  def app(self) -> applications.Starlette:
    """Returns the application for an ASGI server."""
    posts = {
      '/v1/chat/completions': self.chat,
      '/v1/images/generations': self.generate,
      '/v1/images/edits': self.edit,
    }
    return applications.Starlette(
      middleware=[
        middleware.Middleware(api_errors.RequestIds),
        *local_requests.checks(self.settings.key, api_errors.reply),
      ],
      exception_handlers={exceptions.HTTPException: api_errors.on_http_error},
      routes=[
        routing.Route('/v1/models', self._guarded(self.models)),
        routing.Route('/v1/models/{name:path}', self._guarded(self.model)),
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
    )

  def _guarded(self, act):
    """Returns a route that checks the key, and turns faults into replies."""

    async def route(request: web.Request):
      if self.settings.key and not self._has_key(request):
        return api_errors.reply(
          401, 'the key is missing or wrong', 'invalid_api_key'
        )
      try:
        return await act(
          request_bodies.bounded(request, self.settings.most_body)
        )
      except exceptions.HTTPException:
        raise
      except Exception as error:
        return api_errors.reply_to(error)

    return route

  def _has_key(self, request) -> bool:
    expected = f'Bearer {self.settings.key}'.encode()
    sent = request.headers.get('authorization', '').encode()
    return hmac.compare_digest(sent, expected)

  def _check_model(self, body) -> None:
    """Raises ModelUnknown if a request names another model."""
    name = body.get('model')
    if name not in (None, '', self.settings.name):
      raise api_errors.ModelUnknown(
        f'model must be {self.settings.name}, got {name!r:.60}'
      )

  async def models(self, request: web.Request):
    """Lists the model."""
    del request
    return responses.JSONResponse(
      {'object': 'list', 'data': [self._description()]}
    )

  async def model(self, request: web.Request):
    """Describes the model."""
    self._check_model({'model': request.path_params['name']})
    return responses.JSONResponse(self._description())

  def _description(self) -> dict:
    return {
      'id': self.settings.name,
      'object': 'model',
      'created': self.started,
      'owned_by': 'hermesflow_jax',
    }

  async def health(self, request: web.Request):
    """Tells how many requests wait."""
    del request
    state = {'status': 'ok', 'waiting': len(self.queue)}
    if self.progress:
      state['progress'] = self.progress
    return responses.JSONResponse(state)

  async def chat(self, request: web.Request):
    """Answers a question about an image."""
    body = await request_bodies.read_json(request)
    self._check_model(body)
    unified = self.service.unified
    top_k = self.settings.top_k or unified.vocab.text_size
    return await chat_route.answer(
      request,
      chat_forms.read(body, unified.lengths.reply, top_k),
      self.service,
      self.queue,
      self.settings.limits,
      self.settings.name,
    )

  async def generate(self, request: web.Request):
    """Draws images for a prompt."""
    body = await request_bodies.read_json(request)
    self._check_model(body)
    image = self._read_image_request(body)
    return await self._draw(request, 'draw', image)

  async def edit(self, request: web.Request):
    """Draws the transparent part of an image anew."""
    names = {'image': True, 'mask': False}
    body, files = await request_bodies.read_form(
      request, names, image_forms.NUMBERS, self.settings.most_body
    )
    self._check_model(body)
    service = self.service
    image = self._read_image_request(body)

    def read_images():
      for data in filter(None, files.values()):
        request_images.check(data, self.settings.limits)
      known = image_forms.known_codes(
        files['image'], files['mask'], service.unified.grid, service.size
      )
      return request_images.to_pixels(files['image'], service.size), known

    pixels, known = await concurrency.run_in_threadpool(read_images)
    return await self._draw(request, 'edit', image, pixels, known)

  def _read_image_request(self, body) -> image_forms.ImageRequest:
    return image_forms.read(body, self.service.size, self.settings.candidates)

  async def _draw(self, request, kind, image, pixels=None, known=None):
    """Returns the response with new drawings, or with the best of several."""
    prompt, seed, count = image.prompt, image.seed, image.count
    if image.best_of > count:
      search = searched_images.SearchRequest(
        prompt, count, image.best_of, seed, pixels, known
      )
      kind = ('search', kind, count, image.best_of)
      futures = self.queue.submit(kind, [search])
      (drawn,) = await client_waiting.results(request, futures)
    else:
      draws = [
        service_requests.DrawRequest(prompt, seed, n, pixels, known)
        for n in range(count)
      ]
      futures = self.queue.submit((kind, self.service.sampler), draws)
      drawn = await client_waiting.results(request, futures)
    content = await concurrency.run_in_threadpool(image_forms.write, drawn)
    return responses.JSONResponse(content)
