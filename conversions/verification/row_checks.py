"""Checks token rows, labels and attention masks, which must be equal."""

from collections.abc import Mapping

import numpy as np

from conversions.verification import checks
from hermesflow_jax.sequences import attention_mask
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import text_to_image
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary

SIDES = ('win', 'lose')
# Start rows of image generation: with guidance, without, with known codes.
CASES = ('cfg', 'nocfg', 'inpaint')


def lists(padded: np.ndarray) -> list[list[int]]:
  """Returns B lists of ids from int[B, T], without the padding of -1."""
  return [[int(i) for i in row if i >= 0] for row in padded]


def of_tokens(
  vocab: vocabulary.Vocab, tokens: np.ndarray, task: str
) -> token_rows.Rows:
  """Returns rows with these ids and no scored positions.

  Args:
    vocab: vocabulary.
    tokens: int[..., T], ids.
    task: 't2i' or 'mmu'.
  """
  tokens = np.asarray(tokens, np.int32)
  start = tokens == (vocab.soi if task == 't2i' else vocab.mmu)
  end = tokens == vocab.eoi
  inside = np.cumsum(start, -1) - np.cumsum(end, -1) == 1
  joins = inside & ~start | end
  return token_rows.Rows(
    tokens=tokens,
    labels=np.full_like(tokens, token_rows.UNSCORED),
    ar=1 - joins.astype(np.int32),
    valid=tokens != vocab.pad,
  )


def make(
  activations: Mapping[str, np.ndarray], vocab: vocabulary.Vocab, max_text: int
) -> dict[str, checks.Check]:
  """Returns the token row checks by key.

  Args:
    activations: arrays by key.
    vocab: vocabulary.
    max_text: text tokens per text-to-image row, including bos and eos.
  """

  def t2i(side):
    rows = text_to_image.t2i_rows(
      vocab,
      lists(activations['t2i_text_ids']),
      activations[f't2i_{side}_tokens'],
      max_text,
    )
    tokens, labels = mask_schedules.apply_mask(
      vocab, rows.tokens, rows.labels, activations['t2i_mask'], max_text + 2
    )
    return token_rows.Rows(
      np.asarray(tokens), np.asarray(labels), rows.ar, rows.valid
    )

  def mmu(side):
    answers = [
      [vocab.sot, *text] for text in lists(activations[f'mmu_{side}_text'])
    ]
    return image_to_text.mmu_rows(
      vocab,
      activations['mmu_image_tokens'],
      [[]] * len(answers),
      answers,
      activations[f'mmu_{side}_ids'].shape[-1],
      sot=False,
    )

  def lm():
    return token_rows.lm_rows(
      vocab, lists(activations['mmu_win_text']), activations['lm_ids'].shape[-1]
    )

  def visible(task):
    rows = of_tokens(vocab, activations[f'{task}_win_ids'], task)
    return attention_mask.mask_matrix(rows.ar, rows.valid)

  def start(case):
    """Returns rows `prompt <|soi|> codes <|eoi|>` with the known codes."""
    shape = activations['t2i_win_tokens'].shape
    inpaints = case in ('inpaint', 'uncond')
    known = activations['inpaint_keep'] if inpaints else np.zeros(shape, bool)
    texts = lists(activations['t2i_text_ids'])
    rows = text_to_image.t2i_rows(
      vocab,
      [[]] * len(texts) if case == 'uncond' else texts,
      activations['t2i_win_tokens'],
      max_text,
    )
    tokens, _ = mask_schedules.apply_mask(
      vocab, rows.tokens, rows.labels, ~known, max_text + 2
    )
    return tokens

  checks_by_key = {}

  def add(key, needs, compute):
    checks_by_key[key] = checks.Check(tuple(needs), 0, compute, also_input=True)

  for side in SIDES:
    needs = ('t2i_text_ids', f't2i_{side}_tokens', 't2i_mask')
    add(f't2i_{side}_ids', needs, lambda s=side: t2i(s).tokens)
    add(
      f't2i_{side}_labels',
      needs,
      lambda s=side: text_to_image.lm_text_labels(t2i(s)),
    )
    needs = ('mmu_image_tokens', f'mmu_{side}_text', f'mmu_{side}_ids')
    add(f'mmu_{side}_ids', needs, lambda s=side: mmu(s).tokens)
    add(f'mmu_{side}_labels', needs, lambda s=side: mmu(s).labels)
  for task in ('t2i', 'mmu'):
    add(f'{task}_attention', (f'{task}_win_ids',), lambda t=task: visible(t))
  add('lm_ids', ('mmu_win_text', 'lm_ids'), lambda: lm().tokens)
  add('lm_labels', ('mmu_win_text', 'lm_ids'), lambda: lm().labels)
  for case in (*CASES, 'uncond'):
    needs = ('t2i_text_ids', 't2i_win_tokens') + (
      ('inpaint_keep',) if case in ('inpaint', 'uncond') else ()
    )
    add(f't2i_gen_{case}_ids', needs, lambda c=case: start(c))
  return checks_by_key
