r"""Homologous preference pairs from a model, without training on them.

  python main.py --config=configs/curate.py

makes pairs for 200 inputs in under a minute on two CPU cores, and prints
how many pairs were kept and why others were dropped. Several processes, on one
machine or on many that see the same folder, divide the work:

  python main.py --config=configs/curate.py --config.shares=2 --config.share=0
  python main.py --config=configs/curate.py --config.shares=2 --config.share=1

Each input is curated once, whatever is stopped and started again, and the
output is the same for any number of processes and devices. The second round
of self-play, from the model that `configs/learn.py` left after the first:

  python main.py --config=configs/curate.py --workdir=runs/curate_2 \
    --config.round=2 --config.init_from=runs/learn

Where rounds have the same inputs (`fresh_inputs` False, as with Show-o's
settings), `--config.before=runs/curate` names the pairs of the round before.
Variants as in `configs/pair_dpo.py`, e.g. with Show-o's weights and
data/inputs.jsonl:

  python main.py --config=configs/curate.py:show_o_512

Data of your own: `--config.files.annotations=data/inputs.jsonl` and
`--config.files.images=data/images`.
"""

import ml_collections

from configs import pair_dpo


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.curate`."""
  main_config = pair_dpo.get_config(variant)
  values, play = main_config.to_dict(), main_config.play
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'curate'
  config.vision = ''  # CLIP tower of a model with w_clip_vit.

  # Data.
  config.world = values['world']
  config.files = values['files'] and values['files']['inputs']
  config.inputs = 200 if variant in ('shapes', 'paper') else main_config.inputs
  config.fresh_inputs = main_config.fresh_inputs
  config.round = 1
  config.before = ''  # Folder with the pairs of the round before.

  # Sampling.
  config.images = play.images
  config.most_images = play.most_images
  config.easy_score = play.easy_score
  config.first_images = play.first_images
  config.captions = play.captions
  config.caption_prompt = play.caption_prompt
  config.free_answers = play.free_answers
  config.answer_matcher = play.answer_matcher
  config.free_prompt = play.free_prompt
  config.choice_rule = play.choice_rule
  config.sampler = play.curation_sampler
  config.seed = 0

  # Pairs.
  config.caption_scorer = play.caption_scorer
  config.image_scorer = play.image_scorer
  config.encoders = play.encoders
  config.http_reward = play.http_reward
  config.rules = play.rules
  config.official = main_config.official

  # Processes.
  config.shard = 50  # Inputs that are curated at once.
  config.share = 0  # The part of the shards of this process,
  config.shares = 1  # and among how many processes they are divided.
  return config
