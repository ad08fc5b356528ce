"""Faults of requests: each is named, and none reaches the model."""

import json
import zlib

import pytest
import served

CHAT, DRAW, EDIT = (
  f'/v1/{name}'
  for name in ('chat/completions', 'images/generations', 'images/edits')
)


@pytest.fixture(scope='module')
def client(tmp_path_factory):
  root = tmp_path_factory.mktemp('files')
  (root / 'inside').mkdir()
  (root / 'inside' / 'a b.png').write_bytes(served.png())
  (root / 'secret.png').write_bytes(served.png())
  (root / 'inside' / 'link.png').symlink_to(root / 'secret.png')
  with served.client(
    served.server(served.Stub(), folder=root / 'inside')
  ) as client:
    yield client


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
  served.error(client.post(EDIT, files=files, data=fields), 400, message)


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
  content = served.error(client.post(CHAT, content=body), 400, message)
  assert content['param'] == field
  assert content['type'] == 'invalid_request_error'


@pytest.mark.parametrize(
  'body', [b'', b'{', b'[1]', b'\xff', b'[' * 5_000, b'3']
)
def test_a_body_that_is_no_json_object_is_refused(client, body):
  served.error(client.post(CHAT, content=body), 400, 'the body must be')


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
  served.error(client.post(CHAT, content=body), 400, message)


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
    served.error(response, 400, message)
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
  served.error(
    client.post(CHAT, json=served.question(image=image)), 400, message
  )


def test_a_file_of_the_folder_is_read(client):
  body = served.question(image='file:///a%20b.png')
  assert client.post(CHAT, json=body).status_code == 200


def test_a_body_is_bounded_also_without_its_length(client):
  served.error(
    client.post(CHAT, content=b' ' * 6_001), 413, 'at most 6000 bytes'
  )
  parts = iter([b' ' * 4_000] * 2)
  served.error(client.post(CHAT, content=parts), 413, 'at most 6000 bytes')
  part = (
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
  )
  form = iter([part, b'x' * 7_000, b'\r\n--x--\r\n'])
  kind = {'content-type': 'multipart/form-data; boundary=x'}
  served.error(
    client.post(EDIT, content=form, headers=kind), 413, 'at most 6000'
  )
