"""Requests to an endpoint: form, retries, pace, faults in one line."""

import chat_server
import numpy as np
import pytest

from hermesflow_jax.judging import chat_endpoint

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


class Clock:
  """Time that passes in sleeps alone."""

  def __init__(self):
    self.now, self.slept = 100.0, []

  def __call__(self):
    return self.now

  def sleep(self, seconds):
    self.slept.append(seconds)
    self.now += seconds


@pytest.fixture
def server():
  with chat_server.Server(answer=lambda body: 'red') as server:
    yield server


def endpoint(server, clock=None, **changes):
  clock = clock or Clock()
  return chat_endpoint.ChatEndpoint(
    server.settings(**changes), 'judge', clock=clock, sleep=clock.sleep
  )


def test_a_request_has_the_image_the_text_and_the_settings(server):
  reply = endpoint(server, seed=3, body={'top_p': 1.0, 'max_tokens': None}).ask(
    'what color ?', chat_endpoint.image_url(PICTURE)
  )
  assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == (
    'red',
    10,
    2,
  )
  assert reply.retries == 0
  (body,) = server.bodies
  np.testing.assert_array_equal(chat_server.pixels(body), PICTURE)
  assert body['messages'][0]['content'][1] == {
    'type': 'text',
    'text': 'what color ?',
  }
  del body['messages']
  assert body == {'model': 'a-model', 'temperature': 0.0, 'seed': 3, 'top_p': 1}
  assert server.headers[0]['path'] == '/v1/chat/completions'
  assert 'Authorization' not in server.headers[0]


def test_the_key_is_read_from_the_environment_and_never_shown(
  server, monkeypatch
):
  monkeypatch.setenv('JUDGE_KEY', 'secret-123\n')
  judge = endpoint(server, key_variable='JUDGE_KEY')
  judge.ask('a')
  assert server.headers[0]['Authorization'] == 'Bearer secret-123'
  server.faults.append((401, {}, '{"error": {"message": "bad secret-123"}}'))
  with pytest.raises(ValueError) as error:
    judge.ask('a')
  assert str(error.value).startswith(
    'judge.key_variable must name a variable with a valid key, got HTTP 401: '
    "bad *** (model 'a-model' at 127.0.0.1:"
  )
  assert len(server.bodies) == 2
  monkeypatch.delenv('JUDGE_KEY')
  with pytest.raises(
    ValueError, match='got JUDGE_KEY, which is not set; run e'
  ):
    endpoint(server, key_variable='JUDGE_KEY')


KEY = 'sk-' + 'ABCDEFGHIJKLMNOP' * 3


@pytest.mark.parametrize(
  'fault',
  [
    # Longer than what a message shows: cut within the key.
    (401, {}, '{"error": {"message": "' + 'x' * 180 + KEY + '"}}'),
    (200, {}, '{"error": "incorrect key: ' + KEY + '"}'),
    (200, {}, '<html>incorrect key: ' + KEY + '</html>'),
    (302, {'Location': 'http://127.0.0.2/?key=' + KEY}, ''),
  ],
)
def test_no_reply_shows_a_part_of_the_key(server, monkeypatch, fault):
  monkeypatch.setenv('JUDGE_KEY', KEY)
  judge = endpoint(server, key_variable='JUDGE_KEY', retries=0)
  server.faults.append(fault)
  with pytest.raises((ConnectionError, ValueError)) as error:
    judge.ask('a')
  assert 'sk-AB' not in str(error.value)


@pytest.mark.parametrize('content', ['null', '""', '"<think>red or blue"'])
def test_a_reply_that_is_cut_before_its_first_word_is_none(server, content):
  choice = f'{{"finish_reason": "length", "message": {{"content": {content}}}}}'
  server.faults.append((200, {}, f'{{"choices": [{choice}]}}'))
  with pytest.raises(ValueError, match='give a larger max_tokens'):
    endpoint(server).ask('a')


PASSING = [
  (0, {}, ''),
  (503, {}, '<html><style>p {}</style><p>Bad&nbsp;gateway</p></html>'),
  (200, {}, '<!doctype html><title>Sign in</title>'),
  (200, {}, '{"choices": ['),
  (200, {}, '{"choices": NaN}'),
  (200, {}, '{"choices": []}'),
  (200, {}, '[1]'),
  (200, {}, '{"choices": [{"message": {"content": 3}}]}'),
  (200, {}, b'\xff\xfe'),
  (200, {}, b' ' * 1_100_000),
  (200, {'Content-Length': '99'}, '{}'),
  (200, {}, '{"usage": [' + '[' * 9_000),
  (200, {}, '{"usage": ' + '9' * 9_000 + '}'),
]


def test_faults_that_may_pass_are_tried_again(server):
  clock = Clock()
  server.faults.extend(PASSING)
  reply = endpoint(server, clock, retries=len(PASSING)).ask('a')
  assert (reply.text, reply.retries) == ('red', len(PASSING))
  longest = [min(60, 2**n) for n in range(len(PASSING))]
  assert len(clock.slept) == len(longest)
  for seconds, most in zip(clock.slept, longest):
    assert most / 2 <= seconds <= most


@pytest.mark.parametrize(
  'fault, text',
  list(
    zip(
      PASSING,
      [
        'Remote end closed connection without response',
        'HTTP 503: Bad gateway',
        'a web page: Sign in',
        'no JSON: Expecting value',
        'no JSON: NaN is not JSON',
        "no choices[0].message.content: {'choices': []}",
        'no choices[0].message.content: [1]',
        'no choices[0].message.content: {',
        'no JSON: ',
        'a reply of more than 1000000 bytes',
        'a reply that ends 97 bytes too early',
        'no JSON: ',
        'no JSON: ',
      ],
    )
  ),
)
def test_a_fault_that_stays_is_one_line(server, fault, text):
  server.faults.extend([fault] * 2)
  with pytest.raises(ConnectionError) as error:
    endpoint(server, retries=1).ask('a')
  line = str(error.value)
  assert 'judge.url must be an endpoint that replies, got ' in line
  assert text in line and line.endswith('at try 2') and '\n' not in line


@pytest.mark.parametrize(
  'fault, text',
  [
    (
      (404, {}, '{"error": "model x not found"}'),
      'judge.url and model must be known to the endpoint, got HTTP 404: model',
    ),
    (
      (400, {}, '{"detail": [{"msg": "no images"}]}'),
      'judge.model must accept these requests, got HTTP 400: [{"msg"',
    ),
    (
      (302, {'Location': 'http://other.example/'}, ''),
      'HTTP 302, a redirect to http://other.example/',
    ),
  ],
)
def test_a_refusal_is_not_tried_again(server, fault, text):
  server.faults.append(fault)
  with pytest.raises(ValueError) as error:
    endpoint(server).ask('a')
  assert text in str(error.value)
  assert len(server.bodies) == 1


def test_an_endpoint_that_asks_to_wait_gets_its_time(server):
  clock = Clock()
  server.faults.append((429, {'Retry-After': '7'}, ''))
  assert endpoint(server, clock).ask('a').retries == 1
  assert clock.slept == [7.0]
  server.faults.append((429, {'Retry-After': '9000'}, ''))
  with pytest.raises(ConnectionError, match='asks to wait 9000 s'):
    endpoint(server, clock).ask('a')
  server.faults.append(
    (429, {'Retry-After': 'Fri, 31 Dec 1999 23:59:59 GMT'}, '')
  )
  endpoint(server, Clock()).ask('a')
  server.faults.append((429, {'Retry-After': 'soon'}, ''))
  endpoint(server, Clock()).ask('a')


def test_an_endpoint_that_asks_for_little_gets_the_patience_of_others(server):
  clock = Clock()
  server.faults.extend([(429, {'Retry-After': '1'}, '')] * 5)
  assert endpoint(server, clock).ask('a').retries == 5
  assert sum(clock.slept) >= (1 + 2 + 4 + 8 + 16) / 2


def test_requests_keep_to_the_rate(server):
  clock = Clock()
  judge = endpoint(server, clock, rate=30.0)
  for _ in range(3):
    judge.ask('a')
  assert clock.slept == [2.0, 2.0]
  clock = Clock()
  judge = chat_endpoint.ChatEndpoint(
    server.settings(rate=30.0), 'judge', 2, clock, clock.sleep
  )
  for _ in range(2):
    judge.ask('a')
  assert clock.slept == [4.0]


def test_the_probe_names_an_endpoint_that_is_not_there(server):
  endpoint(server).probe()
  assert chat_server.pixels(server.bodies[0]).shape == (64, 64, 3)
  with chat_server.Server() as gone:
    pass
  clock = Clock()
  with pytest.raises(ValueError) as error:
    endpoint(gone, clock).probe()
  assert 'Connection refused' in str(error.value)
  assert str(error.value).endswith(
    'start the endpoint, or give judge.probe=False'
  )
  assert len(clock.slept) == 1


@pytest.mark.parametrize(
  'content, text',
  [
    ('null', ''),
    ('"\\ud800 red"', '? red'),
    ('[{"type": "text", "text": "red"}, {"type": "image"}]', 'red'),
  ],
)
def test_strange_contents_are_texts(server, content, text):
  server.faults.append(
    (200, {}, f'{{"choices": [{{"message": {{"content": {content}}}}}]}}')
  )
  reply = endpoint(server).ask('a')
  assert (reply.text, reply.prompt_tokens) == (text, 0)
