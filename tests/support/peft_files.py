"""Writes PEFT folders by hand, in the form of PEFT's own files."""

import json

import numpy as np
import torch_weights

from conversions.files import safetensors_file

# As PEFT 0.13 writes it.
CONFIG = {
  'alpha_pattern': {},
  'auto_mapping': {
    'base_model_class': 'Showo',
    'parent_library': 'models.modeling_showo',
  },
  'base_model_name_or_path': None,
  'bias': 'none',
  'fan_in_fan_out': False,
  'inference_mode': True,
  'init_lora_weights': True,
  'layer_replication': None,
  'layers_pattern': None,
  'layers_to_transform': None,
  'loftq_config': {},
  'lora_alpha': 16,
  'lora_dropout': 0.05,
  'megatron_config': None,
  'megatron_core': 'megatron.core',
  'modules_to_save': None,
  'peft_type': 'LORA',
  'r': 3,
  'rank_pattern': {},
  'revision': None,
  'target_modules': ['q_proj', 'fc2'],
  'task_type': None,
  'use_dora': False,
  'use_rslora': False,
}
PREFIX = 'base_model.model.showo.model.layers.'
# module: (inputs, outputs), for `torch_weights.SHOW_O`
SIZES = {
  'self_attn.q_proj': (32, 32),
  'self_attn.dense': (32, 32),
  'mlp.fc1': (32, 24),
  'mlp.fc2': (24, 32),
}


def tensors(modules=('self_attn.q_proj', 'mlp.fc2'), rank=3, layers=3):
  """Returns random adapters under the names of PEFT."""
  rng = np.random.default_rng(0)
  state = {}
  for layer in range(layers):
    for module in modules:
      inputs, outputs = SIZES[module]
      name = f'{PREFIX}{layer}.{module}.lora_'
      for side, shape in (('A', (rank, inputs)), ('B', (outputs, rank))):
        array = rng.normal(size=shape).astype(np.float32)
        state[f'{name}{side}.weight'] = array
  return state


def write(folder, state=None, **changes):
  """Writes a PEFT folder; changes of its config."""
  folder.mkdir(parents=True)
  state = tensors() if state is None else state
  safetensors_file.write(
    folder / 'adapter_model.safetensors',
    {name: (array.shape, array.dtype) for name, array in state.items()},
    state.__getitem__,
    {'format': 'pt'},
  )
  (folder / 'adapter_config.json').write_text(json.dumps(CONFIG | changes))
  return folder


def merged(state, scale):
  """Returns the official tensors of the Show-o with adapters added."""
  whole = torch_weights.arrays('showo')
  for name in [n for n in state if n.endswith('lora_A.weight')]:
    kernel = name.removeprefix('base_model.model.').replace('.lora_A', '')
    b = state[name.replace('lora_A', 'lora_B')]
    whole[kernel] = whole[kernel] + scale * (b @ state[name])
  return whole
