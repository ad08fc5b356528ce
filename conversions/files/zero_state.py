"""Opens a file of a ZeRO checkpoint and checks the types of its values."""

import pathlib

from conversions.files import file_content
from conversions.files import tensors
from conversions.files import torch_file
from conversions.files import torch_pickle


class State:
  """A file of a checkpoint, with checks of what it holds.

  Attributes:
    path: file.
  """

  def __init__(self, path: pathlib.Path, contents: torch_pickle.Contents):
    self.path, self._contents = path, contents

  def has(self, *keys: str) -> bool:
    """Returns whether a value other than None lies at keys.

    Args:
      keys: dictionary keys, from the outermost on.
    """
    return self._value(*keys) is not None

  def _value(self, *keys):
    value = self._contents.value
    for key in keys:
      value = dict.get(value, key) if isinstance(value, dict) else None
    return value

  def get(self, kind: type, *keys: str):
    """Returns the value at keys.

    Args:
      kind: expected type.
      keys: see `has`.

    Raises:
      ValueError: it is missing or has another type.
    """
    value = self._value(*keys)
    if not isinstance(value, kind):
      raise ValueError(
        f'{self.path} must have a {kind.__name__} at {"/".join(keys)}, got '
        + ('nothing' if value is None else type(value).__name__.lstrip('_'))
      )
    return value

  def tensor(self, *keys: str) -> tensors.StridedTensor | None:
    """Returns the tensor at keys, None without any.

    Args:
      keys: see `has`; without keys, the file must hold a tensor alone.
    """
    value = self._value(*keys)
    is_tensor = isinstance(value, torch_pickle.TensorIndex)
    return self._contents.tensors[value] if is_tensor else None

  def named_tensors(self, *keys: str) -> dict[str, tensors.StridedTensor]:
    """Returns a dictionary of tensors; other values in it are left out.

    Args:
      keys: see `has`.

    Raises:
      ValueError: there is no dictionary.
    """
    return {
      name: self._contents.tensors[index]
      for name, index in dict.items(self.get(dict, *keys))
      if isinstance(name, str) and isinstance(index, torch_pickle.TensorIndex)
    }

  def vectors(self, *keys: str) -> list[tensors.StridedTensor]:
    """Returns a list of tensors with a single axis.

    Args:
      keys: see `has`.

    Raises:
      ValueError: there is no such list.
    """
    vectors = [
      self._contents.tensors[index]
      for index in self.get(list, *keys)
      if isinstance(index, torch_pickle.TensorIndex)
    ]
    if any(len(vector.shape) != 1 for vector in vectors):
      raise ValueError(f'{self.path} must have vectors at {"/".join(keys)}')
    return vectors

  def shapes(self, key: str) -> dict[str, tuple[int, ...]]:
    """Returns a dictionary of shapes.

    Args:
      key: key at which it lies.

    Raises:
      ValueError: it is no dictionary of shapes.
    """
    return self._shapes(self._value(key), key)

  def _shapes(self, value, key):
    items = list(dict.items(value)) if isinstance(value, dict) else [(0, 0)]
    for name, shape in items:
      if (
        not isinstance(name, str)
        or not isinstance(shape, (tuple, list))
        or any(type(n) is not int or n < 0 for n in shape)
      ):
        raise ValueError(f'{self.path} must have shapes by name at {key}')
    return {name: tuple(shape) for name, shape in items}

  def group_shapes(self) -> list[dict[str, tuple[int, ...]]]:
    """Returns the shapes of each group of parameters.

    Raises:
      ValueError: they are missing.
    """
    groups = self.get(list, 'param_shapes')
    return [self._shapes(group, 'param_shapes') for group in groups]


def open_file(path: pathlib.Path) -> State:
  """Reads all of a file but the elements of tensors.

  Args:
    path: file of a checkpoint.

  Raises:
    ValueError: the file is damaged. One-line message.
  """
  file_content.refuse_text(path)
  return State(path, torch_file.read_contents(path))
