"""Jobs whose captions and images are scored by a reward service."""

import json

import chat_server
import command_line
import curate_runs
import pytest


def scores_of(body):
  """Returns the reply to a request: lengths of the texts, and of the images."""
  return {
    'results': [
      {
        'hps': {
          'text': len(sample['history'][0]['text']),
          'image': len(sample['history'][0]['image_b64']),
        }
      }
      for sample in body['requests']
    ]
  }


@pytest.fixture
def server():
  with chat_server.Server(answer=scores_of, form=json.dumps) as server:
    yield server


def test_a_service_scores_captions_and_images_once(base, few, server, tmp_path):
  def run(name, **changes):
    curate_runs.run(
      base,
      tmp_path / 'run',
      caption_scorer='http_reward',
      image_scorer='http_reward',
      http_reward={'url': server.url, 'reward': 'hps', 'metric': 'text'}
      | changes,
    )
    return curate_runs.rows_of(tmp_path / 'run')

  rows = run('first')
  for row in rows:
    assert row['caption_score_win'] == len(row['caption_win'])
    assert row['caption_score_lose'] == len(row['caption_lose'])
    assert row['vqa_score_win'] == len(row['caption'])
  keys = [
    sample['request_id']
    for body in server.bodies[1:]
    for sample in body['requests']
  ]
  assert len(set(keys)) == len(keys) > 2 * len(rows)
  count = len(server.bodies)
  # A finished run asks nothing, wherever the service is.
  assert run('again', url='http://127.0.0.1:9', images_at_once=3) == rows
  assert len(server.bodies) == count
  with pytest.raises(ValueError, match='other settings: .*http_reward.metric'):
    run('other', metric='image')


@pytest.mark.parametrize(
  'flags, message',
  [
    (
      (),
      "http_reward.url must be given with caption_scorer=http_reward, got ''",
    ),
    (
      ('http_reward.url=http://127.0.0.1:9',),
      "http_reward.reward must be given with caption_scorer=http_reward, got ''",
    ),
    (
      (
        'http_reward.url=http://127.0.0.1:9',
        'http_reward.reward=hps',
        'http_reward.key_variable=NO_SUCH_KEY',
      ),
      'http_reward.key_variable must be an environment variable with a key',
    ),
  ],
)
def test_a_mistake_is_a_line_before_any_work(
  start, idle, base, tmp_path, flags, message
):
  command_line.one_line(
    start(
      command_line.CONFIG,
      f'--config.init_from={base}',
      '--config.play.caption_scorer=http_reward',
      *(f'--config.play.{flag}' for flag in flags),
    ),
    message,
  )
  assert not (tmp_path / 'runs').exists()
