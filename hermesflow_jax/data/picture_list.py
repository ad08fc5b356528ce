"""Pictures of a user as training examples, read when they are needed."""

from collections.abc import Callable
from collections.abc import Sequence

from hermesflow_jax.data import image_listing
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.data import record_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text

# Of this many pictures one is held out.
_HELD_OUT = 10


class Pictures(Sequence):
  """Examples {'image': uint8[size, size, 3]}; memory holds paths alone.

  Args:
    paths: image files, `storage.path` or `StoredImage`.
    size: side after resizing and cropping, in pixels.
  """

  def __init__(self, paths: Sequence, size: int):
    self.paths, self._size = list(paths), size

  def __len__(self):
    return len(self.paths)

  def __getitem__(self, index):
    return {'image': image_reader.load_image(self.paths[index], self._size)}


def list_paths(
  images: Sequence[str],
  files: record_files.Source | None,
  say: Callable[[str], None],
  on_error: str = 'raise',
) -> list:
  """Returns the image files of patterns, or of a data set.

  Args:
    images: files, folders and patterns; see `image_listing.list_images`.
    files: a data set in their place, or None.
    say: receives a line for what is left out.
    on_error: 'raise', or 'skip' to leave out images that cannot be read; a data
      set has its own `on_error`, of which 'skip' is enough, too.

  Raises:
    ValueError: there is no image, or the data set has faults.
  """
  if files is not None:
    records = record_files.open_pictures(files, say)
    paths = [record['path'] for record in records]
    flag = '--config.files.on_error=skip'
    if files.on_error == 'skip':
      on_error = 'skip'
  else:
    names = image_listing.list_images(images, say)
    paths = [storage.path(name) for name in names]
    flag = '--config.on_error=skip'
  if on_error == 'skip':
    return _readable(paths, say)
  faults = image_reader.faults_of_all(
    [(str(path), path) for path in paths], False
  )
  if faults:
    raise ValueError(
      f'images must be readable, got {user_text.counted(len(faults), "fault")}'
      ': '
      + '; '.join(faults[:10])
      + (f'; leave them out with {flag}' if len(faults) < len(paths) else '')
    )
  return paths


def _readable(paths, say) -> list:
  """Returns the images that can be decoded, and reports the others."""
  faults = {
    path: fault
    for path in paths
    if (fault := image_reader.decoding_fault(path))
  }
  valid = [path for path in paths if path not in faults]
  input_faults.raise_or_report(
    list(faults.values()), len(valid), 'skip', say, 'images'
  )
  return valid


def split(
  paths: Sequence, size: int, evaluated: int
) -> tuple[Pictures, Pictures]:
  """Returns (pictures to learn from, held-out pictures).

  Every tenth picture is held out, at most `evaluated`; of fewer than ten
  pictures all are in both sets.

  Args:
    paths: image files.
    size: side in pixels.
    evaluated: most held-out pictures.
  """
  if len(paths) < _HELD_OUT:
    return Pictures(paths, size), Pictures(paths[:evaluated], size)
  held = set(range(0, len(paths), _HELD_OUT)[:evaluated])
  return (
    Pictures([p for n, p in enumerate(paths) if n not in held], size),
    Pictures([p for n, p in enumerate(paths) if n in held], size),
  )
