"""Configs refuse impossible values by the name of the setting."""

import pytest

from hermesflow_jax.curation import pair_selection
from hermesflow_jax.jobs.setup import training_schedule
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.pair_dpo import objective_config
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import batched
from hermesflow_jax.sampling import maskgit
from hermesflow_jax.sequences import mask_schedules
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.shapes import shape_world
from hermesflow_jax.training import adamw
from hermesflow_jax.training import pretraining
from hermesflow_jax.training import tokenizer_loss

MAGVIT = dict(
  ch=4,
  encoder_ch_mult=(1,),
  decoder_ch_mult=(1,),
  encoder_num_res_blocks=(1,),
  decoder_num_res_blocks=(1,),
  z_channels=4,
  num_groups=2,
)
RECORDS = [
  (
    adamw.AdamWConfig,
    dict(lr=0.1, steps=1),
    [
      ('lr', 0.0),
      ('steps', 0),
      ('warmup', 1.5),
      ('final', -0.1),
      ('b1', -0.5),
      ('b2', 2.0),
      ('eps', 0.0),
      ('weight_decay', -1.0),
      ('clip', 0.0),
    ],
  ),
  (
    objective_config.ObjectiveConfig,
    {},
    [
      ('beta', 0.0),
      ('und_weight', -1.0),
      ('gen_weight', -1.0),
      ('gen_sft_weight', -1.0),
      ('und_sft_weight', -1.0),
      ('masks', 0),
      ('drop_condition', 1.1),
      ('clip', 0.0),
      ('kl_weight', -1.0),
      ('group_part', 0),
    ],
  ),
  (pair_selection.PairRules, {}, [('least_win', 1.5), ('least_margin', -0.1)]),
  (
    batched.Decoding,
    dict(temperature=1.0, top_k=1),
    [('temperature', 0.0), ('top_k', 0)],
  ),
  (
    maskgit.MaskGITSampler,
    dict(steps=1, guidance=0.0),
    [
      ('steps', 0),
      ('guidance', -1.0),
      ('temperature', -1.0),
      ('code_temperature', 0.0),
    ],
  ),
  (
    pretraining.TaskMixture,
    {},
    [
      ('drop_condition', -0.1),
      ('caption_share', 1.1),
      ('t2i', -1.0),
      ('mmu', -1.0),
      ('lm', -1.0),
    ],
  ),
  (
    tokenizer_loss.LossWeights,
    dict(entropy=0.0, commitment=0.0, foreground=1.0),
    [('entropy', -1.0), ('commitment', -1.0), ('foreground', -1.0)],
  ),
  (
    token_rows.Lengths,
    dict(max_text=8, mmu=8, prompt=8, lm=8, reply=8),
    [('max_text', 0), ('mmu', 0), ('prompt', -1), ('lm', 0), ('reply', 0)],
  ),
  (
    phi.PhiConfig,
    {},
    [
      ('width', 0),
      ('layers', 0),
      ('heads', 0),
      ('heads', 3),
      ('mlp', 0),
      ('rotary_fraction', 1.1),
      ('rope_theta', 0.0),
      ('norm_eps', 0.0),
      ('unroll', 0),
    ],
  ),
  (
    magvit_config.MagvitConfig,
    MAGVIT,
    [
      ('ch', 0),
      ('z_channels', 0),
      ('patch', 0),
      ('num_groups', 3),
      ('kernel', 0),
      ('decoder_ch_mult', (1, 1)),
    ],
  ),
  (
    shape_world.World,
    dict(seed=0, jitter=0),
    [('seed', -1), ('jitter', -1), ('jitter', 99)],
  ),
  (
    training_schedule.TrainingSchedule,
    dict(batch=1, log_every=1, save_every=0),
    [('batch', 0), ('log_every', 0), ('save_every', -1)],
  ),
]


@pytest.mark.parametrize(
  'kind, good, field, value',
  [
    (kind, good, field, value)
    for kind, good, bad in RECORDS
    for field, value in bad
  ],
)
def test_impossible_values_are_refused_by_name(kind, good, field, value):
  settings.build(kind, good)
  with pytest.raises(ValueError, match=field):
    settings.build(kind, good | {field: value})


@pytest.mark.parametrize(
  'name', ['cosin', '', 'pow', 'pow0', 'pow-1', 'pownan', 'powinf']
)
def test_an_unknown_schedule_is_refused(name):
  with pytest.raises(ValueError, match='schedule must be one of'):
    mask_schedules.parse_schedule(name)
