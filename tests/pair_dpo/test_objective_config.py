"""Settings of the objective that contradict the method are refused."""

import pytest

from hermesflow_jax.pair_dpo import objective_config


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'method': 'dpo'}, 'method is .dpo., wanted one of pair_dpo'),
    ({'smoothing': 0.1}, 'smoothing is 0.1 with method pair_dpo'),
    ({'method': 'robust'}, 'smoothing is 0.0 with method robust'),
    ({'method': 'sft', 'gen_sft_weight': 1.0}, 'method sft wants'),
    ({'method': 'product', 'und_weight': 2.0}, 'method product wants'),
  ],
)
def test_settings_that_a_method_would_pass_over_are_refused(changes, said):
  with pytest.raises(ValueError, match=said):
    objective_config.ObjectiveConfig(**changes)
