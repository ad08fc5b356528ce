"""A checkpoint as one finds it: a file, a folder, or a name on the hub."""

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
# The first that is there is read; what is not listed must be named.
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
  """What was found.

  Attributes:
    name: as it was asked for; with the revision, of a hub id.
    tensors: by PyTorch name.
    config: the `config.json` beside them, {} if there is none.
    files: those that hold the tensors.
  """

  name: str
  tensors: dict[str, tensors.Tensor]
  config: dict
  files: tuple[pathlib.Path, ...]

  def sums(self) -> dict[str, str]:
    """Returns the SHA-256 of each file by its name."""
    found = {}
    for path in self.files:
      with open(path, 'rb') as file:
        found[path.name] = hashlib.file_digest(file, 'sha256').hexdigest()
    return found


def find(name: str, say=lambda line: None) -> Source:
  """Reads the headers of a checkpoint; no tensor is read yet.

  Args:
    name: a file, a folder, or a hub id `owner/name[@revision]`.
    say: prints the revision of a hub id.

  Raises:
    ValueError: one line: nothing is there, or what is there is not sound.
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


def _open(path, name):
  folder = path if path.is_dir() else path.parent
  if path.is_dir():
    there = [path / file for file in IN_FOLDERS if (path / file).is_file()]
    if not there:
      raise ValueError(
        f'no checkpoint in {path}, wanted one of ' + ', '.join(IN_FOLDERS)
      )
    path = there[0]
  if path.name.endswith('.index.json'):
    found, files = _sharded(path)
  else:
    found, files = _reader(path)(path), (path,)
  config = folder / 'config.json'
  return Source(
    name, found, strict_json.load(config) if config.is_file() else {}, files
  )


def _reader(path):
  if path.suffix not in READERS:
    raise ValueError(
      f'{path} is none of ' + ', '.join(READERS) + ', *.index.json'
    )
  return READERS[path.suffix]


def _sharded(index):
  """(tensors, files) of an index; ValueError lists all that does not fit."""
  places = strict_json.load(index).get('weight_map')
  if (
    not isinstance(places, dict)
    or not places
    or not all(isinstance(shard, str) for shard in places.values())
  ):
    raise ValueError(f'{index} has no weight_map')
  shards = sorted(set(places.values()))
  for shard in shards:
    # A plain name cannot leave the folder. (It may be a link: the hub's own
    # cache is made of links.)
    if not re.fullmatch(r'[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}', shard):
      raise ValueError(f'{index}: {shard!r:.200} is no plain file name')
    if not (index.parent / shard).is_file():
      raise ValueError(f'{index}: {shard} is missing')
  found, faults = {}, []
  for shard in shards:
    path = index.parent / shard
    for name, tensor in _reader(path)(path).items():
      if places.get(name) != shard:
        wanted = places.get(name, 'nowhere')
        faults.append(f'{name!r:.200} is in {shard}, wanted {wanted}')
      found[name] = tensor
  faults += [
    f'{name!r:.200} is not in {shard}'
    for name, shard in places.items()
    if name not in found
  ]
  if faults:
    raise ValueError(f'{index}: ' + '; '.join(faults))
  return found, tuple(index.parent / shard for shard in shards)


def _download(name, say):
  """(folder, name with its revision) of a hub id."""
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
      f'no file or folder at {name}, and the hub does not give it: '
      + ' '.join(str(error).split())[:300]
    ) from error
  return pathlib.Path(folder), f'{repo}@{revision}'
