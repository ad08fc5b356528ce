"""A server behind a socket: streams, clients that leave, a clean stop."""

import http.client
import json
import socket
import threading
import time

import pytest
import served
import uvicorn


@pytest.fixture
def stub():
  """A stub whose batches wait for `open`, and whose streams wait twice."""
  stub = served.Stub()
  stub.open, stub.parts = threading.Event(), threading.Semaphore(0)
  run = stub.run

  def gated(kind, requests):
    for request in requests:
      if getattr(request, 'listener', None):
        listen = request.listener

        def wait(tokens, listen=listen):
          listen(tokens)
          stub.parts.acquire(timeout=10)

        object.__setattr__(request, 'listener', wait)
    stub.open.wait(10)
    return run(kind, requests)

  stub.run = gated
  yield stub
  stub.open.set()


@pytest.fixture
def running(stub):
  """(server of routes, uvicorn's server, address) of a running server."""
  routes = served.server(stub)
  listening = socket.create_server(('127.0.0.1', 0))
  program = uvicorn.Server(
    uvicorn.Config(
      routes.app(), log_level='warning', timeout_graceful_shutdown=10
    )
  )
  thread = threading.Thread(target=program.run, args=([listening],))
  thread.start()
  yield routes, program, listening.getsockname()
  stub.open.set()
  program.should_exit = True
  thread.join(10)
  routes.queue.close(10)
  listening.close()
  assert not thread.is_alive()


def post(address, path, body) -> http.client.HTTPConnection:
  """Sends a request and waits for no reply."""
  connection = http.client.HTTPConnection(*address, timeout=10)
  connection.request(
    'POST', path, json.dumps(body), {'Content-Type': 'application/json'}
  )
  return connection


def until(condition):
  """Waits for a condition."""
  end = time.monotonic() + 10
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.002)


DRAW = ('/v1/images/generations', {'prompt': 'a'})


def test_parts_of_a_reply_come_before_its_end(stub, running):
  stub.open.set()
  connection = post(
    running[2], '/v1/chat/completions', served.question(stream=True)
  )
  response = connection.getresponse()
  assert response.getheader('content-type').startswith('text/event-stream')
  lines = iter(response.readline, b'')
  texts = []
  while texts != ['', 'red']:
    line = next(lines)
    if line.strip():
      event = json.loads(line.removeprefix(b'data: '))
      texts.append(event['choices'][0]['delta']['content'])
  # The device still works on the reply.
  assert stub.batches and running[0].queue.batches == 1
  stub.parts.release(2)
  assert b'data: [DONE]\n' in list(lines)
  connection.close()


def test_a_client_that_leaves_is_not_computed_for(stub, running):
  routes, _, address = running
  first = post(address, *DRAW)
  until(lambda: routes.queue.batches == 1)
  left, stayed = post(address, *DRAW), post(address, DRAW[0], {'prompt': 'b'})
  until(lambda: len(routes.queue) == 2)
  left.close()
  entries = list(routes.queue._waiting)
  until(lambda: any(entry.future.cancelled() for entry in entries))
  stub.open.set()
  for connection in (first, stayed):
    assert connection.getresponse().status == 200
    connection.close()
  assert [[r.prompt for r in requests] for _, requests in stub.batches] == [
    ['a'],
    ['b'],
  ]


def test_a_stop_answers_what_it_has_and_refuses_others(stub, running):
  routes, program, address = running
  first = post(address, *DRAW)
  until(lambda: routes.queue.batches == 1)
  waiting = post(address, *DRAW)
  until(lambda: len(routes.queue) == 1)
  program.should_exit = True

  def is_closed():
    try:
      socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
      return True
    return False

  until(is_closed)
  stub.open.set()
  for connection in (first, waiting):
    assert connection.getresponse().status == 200
    connection.close()
