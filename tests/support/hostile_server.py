"""Chat endpoints that break the protocol, each in its own way."""

import gzip
import itertools
import json
import socket
import threading
import time

import chat_server

GOOD = chat_server.reply('yes').encode()


def http(body=GOOD, status='200 OK', *headers, length=None):
  """Returns the bytes of a reply."""
  size = len(body) if length is None else length
  lines = [f'HTTP/1.1 {status}', *headers]
  if size >= 0:
    lines.append(f'Content-Length: {size}')
  return '\r\n'.join([*lines, '', '']).encode() + body


def choices(message, **more):
  """Returns a reply with a message of any form."""
  return http(json.dumps({'choices': [{'message': message} | more]}).encode())


def chunked(*parts, end=b'0\r\n\r\n'):
  """Returns a reply in chunks."""
  head = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  body = b''.join(b'%x\r\n%s\r\n' % (len(part), part) for part in parts)
  return head + body + end


def slowly(data, pause=0.05):
  """Yields single bytes, each within the time that a reply may take."""
  for n in range(len(data)):
    yield data[n : n + 1]
    time.sleep(pause)


class Server:
  """An endpoint that sends the same bytes to every request.

  Args:
    reply: bytes, or a function that returns parts of them.
    family: of addresses.
  """

  def __init__(self, reply, family=socket.AF_INET):
    self._reply = reply
    host = '::1' if family == socket.AF_INET6 else '127.0.0.1'
    self._server = socket.create_server((host, 0), family=family)
    self.address = self._server.getsockname()[:2]
    name = f'[{host}]' if family == socket.AF_INET6 else host
    self.url = f'http://{name}:{self.address[1]}/v1'

  def __enter__(self):
    threading.Thread(target=self._serve, daemon=True).start()
    return self

  def __exit__(self, *_):
    self._server.close()

  def _serve(self):
    while True:
      try:
        connection, _ = self._server.accept()
      except OSError:
        return
      threading.Thread(
        target=self._answer, args=(connection,), daemon=True
      ).start()

  def _answer(self, connection):
    try:
      with connection:
        _read_request(connection)
        parts = self._reply() if callable(self._reply) else [self._reply]
        for part in parts:
          connection.sendall(part)
    except OSError:
      pass  # The client has heard enough.


def _read_request(connection):
  """Reads a request to its end.

  Raises:
    ConnectionError: the client closed the connection before that.
  """
  data = b''
  while b'\r\n\r\n' not in data:
    data += _received(connection)
  head, _, body = data.partition(b'\r\n\r\n')
  size = int(head.lower().split(b'content-length:')[1].split(b'\r\n')[0])
  while len(body) < size:
    body += _received(connection)


def _received(connection):
  data = connection.recv(65536)
  if not data:
    raise ConnectionError('closed by the client')
  return data


def silent():
  """Yields nothing for longer than any reply may take."""
  time.sleep(3)
  yield b''


# name: (bytes or parts, what the error says; None for an answer).
REPLIES = {
  'chunked': (chunked(GOOD[:9], GOOD[9:]), None),
  'no length': (http(length=-1), None),
  'wrong content type': (http(GOOD, '200 OK', 'Content-Type: image/png'), None),
  'tool calls': (choices({'content': None, 'tool_calls': [{}]}), None),
  'list content': (choices({'content': [{'text': 'yes'}]}), None),
  'refusal': (choices({'content': None, 'refusal': 'No.'}), None),
  'number in list': (choices({'content': [3]}), 'no choices[0].message'),
  'text in list is a number': (choices({'content': [{'text': 3}]}), 'no choi'),
  'empty choices': (http(b'{"choices": []}'), 'no choices[0].message.content'),
  'choices are null': (http(b'{"choices": null}'), 'no choices[0].message'),
  'no body': (http(b''), 'no JSON: '),
  'NaN': (http(b'{"choices": NaN}'), 'NaN is not JSON'),
  'gzip': (
    http(gzip.compress(GOOD), '200 OK', 'Content-Encoding: gzip'),
    'no JSON: it is compressed',
  ),
  'ten MiB': (http(b' ' * 10 * 2**20), 'a reply of more than 1000000 bytes'),
  'cut chunks': (chunked(b' ' * 60_000, end=b''), 'ends too early'),
  'damaged chunk': (chunked(end=b'zz\r\n'), 'ends too early'),
  'cut': (http(length=9_999), 'bytes too early'),
  'closed': (b'', 'Remote end closed connection'),
  'no HTTP': (b'SSH-2.0-OpenSSH_9.6\r\n', 'no HTTP: SSH-2.0-OpenSSH_9.6'),
  'long header': (
    b'HTTP/1.1 200 OK\r\nX: ' + b'a' * 70_000 + b'\r\n\r\n',
    'header',
  ),
  'many headers': (
    b'HTTP/1.1 200 OK\r\n' + b'X: a\r\n' * 200 + b'\r\n',
    'more than 100 headers',
  ),
  'redirect': (
    http(b'', '307 Temporary Redirect', 'Location: http://other.invalid/'),
    'HTTP 307, a redirect to http://other.invalid/',
  ),
  'date': (
    http(b'', '429 Wait', 'Retry-After: Fri, 31 Dec 2100 23:59:59 GMT'),
    'asks to wait',
  ),
  'infinite wait': (http(b'', '429 Wait', 'Retry-After: inf'), 'HTTP 429'),
  'server error': (http(b'\x00\xff oh', '500 Oh'), 'HTTP 500: ?'),
  'switching protocols': (http(b'', '101 Switching Protocols'), 'HTTP 101'),
  'no content': (http(b'', '204 No Content'), 'no JSON: '),
  'silent': (silent, 'no reply in 0.4 s'),
  'slow bytes': (lambda: slowly(http()), 'no reply in 0.4 s'),
  'slow status': (
    lambda: slowly(b'HTTP/1.1 200 OK\r\n' * 9),
    'no reply in 0.4 s',
  ),
  'slow refusal': (
    lambda: itertools.chain(
      [http(b'', '500 Oh', length=99)], slowly(b'x' * 99)
    ),
    'HTTP 500',
  ),
}
