"""Names of LoRA adapters in PEFT, the Hugging Face library.

A PEFT folder holds `adapter_config.json` and `adapter_model.safetensors`, in
which a module of the model has two tensors:

  base_model.model.<module>.lora_A.weight   [rank, inputs]    'a', transposed
  base_model.model.<module>.lora_B.weight   [outputs, rank]   'b', transposed
"""

import re

from hermesflow_jax.models import lora

# target of `lora.Lora`: module of a layer
MODULES = {
  'q_proj': 'self_attn.q_proj',
  'k_proj': 'self_attn.k_proj',
  'v_proj': 'self_attn.v_proj',
  'dense': 'self_attn.dense',
  'fc1': 'mlp.fc1',
  'fc2': 'mlp.fc2',
}
assert tuple(MODULES) == lora.TARGETS
SIDES = {'a': 'lora_A', 'b': 'lora_B'}
# PEFT may have wrapped the Show-o or its Phi alone, and writes the name of the
# adapter only in files of `torch.save(model.state_dict())`.
_NAME = re.compile(
  r'(?:.+\.)?model\.layers\.(\d{1,6})\.(\w+\.\w+)\.(lora_[AB])(?:\.(\w+))?\.weight'
)


def torch_name(target: str, layer: int, side: str) -> str:
  """Returns the name of a tensor in a PEFT folder for the official Show-o.

  Args:
    target: key in MODULES.
    layer: layer number, from 0.
    side: key in SIDES.
  """
  return (
    f'base_model.model.showo.model.layers.{layer}.{MODULES[target]}.'
    f'{SIDES[side]}.weight'
  )


def parse(name: str) -> tuple[str, int, str, str] | None:
  """Returns (target, layer, side, adapter name or ''); None for other tensors.

  Args:
    name: tensor name.
  """
  match = _NAME.fullmatch(name)
  targets = {module: target for target, module in MODULES.items()}
  if not match or match[2] not in targets:
    return None
  sides = {part: side for side, part in SIDES.items()}
  return targets[match[2]], int(match[1]), sides[match[3]], match[4] or ''
