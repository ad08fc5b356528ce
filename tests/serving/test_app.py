"""The routes: replies and errors in OpenAI's form, limits, the key."""

import base64
import io
import json
import threading
import zlib

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
def client(stub, tmp_path_factory):
  root = tmp_path_factory.mktemp('files')
  (root / 'inside').mkdir()
  (root / 'inside' / 'a b.png').write_bytes(served.png())
  (root / 'secret.png').write_bytes(served.png())
  (root / 'inside' / 'link.png').symlink_to(root / 'secret.png')
  with served.client(served.server(stub, folder=root / 'inside')) as client:
    yield client


def error(response, status, message):
  """Checks the form of an error."""
  content = response.json()['error']
  assert (response.status_code, list(content)) == (
    status,
    ['message', 'type', 'param', 'code'],
  )
  assert message in content['message'] and '\n' not in content['message']
  assert response.headers['x-request-id'].startswith('req_')
  return content


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
  assert (request.pixels == [254, 0, 0]).all() or (
    request.pixels == [255, 0, 0]
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
  # The stub ranks by brightness.
  assert [np.asarray(Image.open(file)).mean() for file in files] == [30, 20]
  _, draws = stub.batches[-2]
  assert [(d.seed, d.number) for d in draws] == [(7, n) for n in range(4)]


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


@pytest.mark.parametrize(
  'files, fields, message',
  [
    ({}, {'prompt': 'a'}, 'image must be a file'),
    ({'image': b'no'}, {'prompt': 'a'}, 'must be a PNG, JPEG or WebP file'),
    ({'image': served.png()}, {'prompt': 'a'}, 'have transparent pixels'),
    ({'image': served.png()}, {}, 'prompt must be a text'),
    ({'image': served.png()}, {'prompt': 'a', 'n': 'x'}, 'n must be a whole'),
    (
      {'image': served.png(), 'mask': served.png((9, 9))},
      {'prompt': 'a'},
      'mask must be as large as the image, 8 x 8, got 9 x 9',
    ),
    (
      {'image': served.png((200, 100))},
      {'prompt': 'a'},
      'at most 10000 pixels, got 200 x 100',
    ),
  ],
)
def test_faults_of_edits(client, files, fields, message):
  error(client.post(EDIT, files=files, data=fields), 400, message)


@pytest.mark.parametrize(
  'fields, field, message',
  [
    ({'temperature': 3}, 'temperature', 'between 0 and 2, got 3'),
    ({'temperature': True}, 'temperature', 'a number, got True'),
    ({'temperature': 'hot'}, 'temperature', "a number, got 'hot'"),
    ({'temperature': float('nan')}, 'temperature', 'between 0 and 2'),
    ({'top_p': 0.5}, 'top_p', 'must be 1 with a temperature above 0'),
    ({'n': 0}, 'n', 'between 1 and 16'),
    ({'n': 1.5}, 'n', 'a whole number, got 1.5'),
    ({'max_tokens': 10**30}, 'max_tokens', 'between 1 and 1000000'),
    ({'seed': -1}, 'seed', 'between 0 and 4294967295'),
    ({'stop': ['a'] * 5}, 'stop', 'a text or at most 4 texts'),
    ({'stop': 3}, 'stop', 'a text or at most 4 texts, got 3'),
    ({'stream': 'yes'}, 'stream', 'true or false'),
    ({'stream_options': 3}, 'stream_options', 'an object'),
    ({'logprobs': 3}, 'logprobs', 'true or false, got 3'),
    ({'top_logprobs': 3}, 'logprobs', 'must be true with top_logprobs'),
    ({'top_logprobs': 21, 'logprobs': True}, 'top_logprobs', 'and 20, got 21'),
    ({'tools': [{}]}, 'tools', 'which this model cannot do'),
    ({'response_format': {'type': 'json_object'}}, 'response_format', 'text'),
    ({'messages': []}, 'messages', 'be a list with a message'),
    ({'messages': ['a']}, 'messages', 'objects with role and content'),
    ({'messages': [{'role': 'user', 'content': 3}]}, 'messages', 'a text or a'),
    ({'messages': [{'role': 'user', 'content': 'a'}]}, 'messages', 'got 0'),
    (
      {'messages': [{'role': 'user', 'content': [{'type': 'audio'}]}]},
      'messages',
      "got 'audio'",
    ),
  ],
)
def test_a_field_of_wrong_type_or_value_is_named(
  client, fields, field, message
):
  body = json.dumps(served.question(**fields))
  content = error(client.post(CHAT, content=body), 400, message)
  assert content['param'] == field
  assert content['type'] == 'invalid_request_error'


@pytest.mark.parametrize(
  'body', [b'', b'{', b'[1]', b'\xff', b'[' * 5_000, b'3']
)
def test_a_body_that_is_no_json_object_is_refused(client, body):
  error(client.post(CHAT, content=body), 400, 'the body must be')


@pytest.mark.parametrize(
  'text, message',
  [
    ('red ' * 50, 'question must have at most'),
    ('\ud800', 'must be Unicode text'),
    ('a\x00b', 'no control characters'),
    ('  ', 'have a text of the user'),
  ],
)
def test_texts_that_no_row_holds_are_refused(client, text, message):
  body = json.dumps(served.question(text))
  error(client.post(CHAT, content=body), 400, message)


@pytest.mark.parametrize(
  'path, fields, message',
  [
    (DRAW, {}, 'prompt must be a text'),
    (DRAW, {'prompt': 3}, 'prompt must be a text'),
    (DRAW, {'prompt': '\udc80'}, 'prompt must be Unicode text'),
    (DRAW, {'prompt': 'a', 'size': '9x9'}, "size must be 8x8, got '9x9'"),
    (DRAW, {'prompt': 'a', 'size': []}, ''),
    (DRAW, {'prompt': 'a', 'size': [8]}, 'size must be 8x8'),
    (DRAW, {'prompt': 'a', 'n': 3, 'best_of': 2}, 'between 3 and 64'),
    (DRAW, {'prompt': 'a', 'response_format': 'url'}, 'must be b64_json'),
  ],
)
def test_faults_of_drawings(client, path, fields, message):
  response = client.post(path, content=json.dumps(fields))
  if message:
    error(response, 400, message)
  else:
    assert response.status_code == 200


def bomb(width, height):
  """Returns a small PNG file that claims a size."""
  data = bytearray(served.png())
  data[16:24] = width.to_bytes(4, 'big') + height.to_bytes(4, 'big')
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
  return bytes(data)


@pytest.mark.parametrize(
  'image, message',
  [
    ('http://127.0.0.1/a.png', 'url must be data:image/'),
    ('data:image/png,abc', 'url must be data:image/...;base64'),
    ('data:image/png;base64,!!', 'url must be base64'),
    ('data:image/png;base64,', 'must be a PNG, JPEG or WebP file'),
    (served.url(b'%!PS-Adobe-3.0 EPSF-3.0\n'), 'must be a PNG, JPEG or WebP'),
    (served.url(b'x' * 2_001), 'at most 2000 bytes'),
    (served.url(bomb(101, 100)), 'at most 10000 pixels, got 101 x 100'),
    (served.url(bomb(10_000, 10_000)), 'must be a PNG'),
    (served.url(bomb(50_000, 50_000)), 'must be a PNG'),
    (served.url(served.png()[:50]), 'image of the request'),
    ('file:///../secret.png', 'must be a file of the folder'),
    ('file:///%2e%2e/secret.png', 'must be a file of the folder'),
    ('file:///link.png', 'must be a file of the folder'),
    ('file:///etc/passwd', 'must be a file of the folder'),
    ('file:///', 'must be a file of the folder'),
    ('file:///a%00', 'must be a file of the folder'),
    ('file:///' + 'a' * 300, 'must be a file of the folder'),
  ],
)
def test_images_beyond_the_limits_are_refused(client, image, message):
  error(client.post(CHAT, json=served.question(image=image)), 400, message)


def test_a_file_of_the_folder_is_read(client):
  body = served.question(image='file:///a%20b.png')
  assert client.post(CHAT, json=body).status_code == 200


def test_a_body_is_bounded_also_without_its_length(client):
  error(client.post(CHAT, content=b' ' * 6_001), 413, 'at most 6000 bytes')
  parts = iter([b' ' * 4_000] * 2)
  error(client.post(CHAT, content=parts), 413, 'at most 6000 bytes')
  part = (
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
  )
  form = iter([part, b'x' * 7_000, b'\r\n--x--\r\n'])
  kind = {'content-type': 'multipart/form-data; boundary=x'}
  error(client.post(EDIT, content=form, headers=kind), 413, 'at most 6000')


def test_models_and_unknown_paths(client):
  (listed,) = client.get('/v1/models').json()['data']
  assert client.get('/v1/models/small').json() == listed
  assert listed['id'] == 'small'
  assert client.head('/v1/models').status_code == 200
  unknown = error(client.get('/v1/models/big'), 404, 'model must be small')
  assert (unknown['code'], unknown['param']) == ('model_not_found', 'model')
  error(
    client.post(CHAT, json=served.question(model='big')), 404, 'must be small'
  )
  error(client.get('/v1/nothing'), 404, 'GET /v1/nothing: Not Found')
  error(client.get(CHAT), 405, 'Method Not Allowed')


def test_replies_allow_no_other_web_page(client):
  response = client.post(CHAT, json=served.question())
  assert 'access-control-allow-origin' not in response.headers


def test_a_batch_that_fails_is_an_error_of_the_server(
  stub, client, monkeypatch, caplog
):
  monkeypatch.setattr(stub, 'fault', ValueError('out of memory'))
  response = client.post(CHAT, json=served.question())
  assert error(response, 500, 'its log says why')['type'] == 'server_error'
  assert 'out of memory' in caplog.text
  stream = client.post(CHAT, json=served.question(stream=True))
  assert '"type": "server_error"' in stream.text
  monkeypatch.undo()
  assert client.post(CHAT, json=served.question()).status_code == 200


def test_a_key_is_needed_where_there_is_one(stub):
  with served.client(served.server(stub, key='secret')) as client:
    for value in ('', 'Bearer', 'Bearer secre', 'Bearer secretx', 'secret'):
      headers = {'authorization': value}
      wrong = error(client.get('/v1/models', headers=headers), 401, 'the key')
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
    content = error(full, 429, '1 requests wait, of at most 1; try again later')
    assert content['code'] == 'rate_limit_exceeded'
    assert full.headers['retry-after'] == '1'
    open_.set()
    for thread in threads:
      thread.join()
    server.queue.close()
    error(client.post(DRAW, json={'prompt': 'a'}), 503, 'the server stops')
