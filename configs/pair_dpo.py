"""The main job: HermesFlow's self-play (arXiv 2502.12148), round after round.

  python main.py --config=configs/pair_dpo.py

plays three rounds on the embedded world from the shipped base model, in 7 to
15 minutes and 2.2 GiB on two CPU cores. It prints these scores of 1,000
held-out scenes (seed 0, commit 5e239f1, ± standard error over scenes):

  round  understanding  generation     gap
  0      0.950 ± 0.005  0.855 ± 0.009  0.095 ± 0.010
  1      0.949 ± 0.005  0.915 ± 0.007  0.035 ± 0.008
  2      0.950 ± 0.005  0.912 ± 0.007  0.037 ± 0.008
  3      0.949 ± 0.005  0.915 ± 0.007  0.034 ± 0.008

and of 500 scenes with captions that no input has (commit dd86aca):

  0      0.955 ± 0.008  0.725 ± 0.015  0.230 ± 0.014
  3      0.956 ± 0.008  0.721 ± 0.015  0.235 ± 0.014

Every job starts from the result with --config.init_from=runs/pair_dpo, the
newest round. Variants (--config=configs/pair_dpo.py:<variant>):

  shapes                 the embedded world by the best method that needs no
                         more than 15 minutes, as above
  paper                  the paper's method on the embedded world: today the
                         same as shapes
  grpo                   the same by GRPO on all candidates (docs/grpo.md):
                         scores up to .03 higher in three times the time
  grpo_hard              GRPO on the inputs that are still hard, in 12 rounds:
                         .95 to .96, no gap, after rounds of grpo
  answers                answers about real images alone, in one round
                         (docs/learning_from_answers.md)
  show_o_256, show_o_512 the paper's settings on Show-o's weights
  small_256, small_512   the same on a small random Show-o: every step in
                         minutes, without weights (docs/walk.md)
  decoder_7b             a decoder of 6.9 billion parameters, to plan a TPU
                         slice (--compile_for, docs/scaling.md)

Variants of other models read image-caption inputs with questions from
data/inputs.jsonl, and data/held_out.jsonl for evaluation, in the form that
`hermesflow_jax.data.record_files` describes.

Data of your own on the embedded world: `--config.files.inputs.annotations`,
`--config.files.inputs.images`, and the same of `files.held_out`.
"""

import ml_collections

from configs import answers
from configs import groups
from configs import services
from configs import show_o

# Variants on the embedded world, and on other models.
EMBEDDED = ('shapes', 'paper', 'grpo', 'grpo_hard', 'answers')
VARIANTS = (
  *EMBEDDED,
  'show_o_256',
  'show_o_512',
  'decoder_7b',
  'small_256',
  'small_512',
)


def get_config(variant='shapes'):
  """Returns settings for `hermesflow_jax.jobs.pair_dpo`."""
  config = paper()
  if variant == 'grpo':
    groups.use_grpo(config)
  elif variant == 'grpo_hard':
    groups.use_hard_inputs(config)
  elif variant == 'answers':
    answers.use_answers(config)
  elif variant in ('show_o_256', 'show_o_512'):
    show_o.use_paper_settings(config, int(variant.removeprefix('show_o_')))
  elif variant in ('small_256', 'small_512'):
    use_small_show_o(config, int(variant.removeprefix('small_')))
  elif variant == 'decoder_7b':
    use_decoder_7b(config)
  elif variant not in ('shapes', 'paper'):
    raise ValueError(
      f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
    )
  return config


def paper():
  """Returns Pair-DPO on the embedded world. Origins: see show_o.py."""
  config, play = ml_collections.ConfigDict(), ml_collections.ConfigDict()
  config.job = 'pair_dpo'
  config.play = play

  # Data.
  config.world = {'seed': 0, 'jitter': 0}
  config.files = None  # Data of your own in the world's place.
  config.inputs = 900  # A round; ours, the paper has 5,000.
  # Ours: on the same inputs the gap grew (docs/self_play.md).
  config.fresh_inputs = True
  config.answer_inputs = 0  # More scenes for `play.objective.answers`.

  # Model.
  config.init_from = 'assets:shapes'
  config.tokenizer = config.text = ''  # Those of the model.
  config.missing = ''
  config.sizes = None  # Those of the model.
  config.adapters = ''
  config.vision = ''  # CLIP tower of a model with w_clip_vit.
  config.mesh = {'data': -1, 'model': -1}  # Devices; -1: as many as fit.
  config.chunk = 32  # Rows that a device samples at once.

  # Sampling: candidates of an input.
  play.rounds = 3  # Paper.
  play.images = 4  # Ours; 2 to 16 score alike (docs/evidence.md).
  play.most_images, play.easy_score = 0, None  # docs/search.md.
  play.first_images = 0  # All inputs get all images; docs/search.md.
  play.captions = show_o.caption_samplers()
  play.caption_prompt = 'Give a caption for this image.'
  # Ours, because this guidance drew best (docs/self_play.md, "The base model's
  # sampler").
  play.curation_sampler = show_o.sampler(steps=16, guidance=0.5)
  # Ours: the likeliest choice is the answer; the official code asks for words.
  play.free_answers = False
  play.free_prompt = '{question}'  # The model knows no other words of a prompt.
  play.choice_rule = 'constrained'
  play.answer_matcher = 'ngram'  # With free_answers: finds the nearest choice.

  # Pairs.
  # ngram, bert, sentence, clip, likelihood, http_reward, or a function of your
  # own (docs/scorers.md).
  play.caption_scorer = 'ngram'
  # answers, soft, caption_likelihood, image_likelihood, clip, http_reward, or a
  # function of your own.
  play.image_scorer = 'answers'  # Paper.
  play.encoders = {  # Read only by a scorer or a matcher that needs them.
    'bert': 'checkpoints/bert-large-uncased',
    'sentence': 'checkpoints/all-mpnet-base-v2',
    'clip': 'checkpoints/clip-vit-large-patch14',
    'dtype': 'float32',
  }
  play.http_reward = services.reward_settings()  # With http_reward.
  play.shard = 300  # Inputs that are curated at once.
  play.rules = {
    'least_win': 0.6,  # Score of a winning image; official.
    'least_margin': 0.0,
    'both': True,  # Ours: inputs with both pairs alone.
    'least_score': None,  # Instead of least_win, with clip and the like.
  }

  # Learning. SFT weights, masks and drop_condition are ours, the best of
  # docs/self_play.md, "One round of the earlier base model".
  play.reference = 'round'  # The frozen model: the start of the round.
  play.objective = {
    'method': 'pair_dpo',
    'smoothing': 0.0,
    # Ours: ten times the paper's 0.2, because an image has 16 codes here and
    # 1,024 there: equal shifts of a code make margins 64 times smaller.
    'beta': 2.0,
    'und_weight': 1.0,  # Of the loss on captions.
    'gen_weight': 1.0,  # Of the loss on images.
    'und_sft_weight': 0.5,
    'gen_sft_weight': 2.0,
    'masks': 4,  # An image pair, or a group of images.
    'mask_progress': (0.0, 1.0),  # Of the mask schedule; (0, 0.5): noisy masks.
    'drop_condition': 0.0,
    'fixed_masks': False,
    'ratio': 'token',  # Of an image: sum, mean, token (GRPO, docs/grpo.md).
    'clip': 0.2,  # Bound on the change of a ratio.
    'kl_weight': 0.0,  # Of the divergence from `reference` (GRPO).
    'scale_rewards': True,  # Divide by the deviation in the group.
    'group_images': 0,  # Images of a group to learn from; 0: all.
    'group_part': 2,  # Candidates of a group that are computed at once.
    'answers': show_o.answers(),  # Off; docs/learning_from_answers.md.
  }
  # Defects of the official code to reproduce, all off (docs/differences.md).
  play.compat = {
    'score_images_as_text': False,
    'batch_sum': False,
    'separate_drops': False,
    'other_prompt': False,
  }
  play.mask_schedule = 'cosine'  # Share of masked codes (MaskGIT, Show-o).
  play.optim = {
    'lr': 1e-4,  # Ours: higher rates scored worse (docs/self_play.md).
    'steps': 100,  # Of a round, at most.
    'warmup': 0.05,  # Share of the steps; official: 5,000 steps.
    'final': 0.0,  # Share of the peak rate.
    'b1': 0.9,  # Official, as are b2, eps and weight_decay.
    'b2': 0.999,
    'eps': 1e-8,
    'weight_decay': 0.01,
    'clip': 1.0,  # Global norm; ours, the official code does not clip.
    'accumulate': 1,  # Parts that a batch is computed in.
  }
  play.lora = {
    'rank': 0,  # 0: all parameters learn.
    'alpha': 16.0,
    'targets': ('q_proj', 'k_proj', 'v_proj', 'dense'),
  }
  play.epochs = 4.0  # Passes over the pairs, if fewer steps than optim.steps.
  play.batch = 16  # Records; ours, 32 score alike (docs/self_play.md).
  play.label_rows = 512  # Labels of a record whose logits are kept at once.
  play.seed = 0

  # Evaluation.
  config.held_out = 1_000  # Scenes.
  config.held_out_split = 'eval'
  config.unseen = 500  # Scenes with captions that no input has.
  config.judge = services.judge_settings()
  play.evaluation_sampler = show_o.sampler(steps=16, guidance=0.5)
  play.search = show_o.search()  # Off; docs/search.md.

  # Logging, in steps; 0 for none.
  play.log_every = 10
  play.save_every = 50
  play.sample_every = 0
  play.profile_steps = (0, 0)
  config.gallery = 12  # Captions and pairs in the report.
  config.official = False
  return config


def model_settings(config):
  """Returns the keys that every job with a model has, as a dict."""
  names = (
    'mesh',
    'init_from',
    'tokenizer',
    'text',
    'missing',
    'sizes',
    'chunk',
    'adapters',
  )
  values = config.to_dict()
  return {name: values[name] for name in names}


def use_decoder_7b(config):
  """Changes the config to a larger decoder, which has no weights yet."""
  show_o.use_paper_settings(config, 512)
  config.init_from = 'checkpoints/decoder_7b'
  config.missing = 'There are no weights of this size.'
  config.sizes.decoder.update({'width': 4096, 'layers': 32, 'mlp': 16384})


def use_small_show_o(config, pixels):
  """Changes the config to a small random Show-o (docs/walk.md).

  Vocabulary, row lengths, file formats and precision are Show-o's; width,
  depth, steps and the number of inputs are small.
  """
  show_o.use_paper_settings(config, pixels)
  play = config.play
  name = f'show_o_{pixels}'
  codes = config.sizes.grid[0] * config.sizes.grid[1]

  # Data.
  for source in config.files.values():
    source.annotations = f'small/{source.annotations}'
    source.images = f'small/{source.images}'
  config.inputs, config.held_out, config.gallery = 10, 6, 6

  # Model.
  config.init_from = f'small/checkpoints/{name}'
  config.tokenizer = 'small/checkpoints/magvitv2'
  config.text = 'small/phi-1_5'
  config.missing = (
    'Make the small case first: '
    f'python tests/small_show_o.py small --codes {codes} && '
    'python -m conversions.convert showo small/showo '
    f'small/checkpoints/{name} && python -m conversions.convert magvitv2 '
    'small/magvitv2 small/checkpoints/magvitv2 (docs/walk.md)'
  )
  config.sizes.decoder.update(
    {'width': 32, 'layers': 2, 'heads': 2, 'mlp': 128, 'remat': 'none'}
  )
  config.sizes.tokenizer.update(
    {
      'ch': 32,
      'encoder_ch_mult': [1] * 5,
      'decoder_ch_mult': [1] * 5,
      'encoder_num_res_blocks': [1] * 5,
      'decoder_num_res_blocks': [1] * 5,
    }
  )
  config.sizes.lengths.reply = 16

  # Sampling, pairs, learning.
  play.rounds, play.images = 2, 3
  # A random text encoder knows no meaning of words.
  play.caption_scorer = play.answer_matcher = 'ngram'
  play.curation_sampler.steps = play.evaluation_sampler.steps = 4
  play.rules.least_win = 0.0  # Random answers are seldom right 3 times in 5.
  # Large enough to change the replies of random weights in a few steps.
  play.optim.update({'lr': 1e-3, 'steps': 3})
  play.batch = 4
  play.log_every, play.save_every, play.sample_every = 1, 0, 3
