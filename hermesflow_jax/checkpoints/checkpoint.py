"""Checkpoints: orbax, and fingerprints that detect damage.

A checkpoint holds arrays and a small record (`read_metadata`), with a
fingerprint for each array and a hash for the record. Restoring onto any mesh
gives the same fingerprints; a flipped bit changes them.
"""

import math
import typing

import jax

from hermesflow_jax.checkpoints import checkpoint_record
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import storage

if typing.TYPE_CHECKING:
  from orbax.checkpoint import v1 as ocp

# Bytes that are read at once, if no array is larger.
GROUP = 2**29
# In a bucket, the last file that orbax writes.
_MARK = 'commit_success.txt'


def _flat(tree):
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {sharding.path_name(path): leaf for path, leaf in leaves}


def save(path: str, tree, meta: dict) -> None:
  """Writes a checkpoint, which appears under its name only when complete.

  Args:
    path: folder that does not exist yet; buckets are possible.
    tree: pytree with jax arrays.
    meta: record for `read_metadata`; JSON types only.

  Raises:
    ValueError: `path` exists.
  """
  save_async(path, tree, meta).result()


def save_async(path: str, tree, meta: dict):
  """Begins to write a checkpoint; returns when `tree` was copied.

  Args:
    path: see `save`.
    tree: see `save`.
    meta: see `save`.

  Returns:
    A response, whose `result()` returns when the checkpoint is complete, or
    raises.

  Raises:
    ValueError: `path` exists.
  """
  from orbax.checkpoint import v1 as ocp

  path = storage.path(_absolute(path))
  if processes.broadcast_from_first(lambda: exists(path)):
    raise ValueError(f'checkpoint {path} exists')
  if not storage.is_local(path):
    # A killed process may have left files under this name.
    processes.on_first_process(lambda: remove(path))
  storage.make_folder(path.parent)
  record = checkpoint_record.encode(fingerprints.fingerprint(tree), meta)
  flat = _flat(tree)
  with _lean(flat):
    return ocp.save_checkpointables_async(
      str(path), {'arrays': flat, 'meta': record}
    )


def _lean(flat) -> 'ocp.Context':
  """Returns a context that writes arrays without a second copy of them all.

  For 1.2 GB of random float32, orbax's defaults take 1.1 GB more memory and
  8.8 s; this context takes 0.0 GB and 4.0 s, and 11 % more space on the disk.
  (Chunks smaller than the shards on the devices cost a copy of the largest
  arrays.)
  """
  from orbax.checkpoint import v1 as ocp

  context = ocp.Context()
  context.array.saving.use_compression = False
  # Smaller arrays are written by a single device, not a slice by each: every
  # slice is a program to compile.
  context.array.saving.min_slice_bytes_for_replica_parallel = 2**20
  context.memory.write_concurrent_bytes = _limit(flat)
  return context


def _limit(flat) -> int:
  """Returns the bytes in transfer at once, which must exceed any array."""
  return max([fingerprints.CHUNK, *map(_nbytes, flat.values())]) + 1


def _nbytes(array) -> int:
  return math.prod(array.shape) * array.dtype.itemsize


def array_hashes(path: str) -> dict[str, list[int]]:
  """Returns the saved arrays' fingerprints; see `fingerprints`.

  Args:
    path: checkpoint folder.

  Raises:
    DamagedError: the folder holds no readable checkpoint.
    OSError: see `restore`.
  """
  return checkpoint_record.read(_absolute(path))['fingerprint']


def read_metadata(path: str) -> dict:
  """Returns the record that `save` was given as `meta`.

  Args:
    path: checkpoint folder.

  Raises:
    DamagedError: the folder holds no readable checkpoint.
    OSError: see `restore`.
  """
  return checkpoint_record.read(_absolute(path))['user']


def array_shapes(path: str) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shape and the dtype of each saved array, by name.

  Args:
    path: checkpoint folder.

  Raises:
    DamagedError: the folder holds no readable checkpoint.
    OSError: see `restore`.
  """
  from orbax.checkpoint import v1 as ocp

  path = _absolute(path)
  try:
    arrays = dict(ocp.checkpointables_metadata(path).metadata['arrays'])
  except Exception as error:
    raise read_errors.describe_damage(path, error) from error
  return {
    name: jax.ShapeDtypeStruct(tuple(array.shape), array.dtype)
    for name, array in arrays.items()
  }


def restore(path: str, abstract, shardings, part: str = ''):
  """Reads a checkpoint onto the devices that `shardings` names.

  Args:
    path: folder that `save` wrote.
    abstract: pytree of arrays or ShapeDtypeStructs, as they were saved.
    shardings: pytree of shardings with the same structure.
    part: beginning of the saved names, e.g. 'model/'; arrays with other names
      are not read.

  Returns:
    The arrays, in the structure of `abstract`.

  Raises:
    DamagedError: the folder holds no readable checkpoint, or bits have changed.
    OSError: the machine lacks memory, rights or files to read it.
    ValueError: lists all names, shapes and dtypes that differ.
  """
  from orbax.checkpoint import v1 as ocp

  path = _absolute(path)
  expected = {part + n: leaf for n, leaf in _flat(abstract).items()}
  cause = None
  try:
    saved, shapes = (
      checkpoint_record.read(path)['fingerprint'],
      array_shapes(path),
    )
  except (ValueError, OSError) as error:
    cause = error
  read_errors.check_read(path, cause)
  shapes = {n: a for n, a in shapes.items() if n.startswith(part)}
  faults = [f'{n}: not in the checkpoint' for n in expected if n not in shapes]
  faults += [f'{n}: not in the model' for n in shapes if n not in expected]
  for name in sorted(set(expected) & set(shapes)):
    a, b = shapes[name], expected[name]
    if a.shape != tuple(b.shape) or a.dtype != b.dtype:
      faults.append(
        f'{name} must be {b.dtype}{list(b.shape)}, got {a.dtype}{list(a.shape)}'
      )
  if faults:
    raise ValueError(f'checkpoint {path} does not fit: ' + '; '.join(faults))
  placed = jax.tree.map(
    lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
    expected,
    {part + n: leaf for n, leaf in _flat(shardings).items()},
  )
  arrays, cause = {}, None
  try:
    for group in _groups(placed):
      with _reading(group):
        arrays |= ocp.load_checkpointables(path, {'arrays': group})['arrays']
  except Exception as error:
    cause = read_errors.describe_damage(
      path, error, f'checkpoint {path} is damaged'
    )
    cause.__cause__ = error
  read_errors.check_read(path, cause)
  bad = [
    n for n, s in fingerprints.fingerprint(arrays).items() if saved.get(n) != s
  ]
  if bad:
    raise read_errors.DamagedError(
      f'checkpoint {path} is damaged in ' + ', '.join(bad)
    )
  names = list(expected)
  return jax.tree.unflatten(
    jax.tree.structure(abstract), [arrays[n] for n in names]
  )


def _groups(placed):
  """Splits arrays into groups that are read at once, as reading copies them.

  The largest arrays come first.
  """
  groups, free = [], 0
  for name in sorted(placed, key=lambda n: -_nbytes(placed[n])):
    size = _nbytes(placed[name])
    if size > free:
      groups.append({})
      free = GROUP
    groups[-1][name] = placed[name]
    free -= size
  return groups


def _reading(group) -> 'ocp.Context':
  from orbax.checkpoint import v1 as ocp

  context = ocp.Context()
  context.pytree.loading.partial_load = True
  context.memory.read_concurrent_bytes = _limit(group)
  return context


def is_checkpoint(path: str) -> bool:
  """Returns whether a folder looks as if `save` wrote it.

  Args:
    path: any path.
  """
  return (storage.path(path) / checkpoint_record.MARK).is_file()


def exists(path) -> bool:
  """Returns whether a complete checkpoint is at a path.

  On this machine a folder gets its name when it is complete. In a bucket,
  orbax writes into the folder, and marks its end.

  Args:
    path: checkpoint folder.
  """
  path = storage.path(path)
  return path.exists() if storage.is_local(path) else (path / _MARK).exists()


def remove(path) -> None:
  """Removes a checkpoint, complete or not, if it exists.

  Args:
    path: checkpoint folder.
  """
  path = storage.path(path)
  if not storage.is_local(path):
    # First: without its mark the rest is no checkpoint.
    storage.remove(path / _MARK)
  storage.remove(path)


def _absolute(path) -> str:
  path = storage.path(path)
  return str(path.absolute() if storage.is_local(path) else path)
