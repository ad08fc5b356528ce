"""Record of a run in its folder: settings, and hashes of its inputs."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import functools
import json
import pathlib

from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import renamed_settings
from hermesflow_jax.runtime import settings

# Hashes of files by path: the paths may change.
_BY_PATH = ('data', 'pairs')
# Hashes of many files, which are computed again only if a path has changed.
_SLOW = ('image_files',)


class OtherRunError(ValueError):
  """A folder belongs to a run with other settings."""


class RunRecord:
  """What `settings.json` of a run holds.

  Args:
    root: run folder.
    config: run settings, a dataclass.
    identity: further values that identify the run; JSON types.
    contents: see `workdir_claim.claim_workdir`.
  """

  def __init__(
    self,
    root: pathlib.PurePath,
    config,
    identity: Mapping,
    contents: Mapping[str, Callable],
  ):
    self._root, self._config = root, config
    self._contents = {
      name: functools.cache(compute) for name, compute in contents.items()
    }
    self._identity = json.loads(json.dumps(identity))

  def values(self, saved: Mapping) -> dict:
    """Returns the settings and hashes of this start.

    Args:
      saved: record of an earlier start; {} for none. Hashes that are slow to
        compute are taken from it if no path has changed since.
    """
    kind, record = type(self._config), settings.to_json_types(self._config)
    same_paths = identities.paths_of(kind, saved) == identities.paths_of(
      kind, record
    )
    record |= self._identity
    for name, compute in self._contents.items():
      reused = name in _SLOW and name in saved and same_paths
      value = saved[name] if reused else compute()
      if value is not None:
        record[name] = json.loads(json.dumps(value))
    return record

  def compare(self) -> tuple[dict, dict, bool]:
    """Compares the record in the folder with this start.

    Returns:
      The saved record, the new record, and whether the new settings replace
      others.

    Raises:
      OtherRunError: the folder belongs to another run.
      ValueError: it holds other files.
    """
    kind = type(self._config)
    saved, _ = renamed_settings.with_new_names(kind, _read(self._root))
    record = self.values(saved)
    different = self._differences(saved, record, 'content')
    if different and not folder_contents.has_checkpoints(self._root):
      different = self._differences(saved, record, 'untrained')
    replaced = bool(different) and not folder_contents.has_results(self._root)
    if not replaced and self._is_of_another_job(saved):
      raise OtherRunError('it belongs to a run of another job')
    if different and not replaced:
      raise OtherRunError(
        'it belongs to a run with other settings: ' + ', '.join(different)
      )
    return saved, record, replaced

  def _is_of_another_job(self, saved) -> bool:
    """Returns whether a record lacks all settings that only this job has.

    Settings with a default may be missing in records of earlier releases.
    """
    own = [
      field.name
      for field in dataclasses.fields(self._config)
      if field.name in vars(type(self._config)).get('__annotations__', ())
      and field.default is dataclasses.MISSING
    ]
    return saved.keys().isdisjoint(own) and len(own) > 1

  def _differences(self, saved, record, of) -> list[str]:
    """Returns the settings and hashes that differ in an identity.

    Args:
      saved: record of an earlier start.
      record: record of this start.
      of: see `identities.identity_of`.
    """
    shared = saved.keys() & record.keys()
    unknown = self._contents.keys() - shared
    old, new = (
      identities.identity_of(
        type(self._config),
        {
          name: _without_paths(value) if name in _BY_PATH else value
          for name, value in values.items()
          if name not in unknown
        },
        of,
        contents=shared,
      )
      for values in (saved, record)
    )
    return sorted(identities.differences(old, new))


def _read(root) -> dict:
  """Returns the record in a folder.

  Raises:
    ValueError: it is damaged, or the folder is of something else.
  """
  path = root / folder_contents.SETTINGS
  saved = None
  if path.exists():
    try:
      saved = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
      raise ValueError(
        f'{path} is damaged ({error}): restore a copy'
      ) from error
  if not folder_contents.is_record(saved):
    raise ValueError(
      'it holds files that are not from a run: '
      f'{folder_contents.list_foreign(root)}'
    )
  return saved


def _without_paths(hashes):
  """Returns hashes by path as lists; values of other types as they are."""
  if isinstance(hashes, dict):
    return list(hashes.values())
  if isinstance(hashes, list):
    return [_without_paths(item) for item in hashes]
  return hashes
