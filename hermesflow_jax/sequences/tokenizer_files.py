"""Files of text tokenizers, and folders in the form of transformers."""

import codecs
import dataclasses
import os
import pathlib

import tokenizers

from hermesflow_jax.runtime import file_kinds
from hermesflow_jax.runtime import strict_json

# Files of a tokenizer that hold a JSON object.
_OBJECTS = (
  'tokenizer.json',
  'tokenizer_config.json',
  'config.json',
  'vocab.json',
  'special_tokens_map.json',
  'added_tokens.json',
)
# Files that hold the words.
_WORDS = ('tokenizer.json', 'vocab.json', 'vocab.txt', 'tokenizer.model')
_NO_WORDS = (
  'it must hold tokenizer.json, or vocab.json with merges.txt; copy or '
  'download these files'
)


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
  """Ids of the tokens that have a meaning; None where a tokenizer has none.

  Attributes:
    bos: begins a text.
    eos: ends a text.
    cls: begins a row of a text encoder.
    sep: ends a row of a text encoder.
    pad: fills a row.
    longest: most tokens of a row that the tokenizer was made for.
  """

  bos: int | None
  eos: int | None
  cls: int | None = None
  sep: int | None = None
  pad: int | None = None
  longest: int = 10**30


def read(path: str, end: str) -> tuple[tokenizers.Tokenizer, SpecialTokens]:
  """Reads a tokenizer; nothing is downloaded and no code is run.

  Args:
    path: local `tokenizer.json` file, or a folder for `AutoTokenizer`.
    end: token that ends a text, for a file, which does not name it.

  Raises:
    ValueError: the folder lacks the file with the words.
    Exception: the library cannot read the files; see `describe_fault`.
  """
  if os.path.isfile(path):
    backend = tokenizers.Tokenizer.from_file(path)
    return backend, prepare(backend, end)
  # Imported where needed: it takes half a second.
  import transformers

  tokenizer = transformers.AutoTokenizer.from_pretrained(
    path, local_files_only=True, trust_remote_code=False
  )
  backend = tokenizer.backend_tokenizer
  # The library makes an empty tokenizer from its settings alone.
  if not backend.get_vocab_size(with_added_tokens=False):
    raise ValueError(_NO_WORDS)
  special = SpecialTokens(
    tokenizer.bos_token_id,
    tokenizer.eos_token_id,
    tokenizer.cls_token_id,
    tokenizer.sep_token_id,
    tokenizer.pad_token_id,
    tokenizer.model_max_length,
  )
  return backend, special


def prepare(backend: tokenizers.Tokenizer, end: str) -> SpecialTokens:
  """Gives a tokenizer the token that begins and ends a text.

  Its file is then the same, byte by byte, as transformers writes it.

  Args:
    backend: tokenizer; changed in place.
    end: the token.
  """
  names = [end, *([backend.padding['pad_token']] if backend.padding else [])]
  for name in names:
    added = backend.get_added_tokens_decoder().values()
    if name not in [token.content for token in added]:
      backend.add_tokens([tokenizers.AddedToken(name, special=True)])
  if backend.post_processor is None:
    backend.post_processor = tokenizers.processors.TemplateProcessing(
      single='$A:0', pair='$A:0 $B:1', special_tokens=[]
    )
  number = backend.token_to_id(end)
  return SpecialTokens(number, number)


def describe_fault(path: str) -> str:
  """Returns which file of a tokenizer is missing or damaged, in a line.

  Args:
    path: local file or folder that cannot be read.

  Returns:
    E.g. 'tokenizer.json must be a JSON object, got a Git LFS pointer; run `git
    lfs pull`', with 'it' in place of the name for a file; '' if all files that
    exist hold JSON objects.
  """
  place = pathlib.Path(path)
  files = [place] if place.is_file() else [place / name for name in _OBJECTS]
  for file in files:
    try:
      fault = _fault(file, file == place or file.name == 'tokenizer.json')
    except OSError:
      continue
    if fault:
      return f'{"it" if file == place else file.name} must {fault}'
  if place.is_dir() and not any((place / name).exists() for name in _WORDS):
    return _NO_WORDS
  return ''


def _fault(file: pathlib.Path, has_model: bool) -> str:
  """Returns what a file must be and is not; '' without a fault."""
  data = file.read_bytes()
  if data.startswith(
    (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
  ):
    return (
      'be UTF-8 without a byte order mark, got a file that begins with a mark; '
      'save it again'
    )
  try:
    value = strict_json.parse(data)
  except ValueError as error:
    kind = file_kinds.name(file) or f'a damaged file ({error!s:.100})'
    return f'be a JSON object, got {kind}'
  if not isinstance(value, dict):
    return f'be a JSON object, got a {type(value).__name__}'
  expected = {'model': dict, 'added_tokens': list} if has_model else {}
  for key, kind in expected.items():
    if not isinstance(value.get(key), kind):
      return (
        f'have a {kind.__name__} at "{key}", as the library tokenizers writes '
        f'it, got the keys {", ".join(value)[:99] or "of an empty object"}; '
        'copy or download it again'
      )
  return ''
