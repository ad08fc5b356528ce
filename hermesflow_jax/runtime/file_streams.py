"""Files and objects that are written in parts."""

from collections.abc import Iterator
import contextlib
import tempfile
import typing

from hermesflow_jax.runtime import atomic_file
from hermesflow_jax.runtime import bucket_client
from hermesflow_jax.runtime import storage


@contextlib.contextmanager
def replacing(target) -> Iterator[typing.BinaryIO]:
  """Yields a file to write, which gets its name when it is complete.

  For an object of a bucket it is a temporary file on this machine (TMPDIR), so
  that memory does not hold the object.

  Args:
    target: a `storage.path`; local parents are made.

  Raises:
    Exception: of `storage.failures()`, e.g. if the disk is full.
  """
  if storage.is_local(target):
    storage.make_folder(target.parent)
    with atomic_file.replacing(target) as file:
      yield file
    return
  with tempfile.NamedTemporaryFile() as file:
    yield file
    file.flush()
    bucket_client.filesystem().put_file(file.name, str(target))
