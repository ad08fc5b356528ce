"""Text tokenizers, read from files or built from a list of words.

The library tokenizers encodes and decodes. transformers reads folders alone: a
`tokenizer.json` needs nothing of it, and it takes half a second to import.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import functools
import itertools
import json
import os
import re

import tokenizers

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sequences import tokenizer_files

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

  Args:
    backend: tokenizer of the library tokenizers; padding and truncation are
      switched off.
    special: ids of the tokens that have a meaning.

  Attributes:
    size: text id count; the vocabulary's `text_size`.
    eos: id for `<|endoftext|>`.
    backend: see Args.
    special: see Args.
  """

  def __init__(
    self, backend: tokenizers.Tokenizer, special: tokenizer_files.SpecialTokens
  ):
    self.backend, self.special = backend, special
    backend.no_padding()
    backend.no_truncation()
    self.size = backend.get_vocab_size()
    self.eos = special.eos
    self._special = _special_pattern(backend)
    token = getattr(backend.model, 'unk_token', None)
    self._unknown = backend.token_to_id(token) if token else None

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text.

    Raises:
      ValueError: a text has a lone surrogate.
    """
    if not texts:
      return []
    try:
      rows = [row.ids for row in self._tokenize(texts)]
    except (TypeError, UnicodeError):
      for text in texts:
        user_text.check('text', text)
      raise
    if self._special:
      for number, text in enumerate(texts):
        if self._special.search(text):
          rows[number] = self._encode_parts(text)
    return rows

  def _tokenize(self, texts):
    """Returns encodings of texts; special tokens are split as plain text."""
    # A copy of a tokenizer has lost it.
    self.backend.encode_special_tokens = True
    return self.backend.encode_batch(list(texts), add_special_tokens=False)

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
    return [token for part in self._tokenize(parts) for token in part.ids]

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
      for text, row in zip(part, self._tokenize(part), strict=True):
        for number, (begin, end) in zip(row.ids, row.offsets, strict=True):
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
    # An empty reply is only its end token, without a space before it.
    before, *rows = self.encode(
      [
        ASSISTANT,
        *(
          f'{ASSISTANT}{space}{reply}' if reply else ASSISTANT
          for reply in replies
        ),
      ]
    )
    for reply, row in zip(replies, rows, strict=True):
      if row[: len(before)] != before:
        raise ValueError(
          f'the tokenizer must keep {ASSISTANT!r} apart from a reply, got '
          f'joined tokens for the reply {reply!r}'
        )
    return [row[len(before) :] for row in rows]

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
    return self.backend.decode(tokens, skip_special_tokens=False)

  @functools.cached_property
  def content(self) -> str:
    """Content of the tokenizer's `tokenizer.json` file, without spaces."""
    # Python's form of numbers and of special characters, not the library's.
    return json.dumps(
      json.loads(self.backend.to_str()),
      ensure_ascii=False,
      separators=(',', ':'),
    )

  def save(self, path: str) -> None:
    """Writes the tokenizer to a `tokenizer.json` file."""
    self.backend.save(path)


def _special_pattern(backend) -> re.Pattern | None:
  """Returns an expression for added tokens like `<|soi|>` or `[PAD]`.

  The tokenizer splits only those tokens that are marked as special; a
  tokenizer that the official code saved has others.
  """
  names = [
    re.escape(token.content)
    for token in backend.get_added_tokens_decoder().values()
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
  backend = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(vocabulary, unk_token='<|unk|>')
  )
  backend.normalizer = tokenizers.normalizers.Lowercase()
  backend.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [
      tokenizers.pre_tokenizers.WhitespaceSplit(),
      tokenizers.pre_tokenizers.Punctuation(),
    ]
  )
  return TextTokenizer(backend, tokenizer_files.prepare(backend, EOS))


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
    read = tokenizer_files.read(path, EOS) if local else _download(where)
    return TextTokenizer(*read)
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
