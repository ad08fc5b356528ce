"""A POST request with JSON, and the faults of its reply."""

from collections.abc import Mapping
import dataclasses
import email.utils
import html
import http.client
import json
import math
import queue
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from hermesflow_jax.runtime import strict_json

# Bytes of the longest reply that is read.
MOST_BYTES = 1_000_000
_PART = 65_536
# First bytes of compressed data, which requests do not ask for.
_GZIP = b'\x1f\x8b'
# Seconds in which a reply that came in time is read and parsed.
_SLACK = 0.2
# Replies that another try may change.
_FOR_NOW = frozenset({408, 409, 425, 429, *range(500, 600)})


class RequestFault(Exception):  # noqa: N818
  """A request without a usable reply.

  Attributes:
    status: HTTP status; 0 without a reply.
    may_pass: whether another try may succeed.
    wait: seconds that the server asks to wait; 0 for none.
  """

  def __init__(
    self, text: str, status: int = 0, may_pass: bool = True, wait: float = 0.0
  ):
    super().__init__(text)
    self.status, self.may_pass, self.wait = status, may_pass, wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
  """Refuses redirects, which would carry the key to another host."""

  def redirect_request(self, *_):
    """Returns None: urllib then raises HTTPError with the status."""
    return


@dataclasses.dataclass(frozen=True)
class Transport:
  """Sends JSON to an address.

  Attributes:
    address: URL.
    key: key of the endpoint; '' for none. It never stands in a message.
    timeout: longest time for a request, in seconds.
  """

  address: str
  key: str = dataclasses.field(repr=False)
  timeout: float

  def post(self, body: Mapping) -> object:
    """Returns the JSON value of the reply.

    Args:
      body: JSON types.

    Raises:
      RequestFault: the endpoint cannot be reached, refuses the request, or
        replies with something else than JSON.
    """
    outcomes = queue.SimpleQueue()

    def work():
      try:
        outcomes.put((self._post(body), None))
      except BaseException as error:
        outcomes.put((None, error))

    # Each byte of a slow header, and the look-up of a name, have a time limit
    # of their own or none. The thread ends with its connection.
    threading.Thread(target=work, daemon=True).start()
    try:
      value, error = outcomes.get(timeout=self.timeout + _SLACK)
    except queue.Empty:
      raise self._late() from None
    if error is not None:
      raise error
    return value

  def _late(self) -> RequestFault:
    return RequestFault(f'no reply in {self.timeout:g} s')

  def _post(self, body: Mapping) -> object:
    """Returns the JSON value of the reply, see `post`, at times too late."""
    headers = {
      'Content-Type': 'application/json',
      'Accept': 'application/json',
      # Some services refuse the default of urllib.
      'User-Agent': 'hermesflow_jax',
    }
    if self.key:
      headers['Authorization'] = f'Bearer {self.key}'
    request = urllib.request.Request(
      self.address, json.dumps(body).encode(), headers, method='POST'
    )
    opener = urllib.request.build_opener(*self._handlers())
    deadline = time.monotonic() + self.timeout
    try:
      with opener.open(request, timeout=self.timeout) as reply:
        return _json_value(self._masked(_read(reply, deadline)))
    except urllib.error.HTTPError as error:
      with error:
        raise self._refusal(error, deadline) from error
    except urllib.error.URLError as error:
      if isinstance(error.reason, TimeoutError):
        raise self._late() from error
      raise RequestFault(_plain(error.reason)) from error
    except TimeoutError as error:
      raise self._late() from error
    except http.client.IncompleteRead as error:
      raise RequestFault('a reply that ends too early') from error
    except OSError as error:
      raise RequestFault(_plain(error)) from error
    except http.client.HTTPException as error:
      raise RequestFault(f'no HTTP: {_plain(error)}') from error
    except UnicodeError as error:
      # Of a host name, e.g. of a proxy in the environment.
      raise RequestFault(_plain(error), may_pass=False) from error

  def _masked(self, data: bytes) -> bytes:
    """Returns the bytes of a reply without the key, which some services echo.

    It is masked before any text is cut, so that no part of it is shown.
    """
    return data.replace(self.key.encode(), b'***') if self.key else data

  def _handlers(self) -> list:
    """Returns handlers: no redirects, and no proxy to this machine."""
    host = urllib.parse.urlsplit(self.address).hostname or ''
    local = host in ('localhost', '::1') or host.startswith('127.')
    proxies = [urllib.request.ProxyHandler({})] if local else []
    return [_NoRedirect, *proxies]

  def _refusal(self, error, deadline) -> RequestFault:
    """Returns the fault of a reply with an HTTP status above 299."""
    if 300 <= error.code < 400:
      address = self._masked(error.headers.get('Location', '').encode())
      target = _plain(address.decode(errors='replace'))
      return RequestFault(
        f'HTTP {error.code}, a redirect to {target}', error.code, False
      )
    try:
      text = _message(self._masked(_read(error, deadline)))
    except (OSError, http.client.HTTPException, RequestFault):
      text = ''
    if self.key:
      text = text.replace(self.key, '***')
    return RequestFault(
      f'HTTP {error.code}' + (f': {text}' if text else ''),
      error.code,
      error.code in _FOR_NOW,
      _seconds(error.headers.get('Retry-After', '')),
    )


def _read(reply, deadline) -> bytes:
  """Returns the content of a reply of limited size, in limited time."""
  parts, size = [], 0
  while part := reply.read1(_PART):
    parts.append(part)
    size += len(part)
    if size > MOST_BYTES:
      raise RequestFault(f'a reply of more than {MOST_BYTES} bytes')
    if time.monotonic() > deadline:
      raise TimeoutError
  if missing := getattr(reply, 'length', None):
    raise RequestFault(f'a reply that ends {missing} bytes too early')
  return b''.join(parts)


def _json_value(data: bytes):
  try:
    return strict_json.parse(data)
  except ValueError as error:
    if _is_page(data):
      raise RequestFault(f'a web page: {_message(data)}') from error
    reason = 'it is compressed' if data[:2] == _GZIP else _plain(error)
    raise RequestFault(f'no JSON: {reason}') from error


def _is_page(data):
  return data.lstrip()[:1] == b'<'


def _message(data: bytes) -> str:
  """Returns the message in a refusal, as a line of at most 200 characters."""
  text = data[:20_000].decode(errors='replace')
  if _is_page(data):
    text = re.sub(r'<(style|script)\b.*?</\1>', ' ', text, flags=re.S | re.I)
    return _plain(html.unescape(re.sub('<[^>]*>', ' ', text)))
  try:
    value = strict_json.parse(data)
  except ValueError:
    return _plain(text)
  for name in ('error', 'message', 'detail'):
    if isinstance(value, dict) and name in value:
      value = value[name]
  return _plain(value if isinstance(value, str) else json.dumps(value))


def _plain(value: object) -> str:
  """Returns a value as a line of at most 200 visible characters."""
  text = ' '.join(str(value).split())
  return ''.join(c if c.isprintable() else '?' for c in text)[:200]


def _seconds(text: str) -> float:
  """Returns the seconds of a `Retry-After`, a number or a date; 0 without."""
  try:
    seconds = float(text)
  except ValueError:
    try:
      date = email.utils.parsedate_to_datetime(text)
      seconds = date.timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
      return 0.0
  return max(0.0, seconds) if math.isfinite(seconds) else 0.0
