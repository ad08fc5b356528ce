"""Text tokenizers: a word-level one for small worlds, or one from a folder."""

from collections.abc import Iterable, Sequence
import os

import tokenizers
import transformers

from hermesflow_jax import storage

EOS = '<|endoftext|>'
# What the files of a tokenizer end with.
_FILES = ('.json', '.txt', '.model', '.jinja')
CAPTION_PROMPT = 'Give a caption for this image.'


def user(question: str) -> str:
  """Returns a question as the model is asked it (LLaVA form)."""
  return f'USER: \n{question} ASSISTANT:'


class Text:
  """Encodes and decodes plain text, without special tokens.

  Attributes:
    size: number of text ids; the vocabulary's `text_size`.
    eos: the id of `<|endoftext|>`.
  """

  def __init__(self, tokenizer: transformers.PreTrainedTokenizerFast):
    self._tokenizer = tokenizer
    self.size = len(tokenizer)
    self.eos = tokenizer.eos_token_id

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text."""
    if not texts:
      return []
    return self._tokenizer(list(texts), add_special_tokens=False)['input_ids']

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text up to the first `<|endoftext|>`."""
    kept = []
    for token in ids:
      if token == self.eos:
        break
      kept.append(int(token))
    return self._tokenizer.decode(kept, clean_up_tokenization_spaces=False)

  def save(self, path: str) -> None:
    """Writes the tokenizer as one `tokenizer.json`."""
    self._tokenizer.backend_tokenizer.save(path)


def word_level(words: Iterable[str]) -> Text:
  """Returns a tokenizer with one id per lower-case word.

  Args:
    words: all words there are, and marks such as '?', which stand alone; any
      other word becomes `<|unk|>`.
  """
  vocabulary = {'<|unk|>': 0, EOS: 1}
  for word in sorted({word.lower() for word in words} - set(vocabulary)):
    vocabulary[word] = len(vocabulary)
  core = tokenizers.Tokenizer(
      tokenizers.models.WordLevel(vocabulary, unk_token='<|unk|>')
  )
  core.normalizer = tokenizers.normalizers.Lowercase()
  core.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
      tokenizers.pre_tokenizers.WhitespaceSplit(),
      tokenizers.pre_tokenizers.Punctuation(),
  ])
  return Text(_fast(tokenizer_object=core))


def load(path: str) -> Text:
  """Reads a tokenizer.

  Args:
    path: a `tokenizer.json`, or a folder that `AutoTokenizer` reads, e.g. the
      files of microsoft/phi-1_5.

  Raises:
    ValueError: nothing readable is there.
  """
  where = storage.path(path)
  local = storage.is_local(where)
  if not (os.path.exists(path) if local else where.exists()):
    raise ValueError(f'no tokenizer at {path}')
  try:
    return _read(path) if local else _fetched(where)
  except Exception as error:
    raise ValueError(f'no readable tokenizer at {path}: {error}') from error


def _read(path):
  if os.path.isfile(path):
    return Text(_fast(tokenizer_file=path))
  return Text(transformers.AutoTokenizer.from_pretrained(
      path, local_files_only=True, trust_remote_code=False
  ))


def _fetched(where):
  """Reads what is in a bucket; weights beside it stay there."""
  if not where.is_dir():
    with storage.copied(where.parent, [where.name]) as here:
      return _read(str(here / where.name))
  wanted = [n for n in storage.names(where) if n.endswith(_FILES)]
  with storage.copied(where, wanted) as here:
    return _read(str(here))


def _fast(**source) -> transformers.PreTrainedTokenizerFast:
  return transformers.PreTrainedTokenizerFast(
      eos_token=EOS, bos_token=EOS, **source
  )
