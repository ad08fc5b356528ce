"""Files of text tokenizers, read by the transformers library."""

import os
import pathlib
import typing

from hermesflow_jax.runtime import file_kinds
from hermesflow_jax.runtime import strict_json

if typing.TYPE_CHECKING:
  import transformers

# Files of a tokenizer that hold a JSON object.
_OBJECTS = (
  'tokenizer.json',
  'tokenizer_config.json',
  'config.json',
  'vocab.json',
  'special_tokens_map.json',
  'added_tokens.json',
)


def read(path: str, end: str) -> 'transformers.PreTrainedTokenizerFast':
  """Reads a tokenizer; nothing is downloaded and no code is run.

  Args:
    path: local `tokenizer.json` file, or a folder for `AutoTokenizer`.
    end: token that ends a text, for a file, which does not name it.

  Raises:
    ValueError: the folder lacks the file with the words.
    Exception: the library cannot read the files; see `describe_fault`.
  """
  if os.path.isfile(path):
    return fast(end, tokenizer_file=path)
  import transformers

  tokenizer = transformers.AutoTokenizer.from_pretrained(
    path, local_files_only=True, trust_remote_code=False
  )
  # The library makes an empty tokenizer from its settings alone.
  if not tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False):
    raise ValueError(
      'it must hold tokenizer.json, or vocab.json with merges.txt; copy or '
      'download these files'
    )
  return tokenizer


def fast(end: str, **source) -> 'transformers.PreTrainedTokenizerFast':
  """Returns a tokenizer of the library.

  Args:
    end: token that begins and ends a text.
    **source: `tokenizer_file` or `tokenizer_object`.
  """
  # Imported where needed: it takes half a second.
  import transformers

  return transformers.PreTrainedTokenizerFast(
    eos_token=end, bos_token=end, **source
  )


def describe_fault(path: str) -> str:
  """Returns which file of a tokenizer is no JSON object, in a line.

  Args:
    path: local file or folder that cannot be read.

  Returns:
    E.g. 'tokenizer.json must be a JSON object, got a Git LFS pointer; run `git
    lfs pull`'; '' if all files that exist hold JSON objects.
  """
  place = pathlib.Path(path)
  files = [place] if place.is_file() else [place / name for name in _OBJECTS]
  for file in files:
    try:
      value = strict_json.parse(file.read_bytes())
      fault = '' if isinstance(value, dict) else f'a {type(value).__name__}'
    except OSError:
      continue
    except ValueError as error:
      fault = file_kinds.name(file) or f'a damaged file ({error!s:.100})'
    if fault:
      return f'{file.name} must be a JSON object, got {fault}'
  return ''
