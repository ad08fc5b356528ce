"""Laws of requests of foreign web pages: a server without a key refuses."""

import pytest
from starlette import applications
from starlette import responses
from starlette import routing
from starlette import testclient

from hermesflow_jax.serving import local_requests


def client(key=''):
  def refuse(status, message):
    return responses.PlainTextResponse(message, status)

  return testclient.TestClient(
    applications.Starlette(
      routes=[
        routing.Route(
          '/', lambda _: responses.PlainTextResponse('ok'), methods=['POST']
        )
      ],
      middleware=local_requests.checks(key, refuse),
    )
  )


LOCAL = [
  'localhost',
  'localhost:8000',
  'a.localhost:80',
  '127.0.0.1:8000',
  '127.0.0.2',
  '[::1]:8000',
  'LOCALHOST:8000',
]
FOREIGN = [
  'evil.example',
  'evil.example:8000',
  '127.0.0.1.evil.example',
  'localhost.evil.example',
  'localhost@evil.example',
  '10.0.0.1',
  '[::1',
]


@pytest.mark.parametrize('host', LOCAL)
def test_names_of_this_machine_pass(host):
  assert client().post('/', headers={'Host': host}).text == 'ok'


@pytest.mark.parametrize('host', FOREIGN)
def test_other_names_are_refused(host):
  reply = client().post('/', headers={'Host': host})
  assert reply.status_code == 403
  assert 'Host must be localhost' in reply.text
  assert '--config.key_variable' in reply.text


@pytest.mark.parametrize(
  'origin', ['http://evil.example', 'null', 'http://localhost:9999']
)
def test_other_pages_are_refused(origin):
  headers = {'Host': 'localhost:8000', 'Origin': origin}
  reply = client().post('/', headers=headers)
  assert reply.status_code == 403
  assert "Origin must be the server's own page" in reply.text


def test_the_own_page_passes():
  headers = {'Host': 'localhost:8000', 'Origin': 'http://localhost:8000'}
  assert client().post('/', headers=headers).text == 'ok'


def test_a_key_protects_a_server_for_other_names():
  headers = {'Host': 'models.example', 'Origin': 'https://other.example'}
  assert client('key').post('/', headers=headers).text == 'ok'
