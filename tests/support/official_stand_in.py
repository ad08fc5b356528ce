"""A checkout that stands in for the official code, without PyTorch.

Its functions compute nothing. They write a line into `calls.jsonl` for each
call, with the rows that they got.
"""

import json
import pathlib

FILES = {
  'torch.py': '''
"""As much of PyTorch as the calls need; a tensor is a list of rows."""
import contextlib

__version__ = '0.stand-in'
float32, int64 = 'float32', 'int64'
no_grad = contextlib.nullcontext


class Tensor:
  def __init__(self, rows):
    self.rows = rows

  def __getitem__(self, places):
    return Tensor(self.rows[places])

  def to(self, dtype):
    assert dtype == float32
    return self

  def clone(self):
    return Tensor([list(row) for row in self.rows])


def tensor(rows, dtype):
  assert dtype == int64 and len({len(row) for row in rows}) == 1
  return Tensor(rows)


def cat(tensors):
  return Tensor([row for t in tensors for row in t.rows])


def manual_seed(seed):
  pass


def set_num_threads(count):
  pass


class optim:
  class AdamW:
    def __init__(self, parameters, lr, weight_decay):
      self.note = parameters

    def step(self):
      self.note('step')

    def zero_grad(self, set_to_none):
      pass


class nn:
  class functional:
    logsigmoid = staticmethod(lambda margin: margin)
''',
  'transformers.py': "__version__ = '4.stand-in'\n",
  'models/__init__.py': '',
  'models/modeling_showo.py': """
import json


class Score:
  def __init__(self, note):
    self.note = note

  def backward(self):
    self.note('backward')

  def _same(self, *others):
    return self

  __add__ = __radd__ = __sub__ = __rmul__ = __neg__ = _same


class Showo:
  def __init__(self, clip, size, text_size, folder, codebook_size, codes):
    self.name = 'policy'
    with open(folder + '/config.json') as file:
      self.note('model', clip=clip, sizes=json.load(file), codes=codes)

  def note(self, name, **values):
    with open('calls.jsonl', 'a') as file:
      file.write(json.dumps({'call': name, 'model': self.name} | values) + '\\n')

  def parameters(self):
    return self.note

  def eval(self):
    return self

  train = eval

  def requires_grad_(self, on):
    self.name = 'frozen'
    return self

  def t2i_generate(self, input_ids, uncond_input_ids, attention_mask,
                   timesteps, guidance_scale, config):
    self.note('t2i_generate', rows=input_ids.rows, empty=uncond_input_ids.rows,
              masks=len(attention_mask.rows), steps=timesteps,
              guidance=guidance_scale,
              codes=config.model.showo.num_vq_tokens,
              text=config.dataset.preprocessing.max_seq_length)

  def mmu_generate(self, idx, attention_mask, max_new_tokens, top_k):
    self.note('mmu_generate', rows=idx.rows, tokens=max_new_tokens)

  def loss_for_unidpo(self, input_ids, attention_mask, labels, batch_size_t2i,
                      batch_size_mmu, max_seq_length):
    self.note('loss', rows=input_ids.rows, labels=labels.rows,
              masks=len(attention_mask.rows),
              counts=[batch_size_t2i, batch_size_mmu], text=max_seq_length)
    return Score(self.note), Score(self.note)
""",
  'training/__init__.py': '',
  'training/prompting_utils.py': """
def create_attention_mask_predict_next(
  rows, pad_id, soi_id, eoi_id, rm_pad_in_image
):
  return rows


def create_attention_mask_for_mmu(rows, eoi_id):
  return rows
""",
}


def write(folder: pathlib.Path, **changes: str) -> pathlib.Path:
  """Writes the checkout; `changes` are lines before the model's file."""
  for name, text in FILES.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(changes.get(path.stem, '') + text)
  return folder


def calls(folder: pathlib.Path) -> list[dict]:
  """Returns the calls that the checkout has got."""
  lines = (folder / 'calls.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]
