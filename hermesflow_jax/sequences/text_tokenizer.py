"""Text tokenizers: a word-level one for small worlds, or one from a folder."""

from collections.abc import Iterable
from collections.abc import Sequence
import os

import tokenizers
import transformers

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import transfer

EOS = '<|endoftext|>'
# What the files of a tokenizer end with.
_FILES = ('.json', '.txt', '.model', '.jinja')
CAPTION_PROMPT = 'Give a caption for this image.'
# How the official code asks for a free answer about the choices of a question.
FREE_PROMPT = 'Question:{question} Choice:{choices}'
# What a prompt ends with, before the reply.
ASSISTANT = 'ASSISTANT:'


def check_prompt(name: str, prompt: str) -> None:
  """Raises ValueError for a prompt without words, with the setting's name."""
  if not prompt.strip():
    raise ValueError(f'{name} must have words, got {prompt!r}')


def user_turn(question: str) -> str:
  """Returns the prompt of a question (LLaVA form, as Show-o asks)."""
  return f'USER: \n{question} {ASSISTANT}'


class TextTokenizer:
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

  def encode_replies(
    self, replies: Sequence[str], space: str = ' '
  ) -> list[list[int]]:
    """Returns the ids of each text as it follows a prompt of `user_turn`.

    A byte-level BPE has other tokens for `red` after a space, and a model that
    was trained on 'ASSISTANT: red' never writes those without.

    Args:
      replies: texts, without the space that parts them from the prompt.
      space: what stands between the prompt and the reply.

    Raises:
      ValueError: the tokenizer joins the end of the prompt with a reply.
    """
    # A reply without words is its end alone: no space comes before that.
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
          f'the tokenizer joins {ASSISTANT!r} with the reply {reply!r}: it '
          'must keep the two apart'
        )
    return [row[len(before) :] for row in rows]

  def decode_reply(self, ids: Iterable[int]) -> str:
    """Returns the text of a reply, without the space before it.

    The inverse of `encode_replies`.
    """
    return self.decode(ids).removeprefix(' ')

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


def word_level_tokenizer(words: Iterable[str]) -> TextTokenizer:
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
    return TextTokenizer(_fast(tokenizer_file=path))
  return TextTokenizer(
    transformers.AutoTokenizer.from_pretrained(
      path, local_files_only=True, trust_remote_code=False
    )
  )


def _fetched(where):
  """Reads what is in a bucket; weights beside it stay there."""
  if not where.is_dir():
    with transfer.local_copy(where.parent, [where.name]) as here:
      return _read(str(here / where.name))
  wanted = [n for n in storage.list_names(where) if n.endswith(_FILES)]
  with transfer.local_copy(where, wanted) as here:
    return _read(str(here))


def _fast(**source) -> transformers.PreTrainedTokenizerFast:
  return transformers.PreTrainedTokenizerFast(
    eos_token=EOS, bos_token=EOS, **source
  )
