"""The naive baseline in PyTorch: transformers' Phi, row by row.

No other module imports PyTorch. Imports stand inside functions.
"""

import importlib.util
import time

import numpy as np

from hermesflow_jax.models import showo


def is_installed() -> bool:
  """Returns whether PyTorch can be imported."""
  return importlib.util.find_spec('torch') is not None


def make_model(config: showo.ShowOConfig, dtype: str):
  """Returns a random Phi, on a GPU if PyTorch has access to it.

  Args:
    config: sizes.
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


def workload_seconds(
  model, named, sizes, repeats: int, seed: int
) -> float | None:
  """Times the naive form of a workload.

  Args:
    model: from `make_model`.
    named: a `named_workload.NamedWorkload`.
    sizes: a ShowO, which may hold shapes in place of arrays.
    repeats: timed calls after a first call that is not timed.
    seed: random seed of the inputs.

  Returns:
    Seconds of all the work; None for a workload without a form in PyTorch.
  """
  timed_work, rng = named.workload, np.random.default_rng(seed)
  if named.steps:
    return step_seconds(model, timed_work.naive_rows(sizes, rng), repeats)
  if named.replies or named.choices:
    rows = timed_work.naive_rows(sizes, rng)
    seconds = forward_seconds(model, rows, repeats)
    return float(np.mean(seconds) * timed_work.calls())
  return None


def forward_seconds(model, rows, repeats: int) -> list[float]:
  """Times a model call for each row.

  A call repeats the official code for a token: it runs the whole row with a
  dense mask, computes logits over the whole vocabulary at all positions, and
  copies a token to the host.

  Args:
    model: from `make_model`.
    rows: pairs (tokens int[T], mask bool[T, T]).
    repeats: timed calls for a row, after a first call that is not timed.

  Returns:
    Median seconds for each row.
  """
  import torch

  first = next(model.parameters())
  medians = []
  for tokens, visible in rows:
    ids = torch.from_numpy(tokens.astype(np.int64))[None].to(first.device)
    lowest = torch.finfo(first.dtype).min
    mask = torch.where(torch.from_numpy(visible.copy()), 0.0, lowest)
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
    medians.append(float(np.median(times[1:])))
  return medians


def step_seconds(model, rows: dict, repeats: int) -> float:
  """Times a Pair-DPO step that runs row by row.

  All winners and losers run through the policy and a frozen copy with all
  logits, as in the official code. Gradients and AdamW follow.

  Args:
    model: from `make_model`; its weights change.
    rows: {'t2i', 'mmu': Rows [B, 2, T]}.
    repeats: timed steps, after a first step that is not timed.

  Returns:
    Median seconds per step.
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
    task = rows[kind]
    for b in range(len(task.tokens)):
      sides = []
      for n in range(2):
        sees = np.asarray(
          attention_mask.mask_matrix(task.ar[b, n], task.valid[b, n])
        )
        labels = np.full(task.labels.shape[-1], -100)
        labels[: len(labels) - shift] = task.labels[b, n, shift:]
        sides.append(
          (
            torch.from_numpy(task.tokens[b, n].astype(np.int64)).to(
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
