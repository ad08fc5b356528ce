"""Objects that replace those in a pickle of PyTorch.

A pickle may set attributes of its objects (BUILD). Tuples and numbers have no
attributes, and those of dictionaries are not read.
"""

import pickle
from typing import NamedTuple

import numpy as np

from conversions.files import tensors

DTYPES = {
  'float32': np.dtype(np.float32),
  'float16': np.dtype(np.float16),
  'bfloat16': tensors.BFLOAT16,
  'float64': np.dtype(np.float64),
  'int64': np.dtype(np.int64),
  'int32': np.dtype(np.int32),
  'int16': np.dtype(np.int16),
  'int8': np.dtype(np.int8),
  'uint8': np.dtype(np.uint8),
  'bool': np.dtype(np.bool_),
}


class Frozen(type):
  """Refuses new attributes of a class, which BUILD could set."""

  def __setattr__(cls, *_):
    raise pickle.UnpicklingError('a pickle must not change types')


class ElementType(NamedTuple):
  """Replaces torch.FloatStorage, torch.float32 and similar objects.

  Attributes:
    dtype: type of the elements.
  """

  dtype: np.dtype


class Record(metaclass=Frozen):
  """Replaces an object of a class whose attributes are read.

  Attributes:
    fields: its attributes, as the pickle gives them; None without any.
  """

  __slots__ = ('fields',)

  def __new__(cls, *_):
    """Ignores the arguments of a call."""
    record = super().__new__(cls)
    record.fields = None
    return record

  def __init__(self, *_):
    pass

  def __setstate__(self, state):
    self.fields = state

  def get(self, name: str, kind: type):
    """Returns an attribute.

    Args:
      name: attribute.
      kind: expected type.

    Raises:
      ValueError: it is missing or has another type.
    """
    fields = self.fields
    value = dict.get(fields, name) if isinstance(fields, dict) else None
    if not isinstance(value, kind):
      raise ValueError(
        f'{type(self).__name__} must have a {kind.__name__} at {name}, got '
        + ('nothing' if value is None else type(value).__name__.lstrip('_'))
      )
    return value
