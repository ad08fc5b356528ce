"""Settings of the objective that contradict the method are refused."""

import pytest

from hermesflow_jax.pair_dpo import methods
from hermesflow_jax.pair_dpo import objective_config


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'method': 'dpo'}, "method must be 'pair_dpo', .* got 'dpo'"),
    ({'smoothing': 0.1}, 'smoothing must be .*, got 0.1 with method pair_dpo'),
    ({'method': 'robust'}, 'smoothing must be .*, got 0.0 with method robust'),
    (
      {'method': 'sft', 'gen_sft_weight': 1.0},
      'must be 0 with method sft, got 0.0 and 1.0',
    ),
    (
      {'method': 'product', 'und_weight': 2.0},
      'must be 1 with method product, got 2.0 and 1.0',
    ),
    (
      {'method': 'grpo', 'gen_sft_weight': 2.0},
      'must be 0 with method grpo, which has no winners, got 0.0 and 2.0',
    ),
    (
      {'method': 'grpo', 'gen_weight': 0.0, 'und_weight': 0.0},
      'und_weight or gen_weight must be more than 0 with method grpo',
    ),
    ({'ratio': 'sum'}, "ratio must be 'token', .* got 'sum' with method pair"),
    ({'clip': 0.1}, 'clip must be 0.2, .* got 0.1 with method pair_dpo'),
    ({'kl_weight': 0.1}, 'kl_weight must be 0.0, .* got 0.1 with method'),
    (
      {'scale_rewards': False},
      'scale_rewards must be True, .* got False with method pair_dpo',
    ),
    ({'group_images': 2}, 'group_images must be 0, .* got 2 with method pair'),
    (
      {'method': 'grpo', 'group_images': 1},
      'group_images must be 0 or at least 2, got 1',
    ),
    ({'mask_progress': (0.5, 0.5)}, 'mask_progress must be .*, got .0.5, 0.5'),
    (
      {'mask_progress': (0.0,)},
      'mask_progress must be two numbers .*, got .0.',
    ),
  ],
)
def test_settings_that_a_method_would_pass_over_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    objective_config.ObjectiveConfig(**changes)


def test_a_program_may_add_a_method_of_its_own(monkeypatch):
  monkeypatch.setitem(methods.METHODS, 'own', methods.pair_dpo)
  assert objective_config.ObjectiveConfig(method='own').method == 'own'
