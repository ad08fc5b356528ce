"""The small Show-o evaluated and served: subword tokens, bfloat16."""

import base64
import contextlib
import io
import json
from unittest import mock

import jax
import ml_dtypes
import numpy as np
from PIL import Image
import pytest
import served
import small_benchmarks
import small_walk

import configs.serve
from hermesflow_jax.jobs import serve
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.jobs.setup import server_parts
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.serving import app
from hermesflow_jax.serving import chat_replies
from hermesflow_jax.serving import request_images
from hermesflow_jax.serving import request_queue

CHAT = '/v1/chat/completions'


@pytest.fixture(scope='module')
def evaluated(converted, once):
  """The run folder of `evaluate`."""

  def run(root):
    converted.job('evaluate', *small_benchmarks.write(converted))

  once(f'evaluated_{converted.pixels}', run)
  return converted.folder / 'runs' / 'evaluate'


def predictions(evaluated, benchmark) -> list[dict]:
  (folder,) = (evaluated / 'predictions').iterdir()
  return small_walk.lines(folder / benchmark / 'predictions.jsonl')


@pytest.fixture(scope='module')
def client(converted):
  """A client of a server with batches of two rows, as `evaluate` has them."""
  values = configs.serve.get_config(f'small_{converted.pixels}').to_dict()
  del values['job']
  values |= {'chunk': 2, 'batches': (2,)}
  values['sampler']['steps'] = 2
  config = settings.build(serve.Settings, values)
  with (
    contextlib.chdir(converted.folder),
    mock.patch.object(jax, 'device_count', lambda: 1),
  ):
    path = job_model.locate(config, terminal.silent())
    service = server_parts.make_service(config, path)
  queue = request_queue.RequestQueue(service.run, 8, lambda: service.compiled)
  limits = request_images.ImageLimits(2**24, 2**24)
  app_settings = app.AppSettings('small', '', limits, 2**25, 0)
  with served.client(app.Server(service, queue, app_settings)) as client:
    yield client
  queue.close()


@pytest.fixture(scope='module')
def bench(converted) -> str:
  """The address of an image."""
  path = converted.folder / 'small' / 'data' / 'images' / 'bench.jpg'
  return served.url(path.read_bytes())


@pytest.fixture(scope='module')
def greedy(client, bench) -> dict:
  """A greedy reply with its log-probabilities."""
  body = served.question(
    small_benchmarks.QUESTIONS[0],
    bench,
    temperature=0,
    logprobs=True,
    top_logprobs=5,
  )
  (choice,) = client.post(CHAT, json=body).json()['choices']
  return choice


def test_benchmarks_of_all_kinds_have_predictions_and_scores(evaluated):
  results = json.loads((evaluated / 'results.json').read_text())
  for name, count in (('pope', 4), ('gap', 2), ('geneval', 4)):
    assert len(predictions(evaluated, name)) == count
    (scores,) = results['benchmarks'][name]['models'].values()
    assert all(np.isfinite(score['headline']) for score in scores)
  for row in predictions(evaluated, 'pope'):
    # The space before the first word belongs to no reply.
    assert row['reply'] and row['reply'][0] != ' '
  choices = {
    choice
    for record in small_walk.RECORDS['held_out']
    for question in record.questions
    for choice in question['choices']
  }
  for row in predictions(evaluated, 'gap'):
    for kind in ('answers', 'real', 'own'):
      assert row[kind] and set(row[kind].values()) <= choices


def test_the_server_replies_as_the_evaluation_does(evaluated, greedy):
  first = predictions(evaluated, 'pope')[0]
  assert first['prompt'] == small_benchmarks.QUESTIONS[0]
  assert greedy['message']['content'] == first['reply']


def test_tokens_with_log_probabilities_are_the_reply(greedy):
  content = greedy['logprobs']['content']
  data = b''.join(bytes(item['bytes']) for item in content)
  assert data.decode() == greedy['message']['content']
  # Words of several tokens are cut within the word.
  assert len(content) > len(greedy['message']['content'].split())


def test_log_probabilities_are_not_rounded_to_bfloat16(greedy):
  content = greedy['logprobs']['content']
  values = np.array([item['logprob'] for item in content], np.float32)
  assert (values.astype(ml_dtypes.bfloat16) != values).any()
  for item in content:
    likely = [other['logprob'] for other in item['top_logprobs']]
    assert likely == sorted(likely, reverse=True)
    assert np.exp(likely).sum() < 1 + 1e-5
    # The model is computed once more, in other shapes.
    assert item['logprob'] > likely[0] - 0.2


def test_pieces_of_a_stream_are_the_reply(client, bench, greedy):
  body = served.question(
    small_benchmarks.QUESTIONS[0], bench, temperature=0, stream=True
  )
  lines = client.post(CHAT, json=body).text.split('\n\n')[:-2]
  events = [json.loads(line.removeprefix('data: ')) for line in lines]
  pieces = [e['choices'][0]['delta'].get('content', '') for e in events]
  assert len(pieces) > 4
  assert ''.join(pieces) == greedy['message']['content']


def test_no_piece_has_half_a_character(converted):
  words = 'Crème brûlée 語 \U0001f600 naïve'
  text = converted.text
  (tokens,) = text.encode_replies([words])
  sent = ['']
  for count in range(1, len(tokens) + 1):
    reply = chat_replies.to_reply(text, np.array(tokens[:count]))
    sent.append(chat_replies.certain_text(reply.text, ()))
    assert sent[-1].startswith(sent[-2]) and words.startswith(sent[-1])
  # A token that ends within a character adds nothing.
  assert sent[-1] == words and len(set(sent)) <= len(tokens)


def test_other_temperatures_share_a_batch_and_change_no_reply(
  client, bench, greedy
):
  body = served.question(
    small_benchmarks.QUESTIONS[0], bench, temperature=0.9, max_tokens=8, n=2
  )
  first, second = client.post(CHAT, json=body).json()['choices']
  assert first['message']['content'] != second['message']['content']
  again = client.post(CHAT, json=body | {'n': 1}).json()['choices'][0]
  assert again['message'] == first['message']


def test_drawings_are_png_files(client, converted):
  reply = client.post('/v1/images/generations', json={'prompt': 'a blue mug'})
  (item,) = reply.json()['data']
  with Image.open(io.BytesIO(base64.b64decode(item['b64_json']))) as image:
    assert (image.format, image.size) == ('PNG', (converted.pixels,) * 2)
