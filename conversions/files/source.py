"""Finds PyTorch checkpoints: a file, a folder, shards, or a hub id."""

import dataclasses
import hashlib
import pathlib
import re

import huggingface_hub

from conversions.files import safetensors_file
from conversions.files import tensors
from conversions.files import torch_file
from hermesflow_jax.runtime import strict_json

READERS = {
  '.safetensors': safetensors_file.read,
  '.bin': torch_file.read,
  '.pt': torch_file.read,
  '.pth': torch_file.read,
}
# The first existing file of a folder is read.
IN_FOLDERS = (
  'model.safetensors.index.json',
  'model.safetensors',
  'diffusion_pytorch_model.safetensors.index.json',
  'diffusion_pytorch_model.safetensors',
  'pytorch_model.safetensors',
  'pytorch_model.bin.index.json',
  'pytorch_model.bin',
  'diffusion_pytorch_model.bin',
)
HUB_NAME = r'[A-Za-z0-9][\w.-]{0,95}'
HUB_ID = rf'({HUB_NAME}/{HUB_NAME})(?:@([\w.-]{{1,64}}))?'


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
    """Returns SHA-256 sums by file name."""
    sums = {}
    for path in self.files:
      with open(path, 'rb') as file:
        sums[path.name] = hashlib.file_digest(file, 'sha256').hexdigest()
    return sums


def find(name: str, say=lambda line: None) -> Source:
  """Reads a checkpoint's headers; tensors are read on demand.

  Args:
    name: a file, a folder, or a hub id `owner/name[@revision]`.
    say: receives a line with a hub id's revision.

  Raises:
    ValueError: the checkpoint is missing or damaged. One-line message.
  """
  path = pathlib.Path(name)
  if not path.exists():
    path, name = _download(name, say)
  try:
    return _open(path, name)
  except OSError as error:
    raise ValueError(
      f'{error.filename} cannot be read: {error.strerror}'
    ) from error


def _open(path: pathlib.Path, name: str) -> Source:
  folder = path if path.is_dir() else path.parent
  if path.is_dir():
    candidates = [path / file for file in IN_FOLDERS]
    path = next((file for file in candidates if file.is_file()), None)
    if path is None:
      raise ValueError(
        f'{folder} must hold one of ' + ', '.join(IN_FOLDERS) + ', got none'
      )
  if path.name.endswith('.index.json'):
    state_dict, files = _read_shards(path)
  else:
    state_dict, files = _reader(path)(path), (path,)
  config = folder / 'config.json'
  return Source(
    name,
    state_dict,
    strict_json.load(config) if config.is_file() else {},
    files,
  )


def _reader(path):
  if path.suffix not in READERS:
    raise ValueError(
      f'{path} must end with one of '
      + ', '.join(READERS)
      + ', .index.json, got '
      + repr(path.suffix)
    )
  return READERS[path.suffix]


def _read_shards(index: pathlib.Path):
  """Reads the shards in an index; ValueError lists all faults.

  Returns:
    (torch name -> tensor, shard files).
  """
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
    path = index.parent / shard
    for name, tensor in _reader(path)(path).items():
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


def _download(name: str, say) -> tuple[pathlib.Path, str]:
  """Downloads a hub id; returns (folder, name with its revision)."""
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
        *[
          f'{file.split(".")[0]}{end}'
          for file in IN_FOLDERS
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
