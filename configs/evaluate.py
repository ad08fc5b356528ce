r"""Public benchmarks of understanding and generation, by one command.

  python main.py --config=configs/evaluate.py:show_o_512 \
    --config.models="('checkpoints/show_o_512', 'runs/pair_dpo')" \
    --config.benchmarks="('pope',)" --config.sources.pope.path=data/pope \
    --config.sources.pope.images=data/coco/val2014

compares the second model with the first, row by row. All predictions stay in
the run folder, also in the forms that official scorers read. The page
docs/evaluation.md says where the files of each benchmark come from.

  python main.py --config=configs/evaluate.py:import \
    --config.run=runs/evaluate --config.benchmark=geneval \
    --config.model=pair_dpo --config.results=geneval_results.jsonl

adds what an official scorer wrote about the images of that run.

  python main.py --config=configs/evaluate.py:samplers

compares image samplers with fewer passes on the embedded world; the page
docs/fewer_passes.md has its table. Your own samplers, with any variant:

  --config.samplers='[{"name": "steps_8", "changes": {"steps": 8}}]'
"""

import dataclasses

import ml_collections

from configs import pair_dpo
from hermesflow_jax.benchmarks import registry

# Benchmarks that are made from scenes of the embedded world.
SHAPES = ('pope', 'mme', 'vqav2', 'geneval', 'tifa', 'coco', 'gap')


# Half, and the last quarter of the steps have guidance.
HALF, QUARTER = {'guided': (0.5, 1.0)}, {'guided': (0.75, 1.0)}
# Changes to the default sampler: 16 steps, cosine, guidance in all of them.
FEWER_PASSES = {
  **{f'cosine_{n}': {'steps': n} for n in (12, 8, 6, 4)},
  **{
    f'{schedule}_8': {'steps': 8, 'schedule': schedule}
    for schedule in ('linear', 'sigmoid', 'pow2')
  },
  **{f'pow0.5_{n}': {'steps': n, 'schedule': 'pow0.5'} for n in (12, 8, 6, 4)},
  'unguided': {'guidance': 0.0},
  'first_half': {'guided': (0.0, 0.5)},
  'middle_half': {'guided': (0.25, 0.75)},
  'last_half': HALF,
  'last_quarter': QUARTER,
  **{
    f'pow0.5_{n}_last_half': {'steps': n, 'schedule': 'pow0.5'} | HALF
    for n in (12, 8, 6, 4)
  },
  'pow0.5_8_last_quarter': {'steps': 8, 'schedule': 'pow0.5'} | QUARTER,
  **{f'budget_{b}': {'error_budget': b} for b in (0.2, 0.5, 1.0)},
}


def get_config(variant='shapes'):
  """Returns settings for `jobs.evaluate`, or `jobs.evaluate_import`."""
  if variant == 'import':
    config = ml_collections.ConfigDict()
    config.job = 'evaluate_import'
    config.run = 'runs/evaluate'  # A finished run of this job.
    config.benchmark = ''
    config.model = ''  # Its name in the results.
    config.results = ''  # What the official scorer wrote.
    return config
  if variant == 'samplers':
    config = get_config()
    config.benchmarks, config.rows = ('tifa',), 1_000
    config.samplers = tuple(
      {'name': name, 'changes': changes}
      for name, changes in FEWER_PASSES.items()
    )
    return config
  main_config = pair_dpo.get_config(variant)
  config = ml_collections.ConfigDict(pair_dpo.model_settings(main_config))
  config.job = 'evaluate'
  config.vision = ''  # CLIP tower of a model with w_clip_vit.

  # Models; the others are compared with the first. (): init_from alone.
  config.models = ()

  # Benchmarks, and for each `path`, `images`, `suffix`, `on_error`, and of gap
  # `questions`.
  config.benchmarks = tuple(SHAPES) if variant in pair_dpo.EMBEDDED else ()
  config.sources = dataclasses.asdict(registry.Sources())
  if variant in pair_dpo.EMBEDDED:
    for name in SHAPES:
      config.sources[name].path = 'shapes'  # Made from scenes.
  config.rows = 0  # Rows of a benchmark at most; 0: all.

  # Drawings and their judge.
  config.sampler = main_config.play.evaluation_sampler
  # Other samplers to compare with it (docs/fewer_passes.md), e.g.
  # ({'name': 'steps_8', 'changes': {'steps': 8}},).
  config.samplers = ()
  config.search = main_config.play.search
  config.seed = 0
  config.judge = main_config.to_dict()['judge']
  if variant in pair_dpo.EMBEDDED:
    config.judge.kind = 'pixels'
  config.answer_matcher = main_config.play.answer_matcher
  config.encoders = main_config.play.encoders

  # Measures of drawings without questions, as of COCO.
  config.measures = {
    'inception': '',  # Converted Inception for the Frechet distance; '': none.
    'preparation': 'text2image_benchmark',  # Of pixels, as Show-o was scored.
    'reference': '',  # Statistics of real images; '': sources.coco.images.
    'clip': False,  # CLIP score by encoders.clip.
    # A distance by the image tokenizer, where no Inception is at hand.
    'tokenizer': variant in pair_dpo.EMBEDDED,
  }
  return config
