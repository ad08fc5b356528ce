"""Finds PyTorch checkpoints: a file, a folder, shards, or a hub id."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import hashlib
import os
import pathlib
import re

import huggingface_hub

from conversions.files import distributed_checkpoint
from conversions.files import distributed_shards
from conversions.files import file_content
from conversions.files import layouts
from conversions.files import rank_files
from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.files import tokenizer_files
from conversions.files import torch_file
from conversions.files import universal_checkpoint
from conversions.files import zero_checkpoint
from hermesflow_jax.runtime import strict_json

ARCHIVES = ('.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.zst', '.7z')
HUB_NAME = r'[A-Za-z0-9][\w.-]{0,95}'
HUB_ID = rf'({HUB_NAME}/{HUB_NAME})(?:@([\w.-]{{1,64}}))?'
HUB_ADDRESS = rf'https?://(?:huggingface|hf)\.co/({HUB_NAME}/{HUB_NAME}).*'


@dataclasses.dataclass(frozen=True)
class Source:
  """A PyTorch checkpoint.

  Attributes:
    name: path, or hub id with its revision.
    tensors: torch name -> tensor.
    config: contents of `config.json`, {} without such a file.
    files: files that hold the tensors.
  """

  name: str
  tensors: dict[str, tensors.Tensor]
  config: dict
  files: tuple[pathlib.Path, ...]

  def sums(self) -> dict[str, str]:
    """Returns SHA-256 sums by file name; by path in folders of parameters."""
    sums = {}
    parents = [path.parent for path in self.files]
    top = pathlib.Path(os.path.commonpath(parents)) if parents else None
    for path in self.files:
      with open(path, 'rb') as file:
        name = path.relative_to(top).as_posix()
        sums[name] = hashlib.file_digest(file, 'sha256').hexdigest()
    return sums


def find(name: str, say: Callable[[str], None] = lambda line: None) -> Source:
  """Reads a checkpoint's headers; tensors are read on demand.

  Args:
    name: a file, a folder (see `layouts`), or a hub id `owner/name[@revision]`.
    say: receives a line for a choice that the name does not imply, e.g. a hub
      id's revision.

  Raises:
    ValueError: the checkpoint is missing or damaged. One-line message.
  """
  path, name = local_path(name, say)
  try:
    return _open(path, name, say)
  except OSError as error:
    raise ValueError(
      f'{error.filename} cannot be read: {error.strerror}'
    ) from error


def local_path(
  name: str, say: Callable[[str], None] = lambda line: None
) -> tuple[pathlib.Path, str]:
  """Returns (path, name with its revision); downloads a hub id.

  Args:
    name: see `find`.
    say: see `find`.

  Raises:
    ValueError: neither a path nor a hub id has this name.
  """
  path = pathlib.Path(name)
  return (path, name) if path.exists() else _download(name, say)


def _open(path: pathlib.Path, name: str, say) -> Source:
  if not path.is_dir():
    zero_checkpoint.refuse_part(path)
    distributed_checkpoint.refuse_part(path)
    universal_checkpoint.refuse_part(path)
  top = path if path.is_dir() else path.parent
  files = (
    layouts.weight_files(path, say)
    if path.is_dir()
    else rank_files.parts(path) or [path]
  )
  folder = files[0].parent
  if folder != top:
    name = f'{name}/{folder.relative_to(top)}'
  if layouts.is_index(files[0]):
    state_dict, files = _read_index(files[0], say)
  elif path.is_dir() and universal_checkpoint.is_part(files[-1]):
    state_dict = universal_checkpoint.read(files, say)
  elif path.is_dir() and zero_checkpoint.is_part(files[0]):
    state_dict = zero_checkpoint.read(files, say)
  elif path.is_dir() and distributed_checkpoint.is_part(files[0]):
    state_dict, files = distributed_checkpoint.read(files, say)
  elif path.is_dir() and distributed_shards.is_part(files[0]):
    state_dict = distributed_shards.read(files)
  elif rank_files.is_part(files[0]):
    state_dict = rank_files.read(files, say)
  elif len(files) > 1:
    state_dict = _read_shards(files, say)
  else:
    state_dict = read_file(files[0], say)
    if isinstance(
      next(iter(state_dict.values()), None), safetensors_file.SafetensorsTensor
    ):
      safetensors_file.add_shared(files[0], state_dict, say)
  return Source(name, state_dict, _config(folder, top), tuple(files))


def _config(folder: pathlib.Path, top: pathlib.Path) -> dict:
  """Returns the nearest `config.json`, from the weights' folder up to `top`."""
  while True:
    file = folder / 'config.json'
    if file.is_file():
      file_content.refuse_other_content(file)
      return strict_json.load(file)
    if folder == top:
      return {}
    folder = folder.parent


def read_file(
  path: pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, tensors.Tensor]:
  """Reads the names and places of a file's tensors.

  The content decides how the file is read: names are often changed.

  Args:
    path: safetensors file, or a file that `torch.save` wrote.
    say: see `torch_file.read`.

  Raises:
    ValueError: the file is no such file, or is damaged. One-line message.
  """
  if path.suffix in ARCHIVES:
    raise ValueError(
      f'{path} must be a file of weights, got an archive: unpack it'
    )
  if path.suffix not in layouts.SUFFIXES:
    raise ValueError(
      f'{path} must end with one of '
      + ', '.join(layouts.SUFFIXES)
      + ', .index.json, got '
      + repr(path.suffix)
    )
  file_content.refuse_text(path)
  named_safetensors = path.suffix == '.safetensors'
  if named_safetensors and file_content.is_zip(path):
    say(f'{path} is a file of torch.save in spite of its name')
    named_safetensors = False
  elif not named_safetensors and file_content.is_safetensors(path):
    say(f'{path} is a safetensors file in spite of its name')
    named_safetensors = True
  if named_safetensors:
    return safetensors_file.read(path)
  return torch_file.read(path, say)


def _read_index(index: pathlib.Path, say):
  """Reads the shards in an index; ValueError lists all faults.

  Returns:
    (torch name -> tensor, shard files).
  """
  file_content.refuse_other_content(index)
  places = strict_json.load(index).get('weight_map')
  if (
    not isinstance(places, dict)
    or not places
    or not all(isinstance(shard, str) for shard in places.values())
  ):
    raise ValueError(f'{index} must have a weight_map of texts')
  shards = sorted(set(places.values()))
  for shard in shards:
    # A plain name cannot leave the folder. Links are allowed: the cache of the
    # hub consists of links.
    if not re.fullmatch(r'[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}', shard):
      raise ValueError(
        f'{index}: shards must be plain file names, got {shard!r:.200}'
      )
    if not (index.parent / shard).is_file():
      raise ValueError(f'{index}: {shard} is missing')
  state_dict, faults = {}, []
  for shard in shards:
    for name, tensor in read_file(index.parent / shard, say).items():
      if places.get(name) != shard:
        expected = places.get(name, 'no shard')
        faults.append(f'{name!r:.200} must be in {expected}, got {shard}')
      state_dict[name] = tensor
  faults += [
    f'{name!r:.200} is not in {shard}'
    for name, shard in places.items()
    if name not in state_dict
  ]
  if faults:
    raise ValueError(f'{index}: ' + '; '.join(faults))
  return state_dict, tuple(index.parent / shard for shard in shards)


def _read_shards(files: Sequence[pathlib.Path], say):
  """Returns the tensors of shards without an index, torch name -> tensor."""
  state_dict = {}
  for path in files:
    for name, tensor in read_file(path, say).items():
      if name in state_dict:
        raise ValueError(f'{path}: {name!r:.200} is in another shard, too')
      state_dict[name] = tensor
  return state_dict


def _download(name: str, say) -> tuple[pathlib.Path, str]:
  """Downloads a hub id; returns (folder, name with its revision)."""
  if address := re.fullmatch(HUB_ADDRESS, name):
    raise ValueError(
      f'SRC must be a file, a folder or a hub id, got an address: give '
      f'{address[1]}'
    )
  if '://' in name:
    raise ValueError(
      f'SRC must be a file, a folder or a hub id, got {name}: copy it to this '
      'machine, then give its path'
    )
  matched = re.fullmatch(HUB_ID, name)
  if not matched:
    raise ValueError(f'no file or folder at {name}')
  repo, revision = matched.groups()
  try:
    revision = huggingface_hub.HfApi().model_info(repo, revision=revision).sha
    say(f'{repo} at revision {revision}')
    folder = huggingface_hub.snapshot_download(
      repo,
      revision=revision,
      allow_patterns=[
        'config.json',
        'adapter_config.json',
        *layouts.ADAPTERS,
        *tokenizer_files.NAMES,
        *[
          f'{file.split(".")[0]}{end}'
          for file in layouts.IN_FOLDERS
          for end in ('*.safetensors', '*.bin', '*.index.json')
        ],
      ],
    )
  except Exception as error:
    raise ValueError(
      f'no file or folder at {name}, and no download from the hub: '
      + ' '.join(str(error).split())[:300]
    ) from error
  return pathlib.Path(folder), f'{repo}@{revision}'
