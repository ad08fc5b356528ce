"""Record of a run in its folder: settings, and hashes of its inputs."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import json
import pathlib

from hermesflow_jax.jobs.setup import folder_contents
from hermesflow_jax.runtime import identities
from hermesflow_jax.runtime import settings

# Hashes of files by path: the paths may change.
_BY_PATH = ('data', 'pairs')


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
      saved: record of an earlier start. Hashes are taken from it if no path has
        changed since; {} for none.
    """
    kind, record = type(self._config), settings.to_json_types(self._config)
    same_paths = identities.paths_of(kind, saved) == identities.paths_of(
      kind, record
    )
    record |= self._identity
    for name, compute in self._contents.items():
      value = saved[name] if same_paths and name in saved else compute()
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
    saved = _read(self._root)
    record = self.values(saved)
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
        'content',
        contents=shared,
      )
      for values in (saved, record)
    )
    different = sorted(identities.differences(old, new))
    replaced = (
      bool(different)
      and folder_contents.is_record(saved)
      and not folder_contents.has_results(self._root)
    )
    if different and not replaced:
      raise OtherRunError(
        'it belongs to a run with other settings: ' + ', '.join(different)
      )
    return saved, record, replaced


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
    except ValueError as error:
      raise ValueError(f'{path} is damaged ({error}): restore it') from error
  if not isinstance(saved, dict):
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
