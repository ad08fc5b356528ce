"""The naive way in PyTorch: transformers' Phi, one whole row after the other.

The only place of the library that knows PyTorch, and only where it is there.
"""

import importlib.util
import time

import numpy as np

from hermesflow_jax.models import showo


def is_there() -> bool:
  """Returns whether PyTorch can be imported."""
  return importlib.util.find_spec('torch') is not None


def model_of(config: showo.ShowOConfig, dtype: str):
  """Returns a random Phi of these sizes, on a GPU where PyTorch has one.

  Args:
    config: the sizes.
    dtype: 'float32' or 'bfloat16'.
  """
  import torch
  import transformers

  decoder = config.decoder
  sizes = transformers.PhiConfig(
      vocab_size=config.vocab.size, hidden_size=decoder.width,
      intermediate_size=decoder.mlp, num_hidden_layers=decoder.layers,
      num_attention_heads=decoder.heads, hidden_act='gelu_new',
      qk_layernorm=True, attn_implementation='sdpa', pad_token_id=None,
      bos_token_id=None, eos_token_id=None,
  )
  torch.manual_seed(0)
  model = transformers.PhiForCausalLM(sizes).eval()
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  return model.to(device, getattr(torch, dtype))


def seconds(model, rows, repeats: int) -> list[float]:
  """Returns the median seconds of one call for each row.

  A call is what the official code does for one token: the whole row, a dense
  mask, logits of the whole vocabulary everywhere, and one number back.

  Args:
    model: of `model_of`.
    rows: (tokens int[T], sees bool[T, T]).
    repeats: timed calls a row, after one that is not.
  """
  import torch

  first = next(model.parameters())
  found = []
  for tokens, sees in rows:
    ids = torch.from_numpy(tokens.astype(np.int64))[None].to(first.device)
    lowest = torch.finfo(first.dtype).min
    mask = torch.where(torch.from_numpy(sees.copy()), 0.0, lowest)
    mask = mask.to(first)[None, None]
    times = []
    with torch.no_grad():
      for _ in range(repeats + 1):
        began = time.perf_counter()
        logits = model(
            input_ids=ids, attention_mask=mask, use_cache=False
        ).logits
        logits[0, -1].argmax().item()
        times.append(time.perf_counter() - began)
    found.append(float(np.median(times[1:])))
  return found
