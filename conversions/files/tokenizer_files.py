"""Tokenizer files, which a converted text encoder keeps beside its arrays."""

from collections.abc import Callable
import pathlib
import shutil

from hermesflow_jax.runtime import storage

# Files that `transformers.AutoTokenizer` reads.
NAMES = (
  'tokenizer.json',
  'tokenizer_config.json',
  'vocab.txt',
  'special_tokens_map.json',
  'added_tokens.json',
)
# Names the class of a tokenizer, where `tokenizer_config.json` does not.
_CONFIG = 'config.json'


def copy_to_checkpoint(
  source: pathlib.Path,
  checkpoint: pathlib.Path,
  say: Callable[[str], None] = lambda line: None,
) -> None:
  """Copies the tokenizer of PyTorch weights into a converted checkpoint.

  Args:
    source: folder with the weights.
    checkpoint: folder of the checkpoint.
    say: receives a line if `source` has no tokenizer.
  """
  names = [name for name in NAMES if (source / name).is_file()]
  if not {'tokenizer.json', 'vocab.txt'} & set(names):
    say(
      f'{source} has no tokenizer: before scoring, put tokenizer.json and '
      'tokenizer_config.json into the converted folder'
    )
    return
  for name in (*names, _CONFIG):
    if (source / name).is_file():
      shutil.copyfile(source / name, checkpoint / name)


def copy_from_checkpoint(checkpoint: str, target: pathlib.Path) -> None:
  """Copies the tokenizer of a converted checkpoint beside PyTorch weights.

  Args:
    checkpoint: folder of the checkpoint, which need not have a tokenizer.
    target: folder with the weights.
  """
  source = storage.path(checkpoint)
  for name in NAMES:
    if (source / name).is_file():
      (target / name).write_bytes((source / name).read_bytes())
