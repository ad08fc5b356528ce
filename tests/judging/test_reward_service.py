"""Scores of a reward service: requests, checked replies, kept scores."""

import base64
import io
import json

import chat_server
import numpy as np
from PIL import Image
import pytest

from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import reward_service

IMAGES = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full(
  (1, 2, 2, 3), 10, np.uint8
)
TEXTS = ['a ring', 'two rings', 'a cup', 'a dog', 'a']


def grey(sample):
  """Returns the grey value of the image in a sample of a request."""
  data = base64.b64decode(sample['history'][0]['image_b64'])
  return int(np.asarray(Image.open(io.BytesIO(data)))[0, 0, 0])


def scores_of(body):
  """Returns the reply to a request: grey value plus length of the text."""
  return {
    'results': [
      {
        name: {
          'score': grey(sample) + len(sample['history'][0]['text']),
          'second': 0.5,
        }
        for name in sample['required_rewards']
      }
      for sample in body['requests']
    ],
    'errors': [{} for _ in body['requests']],
  }


EXPECTED = [10 * n + len(text) for n, text in enumerate(TEXTS)]


@pytest.fixture
def server():
  with chat_server.Server(answer=scores_of, form=json.dumps) as server:
    yield server


def service(server, folder, **changes):
  values = {
    'url': server.url,
    'reward': 'hps',
    'images_at_once': 2,
    'parallel': 1,
  }
  return reward_service.RewardService(
    reward_service.RewardSettings(**values | changes),
    'http_reward',
    answer_cache.AnswerCache(folder),
    sleep=lambda seconds: None,
  )


@pytest.mark.parametrize('batch, parallel', [(1, 4), (2, 1), (8, 8)])
def test_scores_are_those_of_the_service_in_batches_of_any_size(
  server, tmp_path, batch, parallel
):
  asking = service(server, tmp_path, images_at_once=batch, parallel=parallel)
  scores = asking.score(IMAGES, TEXTS)
  assert scores.dtype == np.float64 and scores.tolist() == EXPECTED
  assert len(server.bodies) == -(-5 // batch)
  assert server.headers[0]['path'] == '/v1/score'
  (sample,) = [
    sample
    for body in server.bodies
    for sample in body['requests']
    if sample['history'][0]['text'] == 'a cup'
  ]
  assert sample['required_rewards'] == ['hps'] and grey(sample) == 20


def test_a_score_is_asked_for_once_and_kept(server, tmp_path):
  asking = service(server, tmp_path)
  twice = asking.score(IMAGES[[0, 1, 0]], [TEXTS[n] for n in (0, 1, 0)])
  assert twice.tolist() == [EXPECTED[n] for n in (0, 1, 0)]
  assert sum(len(body['requests']) for body in server.bodies) == 2
  again = service(server, tmp_path)
  assert again.score(IMAGES, TEXTS).tolist() == EXPECTED
  assert sum(len(body['requests']) for body in server.bodies) == 5
  assert (again.usage.questions, again.usage.requests) == (5, 3)
  other = service(server, tmp_path, metric='second')
  assert set(other.score(IMAGES, TEXTS)) == {0.5}


def test_a_service_that_dies_loses_no_score(server, tmp_path):
  server.answer = lambda body: (
    server.faults.append((0, {}, '')) or scores_of(body)
  )
  with pytest.raises(ConnectionError, match='http_reward.url must be a reward'):
    service(server, tmp_path, retries=0).score(IMAGES, TEXTS)
  server.answer = scores_of
  assert service(server, tmp_path).score(IMAGES, TEXTS).tolist() == EXPECTED
  # Batches of 2, 2 and 1; the second failed once.
  assert len(server.bodies) == 4


SCORE = '{"results": [{"hps": {"score": %s}}]}'


@pytest.mark.parametrize(
  'reply, text',
  [
    ('[]', 'no list `results`: []'),
    ('{"results": []}', '0 results for 1 images'),
    (SCORE % 'NaN', 'no JSON: NaN is not JSON'),
    (SCORE % '1e999', 'no finite number: inf'),
    (SCORE % '"0.5"', 'score of hps is no finite number: 0.5'),
    (SCORE % 'true', 'no finite number: True'),
    ('{"results": [{}], "errors": [{"hps": "out of memory"}]}', 'hps: out of'),
  ],
)
def test_a_reply_without_scores_is_asked_for_again_then_a_line(
  server, tmp_path, reply, text
):
  server.faults.append((200, {}, reply))
  asking = service(server, tmp_path)
  assert asking.score(IMAGES[:1], TEXTS[:1]).tolist() == EXPECTED[:1]
  assert asking.usage.retries == 1
  server.faults.append((200, {}, reply))
  with pytest.raises(ConnectionError) as error:
    service(server, tmp_path / 'b', retries=0).score(IMAGES[:1], TEXTS[:1])
  assert text in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
  'fault, changes, text',
  [
    (
      None,
      {'metric': 'third'},
      "no third in {'score': 6, 'second': 0.5}; give",
    ),
    ((200, {}, '{"results": [{"pick": {"a": 1}}]}'), {}, 'no hps in'),
    (
      (404, {}, ''),
      {},
      'url must be the base address of a reward service, got',
    ),
    ((422, {}, '{"detail": "x"}'), {}, "HTTP 422: x (reward 'hps' at 127.0"),
  ],
)
def test_a_refusal_is_a_line_at_once(server, tmp_path, fault, changes, text):
  server.faults.extend([fault] if fault else [])
  with pytest.raises(ValueError) as error:
    service(server, tmp_path, **changes).score(IMAGES[:1], TEXTS[:1])
  assert text in str(error.value) and len(server.bodies) == 1


def test_the_probe_names_a_service_that_is_not_there(server, tmp_path):
  service(server, tmp_path).probe()
  assert not list(tmp_path.iterdir())
  with chat_server.Server() as gone:
    pass
  with pytest.raises(ValueError, match='start the service, or give http_rewa'):
    service(gone, tmp_path).probe()
