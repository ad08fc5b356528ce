"""The naive way in PyTorch: transformers' Phi, one whole row after the other.

The only place of the library that knows PyTorch, and only where it is there.
"""

import importlib.util
import time

import numpy as np

from hermesflow_jax.models import showo


def is_installed() -> bool:
  """Returns whether PyTorch can be imported."""
  return importlib.util.find_spec('torch') is not None


def make_model(config: showo.ShowOConfig, dtype: str):
  """Returns a random Phi of these sizes, on a GPU where PyTorch has one.

  Args:
    config: the sizes.
    dtype: 'float32' or 'bfloat16'.
  """
  import torch
  import transformers

  decoder = config.decoder
  sizes = transformers.PhiConfig(
    vocab_size=config.vocab.size,
    hidden_size=decoder.width,
    intermediate_size=decoder.mlp,
    num_hidden_layers=decoder.layers,
    num_attention_heads=decoder.heads,
    hidden_act='gelu_new',
    qk_layernorm=True,
    attn_implementation='sdpa',
    pad_token_id=None,
    bos_token_id=None,
    eos_token_id=None,
  )
  torch.manual_seed(0)
  model = transformers.PhiForCausalLM(sizes).eval()
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  return model.to(device, getattr(torch, dtype))


def forward_seconds(model, rows, repeats: int) -> list[float]:
  """Returns the median seconds of one call for each row.

  A call is what the official code does for one token: the whole row, a dense
  mask, logits of the whole vocabulary everywhere, and one number back.

  Args:
    model: of `make_model`.
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


def step_seconds(model, rows: dict, repeats: int) -> float:
  """Returns the median seconds of a step of Pair-DPO, row by row.

  Each side of each pair goes through the policy and a frozen copy with all
  logits, as in the official code; then the gradient, and AdamW.

  Args:
    model: of `make_model`; it learns.
    rows: {'t2i', 'mmu': Rows [B, 2, T]}.
    repeats: timed steps, after one that is not.
  """
  import copy

  import torch

  from hermesflow_jax.sequences import attention_mask

  frozen = copy.deepcopy(model).requires_grad_(False)
  first = next(model.parameters())
  optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

  def score(model, tokens, sees, labels):
    logits = model(
      input_ids=tokens[None], attention_mask=sees[None, None], use_cache=False
    ).logits[0]
    logps = logits.float().log_softmax(-1)
    chosen = logps.gather(-1, labels.clamp(min=0)[:, None])[:, 0]
    return (chosen * (labels >= 0)).sum()

  lowest = torch.finfo(first.dtype).min
  pairs = []
  for kind, shift in (('t2i', 0), ('mmu', 1)):
    each = rows[kind]
    for b in range(len(each.tokens)):
      sides = []
      for n in range(2):
        sees = np.asarray(
          attention_mask.mask_matrix(each.ar[b, n], each.valid[b, n])
        )
        labels = np.full(each.labels.shape[-1], -100)
        labels[: len(labels) - shift] = each.labels[b, n, shift:]
        sides.append(
          (
            torch.from_numpy(each.tokens[b, n].astype(np.int64)).to(
              first.device
            ),
            torch.where(torch.from_numpy(sees.copy()), 0.0, lowest).to(first),
            torch.from_numpy(labels).to(first.device),
          )
        )
      pairs.append(sides)

  def step():
    total = 0.0
    for win, lose in pairs:
      with torch.no_grad():
        base = score(frozen, *win) - score(frozen, *lose)
      margin = score(model, *win) - score(model, *lose) - base
      total = total - torch.nn.functional.logsigmoid(0.2 * margin)
    (total / (len(pairs) / 2)).backward()
    optimizer.step()
    optimizer.zero_grad()
    return total.item()

  times = []
  for _ in range(repeats + 1):
    began = time.perf_counter()
    step()
    times.append(time.perf_counter() - began)
  return float(np.median(times[1:]))
