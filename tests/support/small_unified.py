"""A tiny unified model on a mesh, with captions and questions for it."""

import jax
import tiny

from hermesflow_jax.runtime import sharding
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sampling import unified_model

NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k']


CAPTIONS = ['red circle', 'two blue square', 'one green star'] * 4

CAPTIONS = CAPTIONS[: len(NAMES)]


SAMPLER = maskgit.MaskGITSampler(3, 0.5, temperature=2.0, code_temperature=3.0)


SAMPLERS = (
  batched.Decoding(1.0, 1),
  batched.Decoding(0.7, 3),
  batched.Decoding(2.0, 50),
)


QUESTIONS = [
  [
    {
      'question': 'what color is the shape ?',
      'choices': ['red', 'blue', 'blue circle', 'green'],
    },
    {'question': 'is the shape red ?', 'choices': ['yes', 'no']},
  ][: n % 3]
  for n in range(len(NAMES))
]


def unified_on(model, shape=(1, 1), chunk=5):
  """The model on a mesh, as the rules place it."""
  mesh = tiny.mesh(*shape)
  tokenizer = tiny.tokenizer()
  return unified_model.UnifiedModel(
    model=jax.device_put(model, sharding.shardings(model, mesh)),
    tokenizer=jax.device_put(tokenizer, sharding.replicated(mesh)),
    text=tiny.text(),
    lengths=tiny.LENGTHS,
    grid=tiny.GRID,
    mesh=mesh,
    chunk=chunk,
    progress=lambda label: lambda chunks: chunks,
  )
