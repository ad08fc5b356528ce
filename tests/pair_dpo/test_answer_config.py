"""Settings of the answer term that contradict each other are refused."""

import pytest

from hermesflow_jax.pair_dpo import answer_config
from hermesflow_jax.pair_dpo import answer_losses
from hermesflow_jax.pair_dpo import objective_config


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'form': 'dpo'}, "form must be 'sft', 'pairs' or 'grpo', got 'dpo'"),
    ({'questions': 0}, 'questions must be at least 1, got 0'),
    (
      {'sft_weight': 1.0},
      'sft_weight must be 0 with answers.form sft, got 1.0',
    ),
    (
      {'form': 'grpo', 'wrong': 'own'},
      "wrong must be 'likeliest' unless answers.form is pairs, got 'own'",
    ),
    (
      {'form': 'pairs', 'wrong': 'own', 'unsure_share': 0.5},
      'unsure_share must be 1 with answers.wrong own, .* got 0.5',
    ),
  ],
)
def test_settings_that_a_form_would_pass_over_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    answer_config.AnswerConfig(**changes)


def test_every_form_has_a_loss():
  assert tuple(answer_losses.FORMS) == answer_config.FORMS


def test_the_paper_learns_from_no_answers():
  assert objective_config.ObjectiveConfig().answers.weight == 0
