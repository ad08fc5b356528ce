"""Text tokenizers, read from files or built from a list of words."""

from collections.abc import Iterable
from collections.abc import Sequence
import os

import tokenizers
import transformers

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer

EOS = '<|endoftext|>'
# Suffixes of the files of a tokenizer.
_FILES = ('.json', '.txt', '.model', '.jinja')
CAPTION_PROMPT = 'Give a caption for this image.'
# Prompt of the official code for a free reply to a multiple-choice question.
FREE_PROMPT = 'Question:{question} Choice:{choices}'
# End of a prompt, before the reply.
ASSISTANT = 'ASSISTANT:'


def check_prompt(name: str, prompt: str) -> None:
  """Raises ValueError if a prompt has no words.

  Args:
    name: setting name, for the error.
    prompt: prompt text.
  """
  if not prompt.strip():
    raise ValueError(f'{name} must have words, got {prompt!r}')


def user_turn(question: str) -> str:
  """Formats a question as a prompt, in the LLaVA form that Show-o uses."""
  return f'USER: \n{question} {ASSISTANT}'


class TextTokenizer:
  """Encodes and decodes plain text, without special tokens.

  Attributes:
    size: text id count; the vocabulary's `text_size`.
    eos: id for `<|endoftext|>`.
  """

  def __init__(self, tokenizer: transformers.PreTrainedTokenizerFast):
    self._tokenizer = tokenizer
    self.size = len(tokenizer)
    self.eos = tokenizer.eos_token_id

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the token ids of each text."""
    if not texts:
      return []
    return self._tokenizer(list(texts), add_special_tokens=False)['input_ids']

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
    for reply, row in zip(replies, rows):
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
    return self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False)

  def save(self, path: str) -> None:
    """Writes the tokenizer to a `tokenizer.json` file."""
    self._tokenizer.backend_tokenizer.save(path)


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
  return TextTokenizer(_fast(tokenizer_object=core))


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
    return _read(path) if local else _download(where)
  except Exception as error:
    raise ValueError(f'no readable tokenizer at {path}: {error}') from error


def _read(path):
  if os.path.isfile(path):
    return TextTokenizer(_fast(tokenizer_file=path))
  return TextTokenizer(
    transformers.AutoTokenizer.from_pretrained(
      path, local_files_only=True, trust_remote_code=False
    )
  )


def _download(where):
  """Reads a tokenizer from a bucket without downloading nearby weights."""
  if not where.is_dir():
    with transfer.local_copy(where.parent, [where.name]) as folder:
      return _read(str(folder / where.name))
  names = [n for n in storage.list_names(where) if n.endswith(_FILES)]
  with transfer.local_copy(where, names) as folder:
    return _read(str(folder))


def _fast(**source) -> transformers.PreTrainedTokenizerFast:
  return transformers.PreTrainedTokenizerFast(
    eos_token=EOS, bos_token=EOS, **source
  )
