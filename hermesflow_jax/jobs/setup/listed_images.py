"""Images that a job reads: files, or the images of a data set."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib

from hermesflow_jax.data import image_listing
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import user_text


@dataclasses.dataclass(frozen=True)
class ListedImage:
  """An image.

  Attributes:
    name: path as text, or the name inside another file.
    path: where its bytes are.
    facts: `id` and `true_caption` of an image of a data set.
  """

  name: str
  path: pathlib.PurePath | stored_image.StoredImage
  facts: dict[str, str] = dataclasses.field(default_factory=dict)


def list_images(
  patterns: Sequence[str],
  files: record_files.Source | None,
  say: Callable[[str], None],
) -> list[ListedImage]:
  """Returns the images without repetition.

  Args:
    patterns: see `image_listing.list_images`.
    files: a data set in their place; None for none.
    say: receives a line for files that are passed over, and for records that
      are left out.

  Raises:
    ValueError: see `image_listing.list_images` and `record_files.open_records`.
  """
  if files is None:
    return [
      ListedImage(name, storage.path(name))
      for name in image_listing.list_images(patterns, say)
    ]
  images = {}
  for example in record_files.open_records(
    files, say, needs_questions=False, text_only='skip'
  ):
    name = str(example['path'])
    facts = {'id': example['id'], 'true_caption': example['caption']}
    images.setdefault(name, ListedImage(name, example['path'], facts))
  return list(images.values())


def fault(image: ListedImage, size: int) -> str:
  """Returns why an image cannot be read; '' for a readable image.

  Args:
    image: the image.
    size: side after resizing and cropping, in pixels.
  """
  try:
    user_text.check('its name', image.name)
    image_reader.load_image(image.path, size)
  except ValueError as error:
    return str(error).partition('cannot be read: ')[2] or str(error)
  return ''


def sha256(image: ListedImage) -> str:
  """Returns the SHA-256 sum of an image.

  Args:
    image: the image.

  Raises:
    ValueError: the image cannot be read.
  """
  if isinstance(image.path, stored_image.StoredImage):
    return image.path.sha256()
  return output_files.sha256(image.name)
