"""A small object store with the JSON interface of Google Cloud Storage.

It has what gcsfs and tensorstore ask for: whole, multipart and resumable
uploads, reads of ranges, listings in pages, generations and preconditions.
"""

import http.server
import itertools
import os
import sys
import threading

import fake_gcs_requests


class Server:
  """The store, as a context manager: it listens while it is open.

  Attributes:
    blobs: {name in the bucket: fake_gcs_requests.Blob}.
    fails: (method, name) -> the status to fail with, or 0.
    seen: (method, name) of each request.
  """

  def __init__(self):
    self.clear()
    self.lock, self.count = threading.Lock(), itertools.count(1)
    store = self

    class Handler(fake_gcs_requests.Handler):
      """What answers for this store."""

      server_store = store

    self._http = _Quiet(('127.0.0.1', 0), Handler)
    self.url = f'http://127.0.0.1:{self._http.server_port}'

  @property
  def environment(self) -> dict[str, str]:
    """What sends the clients of a process here."""
    return {
      'STORAGE_EMULATOR_HOST': self.url,
      'TENSORSTORE_GCS_HTTP_URL': self.url,
      'GOOGLE_CLOUD_PROJECT': 'project',
      'NO_PROXY': '127.0.0.1',
      'no_proxy': '127.0.0.1',
    }

  def __enter__(self):
    threading.Thread(
      target=self._http.serve_forever, args=(0.01,), daemon=True
    ).start()
    return self

  def __exit__(self, *_):
    self._http.shutdown()
    self._http.server_close()

  def clear(self) -> None:
    """Forgets all that is there and was asked."""
    self.blobs, self.seen, self.uploads = {}, [], {}
    self.fails = lambda method, name: 0

  def names(self, prefix: str = '') -> list[str]:
    """The objects below a folder."""
    return sorted(name for name in self.blobs if name.startswith(prefix))

  def text(self, name: str) -> str:
    """The text of an object."""
    return self.blobs[name].data.decode()

  def put(self, name: str, data: bytes) -> None:
    """Writes an object."""
    self.blobs[name] = fake_gcs_requests.Blob(data, next(self.count))

  def put_folder(self, name: str, folder) -> None:
    """Writes all files below a local folder, as `gcloud storage cp -r`."""
    for path in folder.rglob('*'):
      if path.is_file():
        self.put(f'{name}/{path.relative_to(folder)}', path.read_bytes())

  def get_folder(self, name: str, folder) -> None:
    """Reads all objects below a name into a local folder."""
    for item in self.names(name + '/'):
      path = folder / os.path.relpath(item, name)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(self.blobs[item].data)


class _Quiet(http.server.ThreadingHTTPServer):
  """Says nothing of clients that hang up, as those that are killed do."""

  daemon_threads = True

  def handle_error(self, request, client_address):
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)
