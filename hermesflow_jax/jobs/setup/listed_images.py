"""Images that a job reads: files, or the images of a data set."""

from collections.abc import Callable
import dataclasses
import pathlib

from hermesflow_jax.data import record_files
from hermesflow_jax.data.sources import stored_image
from hermesflow_jax.runtime import output_files


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


def of_data_set(
  files: record_files.Source, say: Callable[[str], None]
) -> list[ListedImage]:
  """Returns the images of a data set without repetition.

  Args:
    files: the data set.
    say: receives a line for records that are left out.

  Raises:
    ValueError: see `record_files.open_pictures`.
  """
  images = {}
  for example in record_files.open_pictures(files, say):
    name = str(example['path'])
    facts = {'id': example['id'], 'true_caption': example['caption']}
    images.setdefault(name, ListedImage(name, example['path'], facts))
  return list(images.values())


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
