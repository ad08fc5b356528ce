"""The routes: replies and errors in OpenAI's form, the key, the queue."""

import base64
import io
import json
import threading

import numpy as np
from PIL import Image
import pytest
import served

CHAT, DRAW, EDIT = (
  f'/v1/{name}'
  for name in ('chat/completions', 'images/generations', 'images/edits')
)


@pytest.fixture(scope='module')
def stub():
  return served.Stub()


@pytest.fixture(scope='module')
def client(stub):
  with served.client(served.server(stub)) as client:
    yield client


def test_a_question_gets_a_reply_in_openai_form(client):
  reply = client.post(CHAT, json=served.question(model='small')).json()
  assert reply['choices'] == [
    {
      'index': 0,
      'message': {'role': 'assistant', 'content': 'red circle'},
      'logprobs': None,
      'finish_reason': 'stop',
    }
  ]
  assert (reply['object'], reply['model']) == ('chat.completion', 'small')
  assert reply['usage'] == {
    'prompt_tokens': 4 + 4 + 10,
    'completion_tokens': 3,
    'total_tokens': 21,
  }


@pytest.mark.parametrize(
  'fields, content, reason',
  [
    ({'max_tokens': 1}, 'red', 'length'),
    ({'max_completion_tokens': 1, 'max_tokens': 4}, 'red', 'length'),
    ({'stop': 'cir'}, 'red ', 'stop'),
    ({'stop': ['star', 'red']}, '', 'stop'),
    ({'response_format': {'type': 'text'}, 'user': 'x', 'x': [1]}, None, None),
    ({'tools': [], 'presence_penalty': 0, 'logit_bias': {}}, None, None),
  ],
)
def test_fields_of_a_question(client, fields, content, reason):
  (choice,) = client.post(CHAT, json=served.question(**fields)).json()[
    'choices'
  ]
  assert choice['message']['content'] == (
    'red circle' if content is None else content
  )
  assert choice['finish_reason'] == (reason or 'stop')


def test_the_last_message_of_the_user_counts_with_the_last_image(stub, client):
  body = served.question('is the shape blue ?')
  body['messages'] = [
    {'role': 'system', 'content': 'be short'},
    *body['messages'],
    {'role': 'assistant', 'content': 'no'},
    {'role': 'user', 'content': 'is the shape red ?'},
  ]
  assert client.post(CHAT, json=body).status_code == 200
  (request,) = stub.batches[-1][1]
  assert request.prompt == 'is the shape red ?'
  assert (request.image.pixels == [254, 0, 0]).all() or (
    request.image.pixels == [255, 0, 0]
  ).all()


@pytest.mark.parametrize('count', [1, 2])
def test_a_stream_has_the_parts_of_each_reply(client, count):
  body = served.question(
    stream=True, n=count, stream_options={'include_usage': True}
  )
  lines = client.post(CHAT, json=body).text.split('\n\n')
  assert lines[-2:] == ['data: [DONE]', '']
  events = [json.loads(line.removeprefix('data: ')) for line in lines[:-2]]
  usage = events.pop()
  assert (usage['choices'], usage['usage']['completion_tokens']) == (
    [],
    3 * count,
  )
  parts = [[] for _ in range(count)]
  for event in events:
    (choice,) = event['choices']
    parts[choice['index']].append(choice)
  for choices in parts:
    texts = [choice['delta'].get('content') for choice in choices]
    assert texts == ['', 'red', ' circle', None]
    assert choices[-1]['finish_reason'] == 'stop'


def test_a_stream_sends_no_beginning_of_a_stop_text(stub, client, monkeypatch):
  monkeypatch.setattr(stub, 'reply', 'red circle blue')
  body = served.question(stream=True, stop='circle blue')
  assert 'circle' not in client.post(CHAT, json=body).text


def test_images_are_drawn_and_the_best_are_sent(stub, client):
  body = {'prompt': 'red circle', 'n': 2, 'best_of': 4, 'seed': 7}
  data = client.post(DRAW, json=body).json()['data']
  files = [io.BytesIO(base64.b64decode(item['b64_json'])) for item in data]
  assert [np.asarray(Image.open(file)).mean() for file in files] == [30, 20]
  _, (search,) = stub.batches[-1]
  assert (search.seed, search.images, search.candidates) == (7, 2, 4)


def test_an_edit_keeps_what_the_mask_keeps(stub, client):
  mask = Image.new('RGBA', (served.SIDE,) * 2, 'white')
  mask.paste((0, 0, 0, 0), (0, 0, 3, 8))
  file = io.BytesIO()
  mask.save(file, 'PNG')
  files = {'image': served.png(), 'mask': file.getvalue()}
  response = client.post(EDIT, files=files, data={'prompt': '12', 'n': '2'})
  assert len(response.json()['data']) == 2
  assert stub.batches[-1][1][0].known.tolist() == [False, True, False, True]
  assert stub.batches[-1][1][0].prompt == '12'


def test_models_and_unknown_paths(client):
  (listed,) = client.get('/v1/models').json()['data']
  assert client.get('/v1/models/small').json() == listed
  assert listed['id'] == 'small'
  assert client.head('/v1/models').status_code == 200
  unknown = served.error(
    client.get('/v1/models/big'), 404, 'model must be small'
  )
  assert (unknown['code'], unknown['param']) == ('model_not_found', 'model')
  served.error(
    client.post(CHAT, json=served.question(model='big')), 404, 'must be small'
  )
  served.error(client.get('/v1/nothing'), 404, 'GET /v1/nothing: Not Found')
  served.error(client.get(CHAT), 405, 'Method Not Allowed')


def test_replies_allow_no_other_web_page(client):
  response = client.post(CHAT, json=served.question())
  assert 'access-control-allow-origin' not in response.headers


def test_a_batch_that_fails_is_an_error_of_the_server(
  stub, client, monkeypatch, caplog
):
  monkeypatch.setattr(stub, 'fault', ValueError('out of memory'))
  response = client.post(CHAT, json=served.question())
  assert (
    served.error(response, 500, 'its log says why')['type'] == 'server_error'
  )
  assert 'out of memory' in caplog.text
  stream = client.post(CHAT, json=served.question(stream=True))
  assert '"type": "server_error"' in stream.text
  monkeypatch.undo()
  assert client.post(CHAT, json=served.question()).status_code == 200


def test_a_key_is_needed_where_there_is_one(stub):
  with served.client(served.server(stub, key='secret')) as client:
    for value in ('', 'Bearer', 'Bearer secre', 'Bearer secretx', 'secret'):
      headers = {'authorization': value}
      wrong = served.error(
        client.get('/v1/models', headers=headers), 401, 'the key'
      )
      assert wrong['code'] == 'invalid_api_key'
    headers = {'authorization': 'Bearer secret'}
    assert client.get('/v1/models', headers=headers).status_code == 200
    assert client.get('/healthz').status_code == 200


def test_a_busy_device_blocks_nothing_but_its_queue():
  stub, open_ = served.Stub(), threading.Event()
  run, stub.run = stub.run, lambda *batch: open_.wait(10) and run(*batch)
  server = served.server(stub, most_waiting=1)
  with served.client(server) as client:
    threads = [
      threading.Thread(target=client.post, args=(DRAW,), kwargs=body)
      for body in [{'json': {'prompt': 'a'}}] * 2
    ]
    for count, thread in enumerate(threads):
      thread.start()
      # The first is on the device, the second waits.
      while len(server.queue) < count or not server.queue.batches:
        pass
    assert client.get('/healthz').json() == {'status': 'ok', 'waiting': 1}
    full = client.post(DRAW, json={'prompt': 'a'})
    content = served.error(
      full, 429, '1 requests wait, of at most 1; try again later'
    )
    assert content['code'] == 'rate_limit_exceeded'
    assert full.headers['retry-after'] == '1'
    open_.set()
    for thread in threads:
      thread.join()
    server.queue.close()
    served.error(
      client.post(DRAW, json={'prompt': 'a'}), 503, 'the server stops'
    )
