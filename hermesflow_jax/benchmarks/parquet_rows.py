"""Rows of parquet files with an image each, as data sets of lmms-eval are.

The number of a row over all files, in the order of their names, is the
`doc_id` of lmms-eval.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import functools
import pathlib

from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import storage

_IMAGE = 'image'


def names_in(path: pathlib.PurePath) -> list[str]:
  """Returns the names of `test-*.parquet` in a folder, sorted.

  Args:
    path: folder, a `storage.path`.
  """
  if not path.is_dir():
    return []
  names = sorted(storage.list_names(path))
  return [n for n in names if n.startswith('test-') and n.endswith('.parquet')]


def read(
  path: pathlib.PurePath, columns: Sequence[str]
) -> Iterator[tuple[int, dict, stored_image.StoredImage]]:
  """Yields (number, cells by column, image) of each row.

  Args:
    path: folder with `test-*.parquet`.
    columns: columns of text; all cells are texts.

  Raises:
    ValueError: a file cannot be read, or is of another data set.
  """
  # Arrow takes a second to import, and few benchmarks need it.
  import pyarrow as pa
  from pyarrow import parquet

  number = 0
  for name in names_in(path):
    file = path / name
    try:
      schema = parquet.read_schema(file)
      absent = [c for c in (*columns, _IMAGE) if c not in schema.names]
      if absent or not isinstance(schema.field(_IMAGE).type, pa.StructType):
        raise ValueError(
          f'{file} must have columns {", ".join(columns)} and image (bytes), '
          f'got {", ".join(schema.names)}'
        )
      table = parquet.read_table(file, columns=list(columns)).to_pylist()
    except (OSError, pa.ArrowException) as error:
      raise ValueError(f'{file} cannot be read: {error}') from error
    for place, cells in enumerate(table):
      where = f'{file}, row {place}'
      image = stored_image.StoredImage(
        where,
        functools.partial(_image_bytes, file, place),
        f'{storage.version_stamp(file)}/{place}',
      )
      yield number, {k: str(v) for k, v in cells.items()}, image
      number += 1


@functools.lru_cache(maxsize=2)
def _images(file) -> list[bytes]:
  """Returns the images of a file; those of two files stay in memory."""
  from pyarrow import parquet

  cells = parquet.read_table(file, columns=[_IMAGE]).column(0).to_pylist()
  return [(cell or {}).get('bytes') or b'' for cell in cells]


def _image_bytes(file, place) -> bytes:
  return _images(file)[place]
