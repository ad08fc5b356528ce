"""Clients that send requests to a server at once, in a process of their own.

So the clients do not share the interpreter with the server that is measured.
"""

from collections.abc import Sequence
import concurrent.futures
import http.client
import json
import multiprocessing
import threading
import time


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
  waiting, faults = list(enumerate(bodies)), []
  connections = [http.client.HTTPConnection(*address) for _ in range(clients)]

  def work(connection):
    try:
      while True:
        _, body = waiting.pop()
        _post(connection, path, body)
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


def _post(connection, path, body):
  connection.request(
    'POST', path, json.dumps(body), {'Content-Type': 'application/json'}
  )
  response = connection.getresponse()
  data = response.read()
  if response.status != 200:
    raise ValueError(f'status {response.status}: {data[:200]!r}')
