"""Errors in OpenAI's form, and what clients get for each fault."""

import logging
import uuid

from starlette import datastructures
from starlette import exceptions
from starlette import requests as web
from starlette import responses

from hermesflow_jax.serving import client_waiting
from hermesflow_jax.serving import request_queue

_FAILED = 'the server failed at this request; its log says why'
_LOG = logging.getLogger('hermesflow_jax.serving')


class FieldError(ValueError):
  """A field of a request has a fault.

  Args:
    field: name of the field.
    condition: completes the sentence '<field> must ...'.
  """

  def __init__(self, field: str, condition: str):
    super().__init__(f'{field} must {condition}')
    self.field = field


class ModelUnknown(Exception):  # noqa: N818
  """A request names another model."""


class BodyTooLarge(Exception):  # noqa: N818
  """A body has more bytes than it may."""


def reply(
  status: int, message: str, code: str = '', field: str = ''
) -> responses.JSONResponse:
  """Returns an error in OpenAI's form.

  Args:
    status: HTTP status.
    message: what is wrong, and what to do.
    code: code of the error; '' for none.
    field: field of the request with the fault; '' for none.
  """
  content = _content(status, message, code, field)
  return responses.JSONResponse(content, status_code=status)


def _content(status, message, code='', field='') -> dict:
  return {
    'error': {
      'message': message,
      'type': 'invalid_request_error' if status < 500 else 'server_error',
      'param': field or None,
      'code': code or None,
    }
  }


def event_content(error: Exception) -> dict:
  """Returns what a stream sends when it fails; the error is logged.

  Args:
    error: the exception.
  """
  _LOG.error('a stream failed', exc_info=error)
  return _content(500, _FAILED)


def reply_to(error: Exception) -> responses.Response:
  """Returns what a client gets for an exception of its request.

  Args:
    error: the exception; one that is no fault of the client is logged.
  """
  if isinstance(error, client_waiting.ClientLeft):
    return responses.Response(status_code=499)
  if isinstance(error, FieldError):
    return reply(400, str(error), field=error.field)
  if isinstance(error, ValueError):
    return reply(400, str(error))
  if isinstance(error, ModelUnknown):
    return reply(404, str(error), 'model_not_found', 'model')
  if isinstance(error, BodyTooLarge):
    return reply(413, str(error))
  if isinstance(error, request_queue.QueueFull):
    full = reply(429, f'{error}; try again later', 'rate_limit_exceeded')
    full.headers['Retry-After'] = '1'
    return full
  if isinstance(error, request_queue.QueueClosed):
    return reply(503, str(error))
  _LOG.error('a request failed', exc_info=error)
  return reply(500, _FAILED)


async def on_http_error(
  request: web.Request, error: exceptions.HTTPException
) -> responses.Response:
  """Returns starlette's own errors, e.g. for an unknown path.

  Args:
    request: the request.
    error: its status and detail.
  """
  message = f'{request.method} {request.url.path}: {error.detail}'
  response = reply(error.status_code, message)
  response.headers.update(error.headers or {})
  return response


class RequestIds:
  """Gives every response a header `x-request-id`; an ASGI middleware.

  Args:
    app: the application.
  """

  def __init__(self, app):
    self.app = app

  async def __call__(self, scope, receive, send):
    """Answers a request, see the ASGI specification."""
    name = f'req_{uuid.uuid4().hex}'

    async def send_with_id(message):
      if message['type'] == 'http.response.start':
        headers = datastructures.MutableHeaders(scope=message)
        headers['x-request-id'] = name
      await send(message)

    await self.app(scope, receive, send_with_id)
