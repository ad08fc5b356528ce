"""Clients that send requests to a server at once, in a process of their own.

So the clients do not share the interpreter with the server that is measured.
Requests are written before the measurement, and only the length of a reply is
read, so that clients take little time from a server on the same machine.
"""

from collections.abc import Sequence
import concurrent.futures
import json
import multiprocessing
import re
import socket
import threading
import time

_LENGTH = re.compile(rb'content-length: *([0-9]+)')


def request_rates(
  address: tuple[str, int],
  path: str,
  bodies: Sequence[dict],
  clients: Sequence[int],
  repeats: int,
) -> list[list[float]]:
  """Measures requests per second for several numbers of clients, in turns.

  Args:
    address: (host, port).
    path: path of the route.
    bodies: JSON bodies; the clients take turns with them.
    clients: numbers of clients; each sends its next request when it has a
      reply.
    repeats: measurements for each number.

  Returns:
    For each number of clients, `repeats` values in requests per second.

  Raises:
    ValueError: a reply has another status than 200.
  """
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, context) as process:
    rates = [[] for _ in clients]
    # Not counted: connections, and programs that are still compiled.
    for count in clients:
      process.submit(_rate, address, path, bodies, count).result()
    for _ in range(repeats):
      for count, values in zip(clients, rates, strict=True):
        work = process.submit(_rate, address, path, bodies, count)
        values.append(work.result())
  return rates


def _rate(address, path, bodies, clients) -> float:
  """Returns the requests per second of some clients."""
  waiting, faults = [_request(address, path, body) for body in bodies], []
  connections = [socket.create_connection(address) for _ in range(clients)]

  def work(connection):
    try:
      while True:
        connection.sendall(waiting.pop())
        _read_reply(connection)
    except IndexError:
      pass
    except Exception as error:
      faults.append(error)
    finally:
      connection.close()

  threads = [threading.Thread(target=work, args=(c,)) for c in connections]
  began = time.perf_counter()
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  seconds = time.perf_counter() - began
  if faults:
    raise ValueError(f'the server must answer, got {faults[0]!r}')
  return len(bodies) / seconds


def _request(address, path, body) -> bytes:
  """Returns a request as it is sent."""
  host, port = address
  content = json.dumps(body).encode()
  head = (
    f'POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n'
    f'Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n'
  )
  return head.encode() + content


def _read_reply(connection) -> None:
  """Reads a reply to its end.

  Raises:
    ValueError: its status is not 200.
  """
  data = b''
  while not (end := data.find(b'\r\n\r\n') + 4) > 3:
    data += _receive(connection)
  length = int(_LENGTH.search(data[:end].lower())[1])
  while len(data) < end + length:
    data += _receive(connection)
  if data.split(b' ', 2)[1] != b'200':
    raise ValueError(f'{data[:300]!r}')


def _receive(connection) -> bytes:
  data = connection.recv(2**20)
  if not data:
    raise ValueError('the connection was closed')
  return data
