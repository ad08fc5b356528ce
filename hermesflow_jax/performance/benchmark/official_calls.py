"""Times a HermesFlow checkout's functions; runs in the checkout's python.

A script that imports nothing from this package. Its working directory is a
Gen-Verse/HermesFlow checkout. It reads a request (JSON) from the standard
input, and the last line that it writes is the answer (JSON). The model, its
losses and its samplers are the checkout's; token rows are random, built here.
"""

from __future__ import annotations

import copy
import importlib
import json
import os
import pathlib
import platform
import random
import statistics
import sys
import tempfile
import time
import types

# Modules of the checkout.
_MODEL = 'models.modeling_showo'
_MASKS = 'training.prompting_utils'
_LIBRARIES = 'torch', 'transformers'


class OfficialCalls:
  """Calls the checkout's functions, with random weights and tokens.

  Args:
    vocab: token ids by name, and the vocabulary's sizes.
    sizes: entries for the decoder's `config.json`.
    codes: image codes in a row.
    seed: random seed for tokens and weights.
  """

  def __init__(self, vocab: dict, sizes: dict, codes: int, seed: int):
    self.torch = importlib.import_module('torch')
    self.torch.manual_seed(seed)
    self.masks = importlib.import_module(_MASKS)
    self.rng = random.Random(seed)
    self.vocab, self.codes = vocab, codes
    with tempfile.TemporaryDirectory() as folder:
      (pathlib.Path(folder) / 'config.json').write_text(json.dumps(sizes))
      self.model = importlib.import_module(_MODEL).Showo(
        False,
        vocab['size'],
        vocab['text_size'],
        folder,
        vocab['codebook_size'],
        codes,
      )

  def images(self, work: dict) -> list:
    """Returns the call that draws images, with its number: [(call, 1)].

    Args:
      work: fields in `images_workload.ImagesWorkload`.
    """
    masked = [self.vocab['mask']] * self.codes
    text = work['text']
    rows, empty = (
      self._tensor(
        self._drawing(self._words(words), text, masked)
        for _ in range(work['count'])
      )
      for words in (text - 2, 0)
    )
    mask = self._drawing_mask(self.torch.cat([rows, empty]))
    self.model.eval()
    showo = {
      'num_vq_tokens': self.codes,
      'num_new_special_tokens': 10,
      'llm_vocab_size': self.vocab['text_size'],
    }
    settings = {
      'model': {'showo': showo},
      'dataset': {'preprocessing': {'max_seq_length': text}},
    }
    config = json.loads(
      json.dumps(settings),
      object_hook=lambda entries: types.SimpleNamespace(**entries),
    )

    def draw():
      with self.torch.no_grad():
        self.model.t2i_generate(
          input_ids=rows.clone(),
          uncond_input_ids=empty.clone(),
          attention_mask=mask,
          timesteps=work['steps'],
          guidance_scale=work['guidance'],
          config=config,
        )

    return [(draw, 1)]

  def replies(self, work: dict) -> list:
    """Returns calls for a single token, each with the number of such calls.

    Row lengths are evenly spread between the prompt end and the reply end.

    Args:
      work: fields in `replies_workload.RepliesWorkload`.
    """
    self.model.eval()
    count = work['naive_calls']
    scale = work['images'] * work['replies_per_image']

    def call(length):
      text = [self.vocab['eos'], *self._words(work['prompt'] + length)]
      row = self._tensor([self._reading(self._random_codes(), text)])
      mask = self._reading_mask(row)
      return lambda: self.model.mmu_generate(
        row, attention_mask=mask, max_new_tokens=1, top_k=4
      )

    lengths = [int((n + 0.5) / count * work['tokens']) for n in range(count)]
    return [(call(n), scale * work['tokens'] / count) for n in lengths]

  def steps(self, work: dict) -> list:
    """Returns the call that takes a Pair-DPO step: [(call, 1)].

    As in the official script, winners are a batch (image rows, then caption
    rows) and losers another; each goes through the model and its frozen copy.

    Args:
      work: fields in `steps_workload.StepsWorkload`.
    """
    reference = copy.deepcopy(self.model).eval().requires_grad_(False)
    self.model.train()
    optimizer = self.torch.optim.AdamW(
      self.model.parameters(), lr=1e-5, weight_decay=0.01
    )
    count, text = work['pairs'], work['text']
    sides = self._pairs(work)

    def score(model, rows, mask, labels):
      return model.loss_for_unidpo(
        input_ids=rows,
        attention_mask=mask,
        labels=labels,
        batch_size_t2i=count,
        batch_size_mmu=count,
        max_seq_length=text,
      )

    def step():
      batches = []
      for rows, labels in sides:
        masks = [self._drawing_mask(rows[:count])]
        masks.append(self._reading_mask(rows[count:]))
        batches.append((rows, self.torch.cat(masks), labels))
      win, lose = (score(self.model, *batch) for batch in batches)
      with self.torch.no_grad():
        frozen = [score(reference, *batch) for batch in batches]
      margins = [a - b - (c - d) for a, b, c, d in zip(win, lose, *frozen)]
      logsigmoid = self.torch.nn.functional.logsigmoid
      loss = -sum(logsigmoid(0.2 * margin) for margin in margins)
      loss.backward()
      optimizer.step()
      optimizer.zero_grad(set_to_none=True)

    return [(step, 1)]

  def _pairs(self, work):
    """Returns (rows, labels) int64[2 B, T] for winners and for losers."""
    records = range(work['pairs'])
    texts = [self._words(work['text'] - 2) for _ in records]
    real = [self._random_codes() for _ in records]
    prompts = [self._words(work['prompt']) for _ in records]
    hidden = [[self.rng.random() < 0.6 for _ in real[0]] for _ in records]
    sides = []
    for _ in range(2):
      rows, labels = [], []
      for words, masked in zip(texts, hidden):
        codes = self._random_codes()
        shown = [
          self.vocab['mask'] if m else code for m, code in zip(masked, codes)
        ]
        row = self._drawing(words, work['text'], shown)
        scored = [code if m else -100 for m, code in zip(masked, codes)]
        first = len(row) - 1 - self.codes
        rows.append(row)
        labels.append([-100] * first + scored + [-100])
      length = len(rows[0])
      for codes, prompt in zip(real, prompts):
        reply = [*self._words(work['reply'] - 1), self.vocab['eos']]
        row = self._reading(codes, [*prompt, *reply])
        pads = length - len(row)
        rows.append(row + [self.vocab['pad']] * pads)
        labels.append([-100] * (len(row) - len(reply)) + reply + [-100] * pads)
      sides.append((self._tensor(rows), self._tensor(labels)))
    return sides

  def _drawing(self, words, length, codes):
    """Returns a text-to-image row; pads stand before a short text."""
    eos, pads = self.vocab['eos'], length - 2 - len(words)
    text = [self.vocab['t2i'], eos, *words, eos]
    image = [self.vocab['soi'], *codes, self.vocab['eoi']]
    return [self.vocab['pad']] * pads + text + image

  def _reading(self, codes, text):
    """Returns an image-to-text row."""
    names = self.vocab
    return [names['mmu'], names['soi'], *codes, names['eoi'], *text]

  def _drawing_mask(self, rows):
    return self.masks.create_attention_mask_predict_next(
      rows,
      pad_id=self.vocab['pad'],
      soi_id=self.vocab['soi'],
      eoi_id=self.vocab['eoi'],
      rm_pad_in_image=True,
    ).to(self.torch.float32)

  def _reading_mask(self, rows):
    return self.masks.create_attention_mask_for_mmu(
      rows, eoi_id=self.vocab['eoi']
    ).to(self.torch.float32)

  def _words(self, count):
    return [self.rng.randrange(self.vocab['text_size']) for _ in range(count)]

  def _random_codes(self):
    first, last = self.vocab['image_offset'], self.vocab['mask']
    return [self.rng.randrange(first, last) for _ in range(self.codes)]

  def _tensor(self, rows):
    return self.torch.tensor(list(rows), dtype=self.torch.int64)


def timed(calls: list, repeats: int) -> dict:
  """Times calls, after a first call that is not timed.

  Args:
    calls: pairs (function, number of such calls).
    repeats: how often each function is timed; the median counts.

  Returns:
    Seconds for all calls: by the clock, and CPU time.
  """
  calls[0][0]()
  seconds = cpu_seconds = 0.0
  for call, count in calls:
    measured = []
    for _ in range(repeats):
      began, cpu_began = time.perf_counter(), time.process_time()
      call()
      cpu = time.process_time() - cpu_began
      measured.append((time.perf_counter() - began, cpu))
    seconds += count * statistics.median(clock for clock, _ in measured)
    cpu_seconds += count * statistics.median(cpu for _, cpu in measured)
  return {'seconds': seconds, 'cpu_seconds': cpu_seconds}


def peak_bytes() -> int:
  """Returns this process's peak memory."""
  import resource

  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024


def answer(request: dict) -> dict:
  """Returns the answer to a request.

  Args:
    request: {} for the versions; else the workload's `kind`, its fields `work`,
      `vocab`, `sizes`, `codes`, `threads`, `repeats` and `seed`.

  Returns:
    The versions; or times and memory; or `error` if an import fails.
  """
  try:
    if not request:
      for name in (_MODEL, _MASKS):
        importlib.import_module(name)
      libraries = {n: importlib.import_module(n) for n in _LIBRARIES}
      versions = {n: library.__version__ for n, library in libraries.items()}
      return {'python': platform.python_version(), **versions}
    calls = OfficialCalls(
      request['vocab'], request['sizes'], request['codes'], request['seed']
    )
  except ImportError as error:
    return {'error': str(error)}
  calls.torch.set_num_threads(request['threads'])
  work = getattr(calls, request['kind'])(request['work'])
  return {**timed(work, request['repeats']), 'peak_bytes': peak_bytes()}


if __name__ == '__main__':
  # Modules of the checkout, and none that lies beside this file.
  sys.path[0] = os.getcwd()
  result = answer(json.loads(sys.stdin.read()))
  sys.stdout.write('\n' + json.dumps(result) + '\n')
