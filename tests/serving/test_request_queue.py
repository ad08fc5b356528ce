"""Requests of many clients: batches, bounds, clients that leave."""

import threading
import time

import pytest

from hermesflow_jax.serving import request_queue


class Device:
  """Runs batches once it may; remembers them."""

  def __init__(self):
    self.open, self.batches = threading.Event(), []

  def run(self, kind, requests):
    self.open.wait(10)
    self.batches.append((kind, list(requests)))
    return [
      ValueError('bad') if request == 'bad' else request * 2
      for request in requests
    ]


@pytest.fixture
def device():
  device = Device()
  yield device
  device.open.set()


def held(device, **options):
  """Returns a queue whose worker is busy with a first request."""
  bounds = {'most_waiting': 8, 'sizes': lambda: (1, 2, 3, 4)} | options
  queue = request_queue.RequestQueue(device.run, **bounds)
  (first,) = queue.submit('a', [0])
  while len(queue):
    time.sleep(0.001)
  return queue, first


def test_requests_that_wait_are_a_batch(device):
  queue, first = held(device)
  futures = [queue.submit('a', [n])[0] for n in range(1, 7)]
  device.open.set()
  assert [f.result(10) for f in [first, *futures]] == [0, 2, 4, 6, 8, 10, 12]
  assert [requests for _, requests in device.batches] == [
    [0],
    [1, 2, 3, 4],
    [5, 6],
  ]


def test_a_batch_has_one_kind_and_nobody_starves(device):
  queue, _ = held(device)
  futures = [
    queue.submit(kind, [n])[0] for n, kind in enumerate('abab', start=1)
  ]
  device.open.set()
  assert [f.result(10) for f in futures] == [2, 4, 6, 8]
  assert device.batches[1:] == [('a', [1, 3]), ('b', [2, 4])]


def test_more_than_may_wait_are_refused_together(device):
  queue, _ = held(device, most_waiting=3)
  queue.submit('a', [1, 2])
  with pytest.raises(request_queue.QueueFull, match='2 requests wait'):
    queue.submit('a', [3, 4])
  (last,) = queue.submit('a', [5])
  device.open.set()
  assert last.result(10) == 10


def test_requests_of_clients_that_left_are_not_run(device):
  queue, _ = held(device)
  left, stayed = queue.submit('a', [1, 2])
  assert left.cancel()
  device.open.set()
  assert stayed.result(10) == 4
  assert device.batches[1:] == [('a', [2])]


def test_a_fault_reaches_its_client_alone(device):
  queue, _ = held(device)
  bad, good = queue.submit('a', ['bad', 3])
  device.open.set()
  with pytest.raises(ValueError, match='bad'):
    bad.result(10)
  assert good.result(10) == 6


def test_a_batch_that_fails_does_not_end_the_worker():
  def run(kind, requests):
    if kind == 'bad':
      raise RuntimeError('out of memory')
    return requests

  queue = request_queue.RequestQueue(run, 8, lambda: (1, 2, 3, 4))
  (bad,) = queue.submit('bad', [1])
  with pytest.raises(request_queue.BatchFailed, match='out of memory'):
    bad.result(10)
  (good,) = queue.submit('good', [1])
  assert good.result(10) == 1


def test_a_closing_queue_finishes_what_it_has(device):
  queue, first = held(device)
  futures = queue.submit('a', [1, 2])
  device.open.set()
  queue.close(10)
  assert [f.result(0) for f in [first, *futures]] == [0, 2, 4]
  with pytest.raises(request_queue.QueueClosed):
    queue.submit('a', [3])


def test_what_is_left_after_the_time_of_a_stop_is_cancelled(device):
  queue, _ = held(device)
  (waiting,) = queue.submit('b', [1])
  queue.close(0.01)
  assert waiting.cancelled()


@pytest.mark.parametrize(
  'count, batch', [(10, 8), (12, 12), (22, 16), (24, 24)]
)
def test_a_batch_is_padded_by_a_quarter_at_most(device, count, batch):
  queue, _ = held(device, most_waiting=32, sizes=lambda: (1, 4, 8, 16, 32))
  futures = queue.submit('a', range(1, count + 1))
  device.open.set()
  assert [future.result(10) for future in futures][-1] == 2 * count
  assert len(device.batches[1][1]) == batch
