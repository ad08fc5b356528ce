"""Answers requests while a model is loaded, and hands later ones on.

The port is open from the start: a client gets status 503 and may come again,
and a health check reads how far the server is.
"""

import threading

from starlette import requests as web
from starlette import responses
from starlette import types

from hermesflow_jax.serving import api_errors

# Seconds after which a client may come again.
_RETRY_AFTER = 2
_PAGE = (
  '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" '
  'content="{seconds}"><title>starting</title><p>The server starts: {progress}.'
)


class Startup:
  """An ASGI application that answers until it has another one.

  Attributes:
    progress: what the server does, e.g. 'loading the model'.
  """

  def __init__(self):
    self.progress = 'loading the model'
    self._app: types.ASGIApp | None = None
    self._starting = api_errors.RequestIds(self._answer)
    self.is_ready = threading.Event()

  def hand_on(self, app: types.ASGIApp) -> None:
    """Hands all later requests to an application.

    Args:
      app: the application.
    """
    self._app = app
    self.is_ready.set()

  async def __call__(self, scope, receive, send):
    """Answers a request, see the ASGI specification."""
    await (self._app or self._starting)(scope, receive, send)

  async def _answer(self, scope, receive, send):
    response = self._response(web.Request(scope))
    response.headers['Retry-After'] = str(_RETRY_AFTER)
    await response(scope, receive, send)

  def _response(self, request) -> responses.Response:
    path = request.url.path
    if path == '/healthz':
      return responses.JSONResponse(
        {'status': 'starting', 'progress': self.progress}, status_code=503
      )
    if path == '/':
      page = _PAGE.format(seconds=_RETRY_AFTER, progress=self.progress)
      return responses.HTMLResponse(page, status_code=503)
    return api_errors.reply(
      503, f'the server starts: {self.progress}; try again later', 'starting'
    )
