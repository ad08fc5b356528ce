"""Processes meet before JAX connects them, or say in one line why not."""

import contextlib
import socket
import threading
import time

import pytest

from hermesflow_jax.jobs.setup import process_group
from hermesflow_jax.jobs.setup import rendezvous


@pytest.fixture
def port():
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return free.getsockname()[1]


def met(port, *processes, seconds=20.0, host='localhost'):
  """{place: error of the process, or None} of (number, count) in threads."""
  errors = {}

  def visit(place, number, count):
    errors[place] = None
    try:
      rendezvous.meet(host, port, number, count, seconds)
    except (ValueError, OSError) as error:
      errors[place] = error

  threads = [
    threading.Thread(target=visit, args=(place, *process))
    for place, process in enumerate(processes)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return errors


@pytest.mark.parametrize('count', [1, 2, 4])
def test_all_meet_and_the_port_is_free_again(port, count):
  processes = [(number, count) for number in range(count)][::-1]
  assert not any(met(port, *processes).values())
  socket.create_server(('localhost', port)).close()


def test_all_learn_who_is_absent(port):
  errors = met(port, (0, 4), (2, 4), seconds=2.0)
  for error in errors.values():
    assert isinstance(error, OSError)
    assert str(error).startswith(
      f'process 1, 3 of 4 did not come to localhost:{port}; start all'
    )


def test_processes_that_do_not_fit_say_how(port):
  errors = met(port, (0, 2), (1, 3))
  for error in errors.values():
    assert 'same number in all processes, got 2 in process 0 and 3 in' in str(
      error
    )


def test_two_of_one_number_are_refused(port):
  errors = met(port, (0, 3), (1, 3), (1, 3))
  for error in errors.values():
    assert isinstance(error, ValueError)
    assert str(error) == 'process must differ in all processes, got 1 twice'


def test_a_port_that_is_taken_is_named(port):
  with socket.create_server(('', port)):
    (error,) = met(port, (0, 2)).values()
  assert f'must have a free port, got {port}: Address already in use' in str(
    error
  )


@pytest.mark.parametrize('number', [0, 1])
def test_a_host_that_no_one_knows_is_named(port, number):
  (error,) = met(port, (number, 2), host='nobody.invalid', seconds=0.1).values()
  assert isinstance(error, OSError)
  assert f'nobody.invalid:{port}: ' in str(error)


def test_an_address_of_another_machine_is_no_coordinator(port, monkeypatch):
  """What answers there is something else."""
  connect = socket.create_connection
  with socket.create_server(('127.0.0.1', 0)) as other:
    monkeypatch.setattr(
      socket,
      'create_connection',
      lambda address, *options: connect(other.getsockname(), *options),
    )
    (error,) = met(port, (0, 1), seconds=0.2).values()
  assert 'coordinator must be an address of process 0' in str(error)


def test_a_first_process_that_does_not_answer_is_waited_for_in_vain(port):
  (error,) = met(port, (1, 2), seconds=0.3).values()
  assert f'does not answer at localhost:{port}: Connection refused' in str(
    error
  )


def test_something_else_at_the_port_is_no_first_process(port, monkeypatch):
  monkeypatch.setattr(rendezvous, '_LATER', 0.1)
  with socket.create_server(('localhost', port)):
    (error,) = met(port, (1, 2), seconds=0.2).values()
  assert 'coordinator must be process 0 of this job' in str(error)


def test_strangers_and_those_that_went_away_do_not_count(port):
  """A scan of ports, and a process that was killed while it waited."""

  def disturb():
    for data in (
      b'',
      b'GET / HTTP/1.0\n',
      b'[]\n',
      b'{"process": 1}',
      b'[' * 5000 + b'\n',
      b'{"process": true, "processes": 2}\n',
    ):
      with contextlib.suppress(OSError):
        with rendezvous.connect('localhost', port, time.monotonic() + 20) as s:
          s.sendall(data)
    with rendezvous.connect('localhost', port, time.monotonic() + 20) as s:
      rendezvous._send(s, {'process': 1, 'processes': 2})
    rendezvous.meet('localhost', port, 1, 2, 20.0)

  thread = threading.Thread(target=disturb)
  thread.start()
  assert not any(met(port, (0, 2), seconds=20.0).values())
  thread.join()


def test_a_process_that_was_killed_as_soon_as_it_came_is_absent(port):
  """Its number and the end of its connection are read only afterwards."""
  with rendezvous.listen(port) as server:
    reception = rendezvous._Reception(server, 2)
    with rendezvous._connect_once('localhost', port) as first:
      rendezvous._send(first, {'process': 0, 'processes': 2})
      with rendezvous._connect_once('localhost', port) as killed:
        rendezvous._send(killed, {'process': 1, 'processes': 2})
      errors = []
      # Until the number of process 0 has come, too.
      while not errors or 'address of process 0' in str(errors[-1]):
        with pytest.raises(OSError) as error:
          reception.wait(f'localhost:{port}', time.monotonic() + 0.3)
        errors.append(error.value)
      assert 'process 1 of 2 did not come' in str(errors[-1])
    reception.close({})


def test_strangers_that_say_nothing_delay_nobody(port):
  with contextlib.ExitStack() as strangers:

    def connect(number):
      stranger = rendezvous.connect('localhost', port, time.monotonic() + 20)
      strangers.enter_context(stranger).sendall(b'{' * (number % 2))

    def disturb():
      for number in range(8):
        connect(number)
      rendezvous.meet('localhost', port, 1, 2, 20.0)

    thread, began = threading.Thread(target=disturb), time.monotonic()
    thread.start()
    assert not any(met(port, (0, 2), seconds=20.0).values())
    thread.join()
    # Less than a stranger's time, although processors may be busy.
    assert time.monotonic() - began < 10


def test_auto_without_a_cluster_says_what_to_give(monkeypatch):
  def initialize(**options):
    raise ValueError('coordinator_address should be defined.')

  monkeypatch.setattr(process_group.jax.distributed, 'initialize', initialize)
  with pytest.raises(ValueError, match="host:port .*, got 'auto'"):
    process_group.join('auto', 0, 1)


def test_joining_ends_in_time(monkeypatch, capfd):
  """A cluster's process is absent: JAX alone would end in a core dump."""
  codes = []
  monkeypatch.setattr(process_group.os, '_exit', codes.append)
  with process_group._deadline(0.05):
    time.sleep(0.3)
  assert codes == [1]
  assert 'did not join within 0.05 s' in capfd.readouterr().err


def test_a_port_that_a_cluster_chose_and_is_taken_is_named(port, monkeypatch):
  """JAX alone ends in a core dump; Open MPI's variables name the port."""
  for name, value in {
    'OMPI_MCA_orte_hnp_uri': '1531576320.0;tcp://127.0.0.1:1',
    'OMPI_COMM_WORLD_SIZE': '1',
    'OMPI_COMM_WORLD_RANK': '0',
    'OMPI_COMM_WORLD_LOCAL_RANK': '0',
    'JAX_COORDINATOR_PORT': str(port),
  }.items():
    monkeypatch.setenv(name, value)
  initialized = []
  monkeypatch.setattr(
    process_group,
    '_initialize',
    lambda *_: initialized.append(socket.create_server(('', port)).close()),
  )
  with socket.create_server(('', port)):
    with pytest.raises(
      OSError,
      match=f'must have a free port, got {port}: Address already in use; set '
      'JAX_COORDINATOR_PORT to another',
    ):
      process_group.join('auto', 0, 1)
  assert not initialized
  # A free port stays free for JAX.
  process_group.cluster_port.check(1.0)
  process_group._initialize()
  # Another process does not listen there.
  monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '1')
  with socket.create_server(('', port)):
    process_group.cluster_port.check(1.0)
