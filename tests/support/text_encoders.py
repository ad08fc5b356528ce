"""Small random text encoders with tokenizers, in PyTorch's form and converted."""

import functools
import pathlib
import tempfile

import tokenizers
import torch_weights
import transformers

from conversions import convert
from hermesflow_jax.runtime import terminal

WORDS = (
  'a the two red blue green ring cup dog dogs cat on under table left of and '
  'is big small wood metal one three walks sleeps'
).split()
SPECIAL = {
  'bert': ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'),
  'mpnet': ('<s>', '<pad>', '</s>', '[UNK]', '<mask>'),
  'clip': ('<s>', '[UNK]'),
}
# The end of a text has the highest of CLIP's ids.
CLIP_END = '</s>', torch_weights.CLIP_MODEL.text.vocab - 1
NAMES_OF_ENDS = ('cls_token', 'sep_token'), ('bos_token', 'eos_token')


def write_tokenizer(folder: pathlib.Path, kind: str) -> None:
  """Writes a tokenizer of whole words, as `torch_weights` has 50 ids."""
  special = SPECIAL[kind]
  ids = {token: n for n, token in enumerate((*special, *WORDS))}
  if kind == 'clip':
    ids |= dict([CLIP_END])
  core = tokenizers.Tokenizer(
    tokenizers.models.WordLevel(ids, unk_token='[UNK]')
  )
  core.normalizer = tokenizers.normalizers.Lowercase()
  core.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
    [
      tokenizers.pre_tokenizers.WhitespaceSplit(),
      tokenizers.pre_tokenizers.Punctuation(),
    ]
  )
  start, end = ('[CLS]', '[SEP]') if kind == 'bert' else ('<s>', '</s>')
  core.post_processor = tokenizers.processors.TemplateProcessing(
    single=f'{start} $A {end}',
    special_tokens=[(start, ids[start]), (end, ids[end])],
  )
  transformers.PreTrainedTokenizerFast(
    tokenizer_object=core,
    unk_token='[UNK]',
    pad_token=special[kind != 'bert'],
    **dict(zip(NAMES_OF_ENDS[kind == 'clip'], (start, end))),
    model_max_length=32,
  ).save_pretrained(folder)


def write(folder: pathlib.Path, kind: str) -> pathlib.Path:
  """Writes random weights with a tokenizer, as on the hub; returns the folder."""
  write_tokenizer(folder, kind)
  return torch_weights.write(
    folder, torch_weights.arrays(kind), torch_weights.config(kind)
  )


def convert_to(target: pathlib.Path, kind: str) -> pathlib.Path:
  """Writes the converted encoder; returns its folder."""
  with tempfile.TemporaryDirectory() as folder:
    source = write(pathlib.Path(folder), kind)
    code = convert.main([kind, str(source), str(target)], terminal.silent())
  assert code == 0
  return target


@functools.cache
def converted(kind: str) -> pathlib.Path:
  """Returns a converted encoder that the tests of a process share."""
  folder = pathlib.Path(tempfile.mkdtemp(prefix='encoder_'))
  return convert_to(folder / kind, kind)
