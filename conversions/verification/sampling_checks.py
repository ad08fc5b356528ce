"""Checks greedy captions and deterministic MaskGIT traces."""

from collections.abc import Mapping
import functools

import jax
import jax.numpy as jnp
import numpy as np

from conversions.verification import checks
from conversions.verification import row_checks
from hermesflow_jax.sampling import autoregressive
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import image_to_text
from hermesflow_jax.sequences import mask_schedules


@functools.partial(jax.jit, static_argnames='max_new')
def greedy(model, image, row, length, max_new):
  """Returns the greedy reply to a prompt, int32[max_new].

  Args:
    model: a ShowO.
    image: Rows [E], image tokens.
    row: Rows [P], prompt tokens.
    length: int32[], prompt length.
    max_new: reply length.
  """
  all_tokens = jnp.ones(model.config.vocab.size, bool)
  return autoregressive.sample_text(
    model,
    jax.random.key(0),
    image,
    row,
    length,
    max_new=max_new,
    temperature=1.0,
    top_k=1,
    most=1,
    stop=-1,
    allowed=all_tokens,
  )


@functools.partial(jax.jit, static_argnames='config')
def likeliest_image(model, text, codes, known, config, counts):
  """Samples an image without noise.

  Args:
    model: a ShowO.
    text: Rows [branches, P], text for each guidance branch.
    codes: int32[I], image codes.
    known: bool[I], codes that are kept.
    config: sampler.
    counts: int32[S], masked codes after each step.

  Returns:
    (codes int32[I], trace int32[S, I]).
  """
  branches = [
    jax.tree.map(lambda a, n=n: a[n], text) for n in range(len(text.tokens))
  ]
  return maskgit.sample_image(
    model,
    jax.random.key(0),
    branches,
    codes,
    known,
    config,
    counts,
    lambda key, logits: logits.argmax(-1),
  )


def captions(model, activations: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns int32[B, T], greedy replies to a question about each image."""
  vocab = model.config.vocab
  length = activations['mmu_gen_tokens'].shape[-1]
  question = activations['mmu_gen_question'].reshape(-1).tolist()
  codes = activations['mmu_image_tokens']
  parts = image_to_text.mmu_parts(
    vocab, codes, [question] * len(codes), 4 + codes.shape[-1] + len(question)
  )
  return np.stack(
    [
      greedy(model, *jax.tree.map(lambda a, b=b: a[b], parts), length)
      for b in range(len(codes))
    ]
  )


def images(
  model, activations: Mapping[str, np.ndarray], case: str, max_text: int
) -> tuple[np.ndarray, np.ndarray]:
  """Samples images from a case's start rows.

  Args:
    model: a ShowO.
    activations: arrays by key.
    case: name in row_checks.CASES.
    max_text: text tokens per text-to-image row.

  Returns:
    (codes int32[B, I], trace int32[S, B, I] of vocabulary ids).
  """
  vocab, start = model.config.vocab, activations[f't2i_gen_{case}_ids']
  steps, guidance = int(activations['t2i_gen_steps']), 0.0
  branches = [start]
  if case != 'nocfg':
    guidance = float(activations['t2i_gen_guidance'])
    branches.append(activations['t2i_gen_uncond_ids'])
  texts = np.stack([rows[:, : max_text + 1] for rows in branches], axis=1)
  texts = row_checks.of_tokens(vocab, texts, 't2i')
  image = start[:, max_text + 2 : -1]
  known = image != vocab.mask
  codes = np.where(known, image - vocab.image_offset, 0).astype(np.int32)
  config = maskgit.MaskGITSampler(steps, guidance, temperature=0.0)
  counts = mask_schedules.schedule_counts(
    steps, image.shape[-1], mask_schedules.parse_schedule(config.schedule)
  )
  samples = [
    likeliest_image(
      model,
      jax.tree.map(lambda a, b=b: a[b], texts),
      codes[b],
      known[b],
      config,
      counts,
    )
    for b in range(len(start))
  ]
  final = np.stack([codes for codes, _ in samples])
  trace = np.stack([trace for _, trace in samples], axis=1)
  return final, np.where(trace < 0, vocab.mask, trace + vocab.image_offset)


def make(
  model, activations: Mapping[str, np.ndarray], max_text: int
) -> dict[str, checks.Check]:
  """Returns the checks of captions and images, which must be equal.

  Args:
    model: a ShowO.
    activations: arrays by key.
    max_text: text tokens per text-to-image row.
  """
  sampled = functools.cache(
    lambda case: images(model, activations, case, max_text)
  )
  checks_by_key = {
    'mmu_gen_tokens': checks.Check(
      ('mmu_image_tokens', 'mmu_gen_question'),
      0,
      lambda: captions(model, activations),
    )
  }
  for case in row_checks.CASES:
    needs = (f't2i_gen_{case}_ids', 't2i_gen_steps')
    if case != 'nocfg':
      needs += ('t2i_gen_guidance', 't2i_gen_uncond_ids')
    checks_by_key[f't2i_gen_{case}_final'] = checks.Check(
      needs, 0, lambda c=case: sampled(c)[0]
    )
    checks_by_key[f't2i_gen_{case}_trace'] = checks.Check(
      needs, 0, lambda c=case: sampled(c)[1]
    )
  return checks_by_key
