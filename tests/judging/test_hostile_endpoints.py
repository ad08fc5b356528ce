"""Whatever an endpoint sends is an answer or one line, in time, and no damage."""

import socket
import threading
import time

import hostile_server
import numpy as np
import pytest

from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import chat_endpoint
from hermesflow_jax.judging import endpoint_judge
from hermesflow_jax.judging import judge_settings
from hermesflow_jax.sequences import text_similarity

QUESTIONS = [[{'question': 'is it ?', 'choices': ['yes', 'no']}]]
TIMEOUT = 0.4


def ask(server, folder):
  """Returns the answer to a question about an image."""
  config = judge_settings.JudgeSettings(
    kind='endpoint', url=server.url, model='m', timeout=TIMEOUT, retries=0
  )
  judge = endpoint_judge.EndpointJudge(
    config,
    chat_endpoint.ChatEndpoint(config, 'judge'),
    lambda codes: np.zeros((len(codes), 2, 2, 3), np.uint8),
    text_similarity.nearest_choices,
    answer_cache.AnswerCache(folder),
  )
  return judge(np.zeros((1, 1), np.int32), QUESTIONS)


def check_cache(folder, entries):
  cache = answer_cache.AnswerCache(folder)
  assert (len(cache), cache.damaged) == (entries, 0)


def error_of(server, folder):
  """Returns the line of the error that ends a question, which comes in time."""
  began = time.monotonic()
  with pytest.raises((ConnectionError, ValueError)) as error:
    ask(server, folder)
  # Processors of a test machine may be busy.
  assert time.monotonic() - began < TIMEOUT + 2
  line = str(error.value)
  assert line.startswith('judge.') and line.isprintable() and len(line) < 500
  check_cache(folder, 0)
  return line


@pytest.mark.parametrize('name', hostile_server.REPLIES)
def test_a_reply_is_an_answer_or_one_line(tmp_path, name):
  reply, text = hostile_server.REPLIES[name]
  with hostile_server.Server(reply) as server:
    if text:
      assert text in error_of(server, tmp_path)
    else:
      assert ask(server, tmp_path)[0][0] in ('yes', '')
      check_cache(tmp_path, 1)


def test_an_address_of_the_sixth_version_is_asked(tmp_path):
  good = hostile_server.http()
  with hostile_server.Server(good, socket.AF_INET6) as server:
    assert ask(server, tmp_path) == [['yes']]


def test_a_server_that_speaks_no_tls_and_an_unknown_host_are_one_line(tmp_path):
  with hostile_server.Server(hostile_server.http()) as server:
    server.url = server.url.replace('http:', 'https:')
    assert 'no reply in 0.4 s' in error_of(server, tmp_path)
  server.url = 'http://nobody.invalid/v1'
  assert 'nobody.invalid' in error_of(server, tmp_path)


def running_threads():
  """Returns the threads that have begun to run and have not ended."""
  return {thread for thread in threading.enumerate() if thread.is_alive()}


def test_the_server_forgets_a_client_that_closes_its_connection():
  """Else its thread would read on, and slow all tests of this process."""
  with hostile_server.Server(hostile_server.http()) as server:
    others = running_threads()
    with socket.create_connection(server.address) as client:
      client.sendall(b'POST')
      while not (answering := running_threads() - others):
        time.sleep(0.01)
    for thread in answering:
      thread.join(10)
      assert not thread.is_alive()
