"""Refuses requests that a foreign web page sends to a server without a key.

A browser sends requests of any web page to 127.0.0.1. A page whose name
resolves to 127.0.0.1 (DNS rebinding) could even read the replies. Such requests
carry the page's name in `Host` or `Origin`. With a key they fail anyway.
"""

from collections.abc import Awaitable
from collections.abc import Callable
import ipaddress
import urllib.parse

from starlette import datastructures
from starlette import middleware
from starlette import types


def checks(
  key: str, refuse: Callable[[int, str], types.ASGIApp]
) -> list[middleware.Middleware]:
  """Returns the middleware of a server: checks where it has no key.

  Args:
    key: key of clients, or ''.
    refuse: (status, message) -> response with the error.
  """
  if key:
    return []
  return [middleware.Middleware(LocalRequests, refuse=refuse)]


class LocalRequests:
  """ASGI middleware that checks the headers `Host` and `Origin`.

  Args:
    app: application to protect.
    refuse: (status, message) -> ASGI application that sends the error.
  """

  def __init__(
    self, app: types.ASGIApp, refuse: Callable[[int, str], types.ASGIApp]
  ):
    self.app, self.refuse = app, refuse

  def __call__(
    self, scope: types.Scope, receive: types.Receive, send: types.Send
  ) -> Awaitable[None]:
    """Passes a request on, or refuses it with status 403."""
    app = self.app
    if scope['type'] == 'http' and (fault := _fault(scope)):
      app = self.refuse(403, fault)
    return app(scope, receive, send)


def _fault(scope) -> str:
  """Returns why a request is refused, or ''."""
  headers = datastructures.Headers(scope=scope)
  host = headers.get('host', '')
  # Programs without Host (HTTP/1.0) are no browsers.
  if host and not is_local(host):
    return (
      f'Host must be localhost or a loopback address, got {host:.80}; '
      'a server for other names needs a key (--config.key_variable)'
    )
  origin = headers.get('origin')
  if origin is not None and urllib.parse.urlsplit(origin).netloc != host:
    return (
      f"Origin must be the server's own page, got {origin:.80}; requests of "
      'other pages need a server with a key (--config.key_variable)'
    )
  return ''


def is_local(host: str) -> bool:
  """Returns whether a `Host` header names this machine, e.g. '[::1]:8000'.

  Args:
    host: name or address, with or without a port.
  """
  try:
    name = urllib.parse.urlsplit(f'//{host}').hostname or ''
    if name == 'localhost' or name.endswith('.localhost'):
      return True
    return ipaddress.ip_address(name).is_loopback
  except ValueError:
    return False
