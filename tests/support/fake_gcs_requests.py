"""Requests to the small object store, answered in the form of GCS."""

import base64
import dataclasses
import email.parser
import email.policy
import hashlib
import http.server
import json
import re
import urllib.parse

BUCKET = 'bucket'
# Few, so that listings have several pages.
_PAGE = 20


@dataclasses.dataclass(frozen=True)
class Blob:
  """An object: its bytes, and a number that no other write has."""

  data: bytes
  generation: int


def _described(name, blob):
  """The metadata of an object."""
  return {
    'kind': 'storage#object',
    'bucket': BUCKET,
    'name': name,
    'generation': str(blob.generation),
    'metageneration': '1',
    'size': str(len(blob.data)),
    'contentType': 'application/octet-stream',
    'md5Hash': base64.b64encode(hashlib.md5(blob.data).digest()).decode(),
    'etag': str(blob.generation),
    'storageClass': 'STANDARD',
    'timeCreated': '2026-01-01T00:00:00.000Z',
    'updated': '2026-01-01T00:00:00.000Z',
  }


class _Refused(Exception):
  """A request that is answered with an error."""


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers requests; `server_store` is the `fake_gcs.Server`."""

  protocol_version = 'HTTP/1.1'
  # An answer is written in parts, which else wait for each other.
  disable_nagle_algorithm = True

  def log_message(self, *_):
    pass

  def do_GET(self):
    self._answer()

  def do_POST(self):
    self._answer()

  def do_PUT(self):
    self._answer()

  def do_DELETE(self):
    self._answer()

  def _answer(self):
    address = urllib.parse.urlsplit(self.path)
    self.asked = dict(urllib.parse.parse_qsl(address.query, True))
    self.body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
    self.about = self.asked.get('name', '')
    match = re.fullmatch(
      r'(/upload|/download)?/storage/v1/b/([^/]+)(?:/o(?:/(.+))?)?',
      address.path,
    )
    try:
      if not match or match[2] != BUCKET:
        raise _Refused(404)
      self.about = self.about or urllib.parse.unquote(match[3] or '')
      self.server_store.seen.append((self.command, self.about))
      status = self.server_store.fails(self.command, self.about)
      if status:
        raise _Refused(status)
      if match[1] == '/upload':
        self._upload()
      elif self.command == 'DELETE':
        self._delete()
      elif match[3]:
        self._read()
      elif address.path.endswith('/o'):
        self._list()
      else:
        self._send_json({'kind': 'storage#bucket', 'name': BUCKET})
    except _Refused as refused:
      status = refused.args[0]
      # A read of what the client has already.
      body = (
        {}
        if status == 304
        else {'error': {'code': status, 'message': f'refused with {status}'}}
      )
      self._send_json(body, status)

  def _send(self, data, status=200, **headers):
    self.send_response(status)
    for name, value in headers.items():
      self.send_header(name.replace('_', '-'), value)
    if status != 304:
      self.send_header('Content-Length', str(len(data)))
    self.end_headers()
    if status != 304:
      self.wfile.write(data)

  def _send_json(self, value, status=200, **headers):
    self._send(
      json.dumps(value).encode(),
      status,
      **headers,
      Content_Type='application/json; charset=UTF-8',
    )

  def _current(self, missing=404):
    """The object that is meant, if it is as the request wants it."""
    blob = self.server_store.blobs.get(self.about)
    generation = blob.generation if blob else 0
    expected = self.asked.get('ifGenerationMatch')
    if expected is not None and int(expected) != generation:
      raise _Refused(412)
    if self.asked.get('ifGenerationNotMatch') == str(generation):
      raise _Refused(304)
    requested = self.asked.get('generation')
    if missing and (not blob or requested not in (None, str(generation))):
      raise _Refused(missing)
    return blob

  def _read(self):
    blob = self._current()
    if self.asked.get('alt') != 'media':
      self._send_json(_described(self.about, blob))
      return
    data, status, extra = blob.data, 200, {}
    span = re.fullmatch(r'bytes=(\d*)-(\d*)', self.headers.get('Range', ''))
    if span:
      size = len(data)
      first, last = (int(item) if item else None for item in span.groups())
      if first is None:
        first, last = max(0, size - last), None
      last = size - 1 if last is None else min(last, size - 1)
      if first >= size:
        raise _Refused(416)
      data, status = data[first : last + 1], 206
      extra['Content_Range'] = f'bytes {first}-{last}/{size}'
    self._send(
      data,
      status,
      Content_Type='application/octet-stream',
      x_goog_generation=str(blob.generation),
      x_goog_metageneration='1',
      x_goog_stored_content_length=str(len(blob.data)),
      **extra,
    )

  def _delete(self):
    with self.server_store.lock:
      self._current()
      del self.server_store.blobs[self.about]
    self._send(b'', 204)

  def _list(self):
    prefix = self.asked.get('prefix', '')
    delimiter = self.asked.get('delimiter')
    start = self.asked.get('startOffset', '')
    end = self.asked.get('endOffset')
    listed = {}
    for name in self.server_store.names(prefix):
      if name < start or (end is not None and name >= end):
        continue
      head, mark, _ = name[len(prefix) :].partition(delimiter or '\0')
      listed[prefix + head + mark if mark else name] = bool(mark)
    keys = sorted(listed)
    begin = int(self.asked.get('pageToken', 0))
    stop = begin + min(_PAGE, int(self.asked.get('maxResults', _PAGE)))
    page = keys[begin:stop]
    blobs = self.server_store.blobs
    out = {
      'kind': 'storage#objects',
      'prefixes': [key for key in page if listed[key]],
      'items': [
        _described(key, blobs[key])
        for key in page
        if not listed[key] and key in blobs
      ],
    }
    if stop < len(keys):
      out['nextPageToken'] = str(stop)
    self._send_json(out)

  def _upload(self):
    kind, store = self.asked.get('uploadType'), self.server_store
    if 'upload_id' in self.asked:
      self._go_on_with(self.asked['upload_id'])
    elif kind == 'media':
      self._put(self.body)
    elif kind == 'multipart':
      head = f'Content-Type: {self.headers["Content-Type"]}\n\n'.encode()
      parts = email.parser.BytesParser(policy=email.policy.HTTP)
      # The parser would touch the line ends of the data.
      mark = parts.parsebytes(head).get_boundary()
      first, second = self.body.split(f'--{mark}'.encode())[1:3]
      second = self.body[len(first) + 2 * len(mark) + 4 :]
      second = second[: second.rindex(f'\n--{mark}--'.encode())]
      output = re.split(b'\r?\n\r?\n', first, maxsplit=1)[1]
      data = re.split(b'\r?\n\r?\n', second, maxsplit=1)[1]
      self.about = json.loads(output)['name']
      self._check_again()
      self._put(data)
    elif kind == 'resumable':
      number = str(next(store.count))
      store.uploads[number] = (self.about, b'', self.asked)
      query = urllib.parse.urlencode(
        {'uploadType': 'resumable', 'upload_id': number, 'name': self.about}
      )
      self._send_json(
        {}, Location=(f'{store.url}/upload/storage/v1/b/{BUCKET}/o?{query}')
      )
    else:
      raise _Refused(400)

  def _check_again(self):
    """Fails an upload whose name was in its body."""
    self.server_store.seen[-1] = (self.command, self.about)
    status = self.server_store.fails(self.command, self.about)
    if status:
      raise _Refused(status)

  def _go_on_with(self, number):
    store = self.server_store
    if self.command == 'DELETE':
      store.uploads.pop(number, None)
      raise _Refused(499)
    self.about, data, self.asked = store.uploads[number]
    span = self.headers.get('Content-Range', '')
    data += self.body
    store.uploads[number] = (self.about, data, self.asked)
    total = span.rpartition('/')[2]
    if total != '*' and len(data) >= int(total or 0):
      del store.uploads[number]
      self._put(data)
    elif data:
      self._send(b'', 308, Range=f'bytes=0-{len(data) - 1}')
    else:
      self._send(b'', 308)

  def _put(self, data):
    store = self.server_store
    with store.lock:
      self._current(missing=0)
      store.put(self.about, data)
    self._send_json(_described(self.about, store.blobs[self.about]))
