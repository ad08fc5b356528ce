"""Text tokenizers, read from files or built from a list of words."""

from collections.abc import Iterable
from collections.abc import Sequence
import functools
import itertools
import json
import os
import re
import typing

import tokenizers

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sequences import reply_tokens
from hermesflow_jax.sequences import tokenizer_files

if typing.TYPE_CHECKING:
  import transformers

EOS = '<|endoftext|>'
# Texts that are tokenized together.
_TOKENIZED = 1_000
# Suffixes of the files of a tokenizer.
_FILES = ('.json', '.txt', '.model', '.jinja')
CAPTION_PROMPT = 'Give a caption for this image.'
# Prompt of the official code for a free reply to a multiple-choice question.
FREE_PROMPT = 'Question:{question} Choice:{choices}'
# End of a prompt, before the reply.
ASSISTANT = 'ASSISTANT:'


def check_prompt(name: str, prompt: str) -> None:
  """Raises ValueError if a prompt has no words, or odd characters.

  Args:
    name: setting name, for the error.
    prompt: prompt text.

  Raises:
    ValueError: the prompt is blank, or see `user_text.check_plain`.
  """
  if not prompt.strip():
    raise ValueError(f'{name} must have words, got {prompt!r}')
  user_text.check_plain(name, prompt)


def user_turn(question: str) -> str:
  """Formats a question as a prompt, in the LLaVA form that Show-o uses."""
  return f'USER: \n{question} {ASSISTANT}'


class TextTokenizer:
  """Encodes and decodes plain text, without special tokens.

  A special token in a text, e.g. `<|endoftext|>` or `<|soi|>`, is split as
  plain text: the words of a user never become the token.

  Attributes:
    size: text id count; the vocabulary's `text_size`.
    eos: id for `<|endoftext|>`.
  """

  def __init__(self, tokenizer: 'transformers.PreTrainedTokenizerFast'):
    self._tokenizer = tokenizer
    self.size = len(tokenizer)
    self.eos = tokenizer.eos_token_id
    self._special = _special_pattern(tokenizer)
    model = tokenizer.backend_tokenizer.model
    token = getattr(model, 'unk_token', None)
    self._unknown = model.token_to_id(token) if token else None

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text.

    Raises:
      ValueError: a text has a lone surrogate.
    """
    if not texts:
      return []
    try:
      rows = self._tokenize(texts)['input_ids']
    except TypeError:
      for text in texts:
        user_text.check('text', text)
      raise
    if self._special:
      for number, text in enumerate(texts):
        if self._special.search(text):
          rows[number] = self._encode_parts(text)
    return rows

  def _tokenize(self, texts, **options):
    """Calls the tokenizer; special tokens are split as plain text."""
    return self._tokenizer(
      list(texts),
      add_special_tokens=False,
      split_special_tokens=True,
      verbose=False,
      **options,
    )

  def _encode_parts(self, text):
    """Returns token ids of a text that spells tokens which look special.

    The tokenizer splits tokens that it calls special. Others are cut behind
    their first character, so that the tokenizer does not see them.
    """
    parts, start = [], 0
    for match in self._special.finditer(text):
      parts.append(text[start : match.start() + 1])
      start = match.start() + 1
    parts.append(text[start:])
    return [
      token for part in self._tokenize(parts)['input_ids'] for token in part
    ]

  @property
  def backend(self) -> 'transformers.PreTrainedTokenizerFast':
    """The tokenizer of the transformers library."""
    return self._tokenizer

  @property
  def has_unknown_words(self) -> bool:
    """Whether some words have the same token; false for a byte-level BPE."""
    return self._unknown is not None

  def unknown_words(self, texts: Iterable[str]) -> list[str]:
    """Returns the words of texts that become the token of unknown words.

    Args:
      texts: texts, tokenized `_TOKENIZED` at a time.

    Returns:
      The words without repetition, in order; [] for tokenizers that know all
      text, e.g. a byte-level BPE.
    """
    if self._unknown is None:
      return []
    texts, words = iter(texts), {}
    while part := list(itertools.islice(texts, _TOKENIZED)):
      encoded = self._tokenize(part, return_offsets_mapping=True)
      for text, ids, spans in zip(
        part, encoded['input_ids'], encoded['offset_mapping'], strict=True
      ):
        for number, (begin, end) in zip(ids, spans, strict=True):
          if number == self._unknown:
            words[text[begin:end]] = None
    return list(words)

  def encode_replies(
    self, replies: Sequence[str], space: str = ' '
  ) -> list[list[int]]:
    """Returns the token ids of replies after a prompt of `user_turn`.

    In a byte-level BPE, `red` after a space has other tokens than `red` alone,
    and a model that was trained on 'ASSISTANT: red' writes the former.

    Args:
      replies: texts, without the space after the prompt.
      space: separator between prompt and reply.

    Returns:
      Token ids of each reply, without the prompt and without eos.

    Raises:
      ValueError: the tokenizer merges the end of the prompt with a reply.
    """
    return reply_tokens.encode_replies(self.encode, ASSISTANT, replies, space)

  def decode_reply(self, ids: Iterable[int]) -> str:
    """Returns the text of a reply; the inverse of `encode_replies`."""
    return self.decode(ids).removeprefix(' ')

  def decode(self, ids: Iterable[int]) -> str:
    """Returns the text up to the first `<|endoftext|>`."""
    tokens = []
    for token in ids:
      if token == self.eos:
        break
      tokens.append(int(token))
    return self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

  @functools.cached_property
  def content(self) -> str:
    """Content of the tokenizer's `tokenizer.json` file, without spaces."""
    # Python's form of numbers and of special characters, not the library's.
    return json.dumps(
      json.loads(self._tokenizer.backend_tokenizer.to_str()),
      ensure_ascii=False,
      separators=(',', ':'),
    )

  def save(self, path: str) -> None:
    """Writes the tokenizer to a `tokenizer.json` file."""
    self._tokenizer.backend_tokenizer.save(path)


def _special_pattern(tokenizer) -> re.Pattern | None:
  """Returns an expression for added tokens like `<|soi|>` or `[PAD]`.

  The tokenizer splits only those tokens that are marked as special; a
  tokenizer that the official code saved has others.
  """
  names = [
    re.escape(token.content)
    for token in tokenizer.added_tokens_decoder.values()
    if not token.special and re.fullmatch(r'<.+>|\[.+\]', token.content)
  ]
  return re.compile('|'.join(names)) if names else None


def word_level_tokenizer(words: Iterable[str]) -> TextTokenizer:
  """Builds a tokenizer with an id per lower-case word.

  Args:
    words: all known words and punctuation marks. Any other word becomes
      `<|unk|>`.
  """
  vocabulary = {'<|unk|>': 0, EOS: 1}
  for word in sorted({word.lower() for word in words} - set(vocabulary)):
    vocabulary[word] = len(vocabulary)
  core = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token='<|unk|>')
  )
  core.normalizer = tokenizers.normalizers.Lowercase()
  core.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [
      tokenizers.pre_tokenizers.WhitespaceSplit(),
      tokenizers.pre_tokenizers.Punctuation(),
    ]
  )
  return TextTokenizer(tokenizer_files.fast(EOS, tokenizer_object=core))


def load(path: str) -> TextTokenizer:
  """Reads a tokenizer.

  Args:
    path: a `tokenizer.json` file, or a folder for `AutoTokenizer`, e.g. with
      the files of microsoft/phi-1_5.

  Raises:
    ValueError: `path` does not exist or is no tokenizer.
  """
  where = storage.path(path)
  local = storage.is_local(where)
  if not (os.path.exists(path) if local else where.exists()):
    raise ValueError(f'no tokenizer at {path}')
  try:
    backend = tokenizer_files.read(path, EOS) if local else _download(where)
    return TextTokenizer(backend)
  except Exception as error:
    fault = (local and tokenizer_files.describe_fault(path)) or error
    # Errors of the library have several lines.
    line = ' '.join(str(fault).split())
    raise ValueError(f'no readable tokenizer at {path}: {line:.300}') from error


def _download(where):
  """Reads a tokenizer from a bucket without downloading nearby weights."""
  if not where.is_dir():
    with transfer.local_copy(where.parent, [where.name]) as folder:
      return tokenizer_files.read(str(folder / where.name), EOS)
  names = [n for n in storage.list_names(where) if n.endswith(_FILES)]
  with transfer.local_copy(where, names) as folder:
    return tokenizer_files.read(str(folder), EOS)
