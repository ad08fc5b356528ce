"""Homologous preference pairs of a model, without training on them.

  python main.py --config=configs/curate.py

Several processes, on one machine or on many that see the same folder, divide
the work:

  python main.py --config=configs/curate.py --config.shares=2 --config.share=0
  python main.py --config=configs/curate.py --config.shares=2 --config.share=1

Each input is curated once, whatever is stopped and started again, and the
output is the same for any number of processes and devices. The second round
of self-play, from the model that `configs/learn.py` left of the first:

  python main.py --config=configs/curate.py --workdir=runs/curate_2 \\
    --config.round=2 --config.init_from=runs/learn

Where rounds have the same inputs (`fresh_inputs` False, as with Show-o's
settings), `--config.before=runs/curate` names the pairs of the round before.

With Show-o's weights and data/inputs.jsonl:

  python main.py --config=configs/curate.py:show_o_512
"""

import ml_collections

import configs.pair_dpo


def get_config(variant='shapes'):
  """Returns the settings of `hermesflow_jax.jobs.curate`."""
  config = configs.pair_dpo.get_config(variant)
  values, play = config.to_dict(), config.play
  return ml_collections.ConfigDict(
    {
      'job': 'curate',
      **configs.pair_dpo.start_of(config),
      'world': values['world'],
      'files': values['files'] and values['files']['inputs'],
      'inputs': 200 if variant == 'shapes' else config.inputs,
      'fresh_inputs': config.fresh_inputs,
      'round': 1,
      'before': '',
      'images': play.images,
      'captions': play.captions,
      'free_answers': play.free_answers,
      'free_prompt': play.free_prompt,
      'choice_rule': play.choice_rule,
      'caption_prompt': play.caption_prompt,
      'sampler': play.curation_sampler,
      'rules': play.rules,
      'seed': 0,
      'shard': 50,
      'share': 0,
      'shares': 1,
      'official': config.official,
    }
  )
