"""Meeting of the processes of a job before JAX connects them.

JAX ends a process with a core dump if its port is taken or another process is
absent. Here each process visits the first one by a plain connection, so that
such a fault is an error of one line in every process.
"""

import contextlib
import json
import os
import selectors
import socket
import time

# Seconds between two attempts to connect, and seconds for one attempt.
_PAUSE, _ATTEMPT = 0.2, 5.0
# Seconds by which the first process may give up later than the others.
_LATER = 3.0
_LONGEST = 10_000  # Bytes of a message.
_ADVICE = 'start all processes, or give all a larger --join_seconds'


def meet(
  host: str, port: int, process: int, count: int, seconds: float
) -> None:
  """Returns when all processes of the job have met.

  Args:
    host: name or address of the first process's machine.
    port: its port, which is free again afterwards.
    process: process number.
    count: process count.
    seconds: longest time to wait.

  Raises:
    ValueError: processes have different counts, or two have the same number.
    OSError: the port is taken, the host is unknown, or a process is absent.
  """
  end = time.monotonic() + seconds
  visit = {'process': process, 'processes': count}
  if process:
    with connect(host, port, end) as connection:
      _send(connection, visit)
      connection.settimeout(max(0, end - time.monotonic()) + _LATER)
      _raise_answer(_receive(connection), f'{host}:{port}')
    return
  with listen(port) as server:
    reception = _Reception(server, count)
    try:
      # The first process visits itself, to know that others can.
      with _connect_once(host, port) as connection:
        _send(connection, visit)
        reception.wait(f'{host}:{port}', end)
    except (ValueError, OSError) as error:
      reception.close({'error': str(error), 'code': _code(error)})
      raise
    reception.close({'error': '', 'code': 0})


class _Reception:
  """Visitors of the first process.

  Args:
    server: listening socket.
    count: process count.
  """

  def __init__(self, server: socket.socket, count: int):
    self._server, self._count = server, count
    # Process number by connection; None before the visitor sent its number.
    self._numbers: dict[socket.socket, int | None] = {}
    # What visitors have sent so far.
    self._received: dict[socket.socket, bytes] = {}
    self._selector = selectors.DefaultSelector()
    self._selector.register(server, selectors.EVENT_READ)

  def wait(self, address: str, end: float) -> None:
    """Returns when all processes are visitors, else raises as `meet` does."""
    while absent := self._absent():
      left = end - time.monotonic()
      if left <= 0:
        if 0 in absent:
          raise OSError(
            f'coordinator must be an address of process 0, got {address}, '
            'which leads to another process'
          )
        numbers = ', '.join(map(str, sorted(absent)))
        raise OSError(
          f'process {numbers} of {self._count} did not come to {address}; '
          f'{_ADVICE}'
        )
      for key, _ in self._selector.select(left):
        if key.fileobj is self._server:
          visitor, _ = self._server.accept()
          # Nobody waits for a visitor that says nothing, or half a message.
          visitor.setblocking(False)
          self._numbers[visitor], self._received[visitor] = None, b''
          self._selector.register(visitor, selectors.EVENT_READ)
        else:
          self._read(key.fileobj)

  def _absent(self) -> set[int]:
    """Returns the numbers of processes without an open connection."""
    absent = set(range(self._count)) - set(self._numbers.values())
    if not absent:
      # The last one came, but an earlier one may have been killed.
      for visitor in filter(_has_left, list(self._numbers)):
        absent.add(self._numbers[visitor])
        self._dismiss(visitor)
    return absent - {None}

  def _dismiss(self, visitor):
    self._selector.unregister(visitor)
    del self._numbers[visitor], self._received[visitor]
    visitor.close()

  def _read(self, visitor):
    part = b''
    with contextlib.suppress(OSError):
      part = visitor.recv(1024)
    self._received[visitor] += part
    if part and not _is_complete(self._received[visitor]):
      return
    message = _parse(self._received[visitor]) if part else {}
    number = message.get('process')
    if self._numbers[visitor] is not None or type(number) is not int:
      # The connection has ended, or it comes from something else.
      self._dismiss(visitor)
      return
    if message.get('processes') != self._count:
      raise ValueError(
        f'processes must be the same number in all processes, got '
        f'{self._count} in process 0 and {message.get("processes")} in process '
        f'{number}'
      )
    if number in self._numbers.values():
      raise ValueError(
        f'process must differ in all processes, got {number} twice'
      )
    self._numbers[visitor] = number

  def close(self, answer: dict) -> None:
    """Sends all visitors an answer, and ends their connections."""
    self._selector.close()
    for visitor in self._numbers:
      with visitor, contextlib.suppress(OSError):
        _send(visitor, answer)


def _has_left(visitor) -> bool:
  """Returns whether the other end of a connection was closed."""
  try:
    return not visitor.recv(1, socket.MSG_PEEK)
  except BlockingIOError:
    return False
  except OSError:
    return True


def connect(host: str, port: int, end: float) -> socket.socket:
  """Connects to the first process, as soon as it answers.

  Args:
    host: name or address of its machine.
    port: its port.
    end: latest time to try, by `time.monotonic`.

  Raises:
    OSError: it does not answer in time.
  """
  while True:
    try:
      return socket.create_connection((host, port), _ATTEMPT)
    except OSError as error:
      if time.monotonic() > end:
        raise OSError(
          f'the first process does not answer at {host}:{port}: '
          f'{_reason(error)}; {_ADVICE}'
        ) from error
    time.sleep(_PAUSE)


def _connect_once(host, port):
  try:
    return socket.create_connection((host, port), _ATTEMPT)
  except OSError as error:
    raise OSError(
      f'coordinator must be an address of process 0, got {host}:{port}: '
      f'{_reason(error)}'
    ) from error


def listen(
  port: int, advice: str = 'give all processes another --coordinator'
) -> socket.socket:
  """Returns a socket that listens at a port of this machine.

  Args:
    port: port number.
    advice: what to do if it is taken.

  Raises:
    OSError: the port is taken.
  """
  dual = socket.has_dualstack_ipv6()
  try:
    return socket.create_server(
      ('', port),
      family=socket.AF_INET6 if dual else socket.AF_INET,
      dualstack_ipv6=dual,
    )
  except OSError as error:
    raise OSError(
      f'coordinator must have a free port, got {port}: {_reason(error)}; '
      f'{advice}'
    ) from error


def _reason(error) -> str:
  """Returns an error's cause; sockets add words of their own to some."""
  if isinstance(error, socket.gaierror) or not error.errno:
    return str(error.strerror or error)
  return os.strerror(error.errno)


def _send(connection, message) -> None:
  connection.sendall(json.dumps(message).encode() + b'\n')


def _receive(connection) -> dict:
  """Returns a message; {} if it is late, or the connection sent another."""
  data = b''
  with contextlib.suppress(OSError):
    while not _is_complete(data):
      part = connection.recv(1024)
      if not part:
        return {}
      data += part
  return _parse(data)


def _is_complete(data: bytes) -> bool:
  return data.endswith(b'\n') or len(data) >= _LONGEST


def _parse(data: bytes) -> dict:
  """Returns a message; {} for bytes that are none."""
  message = None
  with contextlib.suppress(ValueError, RecursionError):
    message = json.loads(data)
  return message if isinstance(message, dict) else {}


def _raise_answer(answer, address) -> None:
  if 'error' not in answer:
    raise OSError(
      f'coordinator must be process 0 of this job, got {address}, where it '
      'went away or something else answers'
    )
  if answer['error']:
    kind = ValueError if answer.get('code') == 2 else OSError
    raise kind(answer['error'])


def _code(error) -> int:
  """Returns the exit code of an error."""
  return 2 if isinstance(error, ValueError) else 1
