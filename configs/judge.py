r"""Other judges, e.g. people, of the images of a finished run.

  python main.py --config=configs/judge.py:export --config.source=runs/pair_dpo

writes PNG files and `questions.jsonl` into runs/judge/export: id, image,
question and choices, without the right answers. Whoever answers them writes
JSON lines with id and answer. Then

  python main.py --config=configs/judge.py:import \
    --config.source=runs/pair_dpo --config.answers=answers.jsonl \
    --config.name='two students'

prints the table of the run by this judge, and how it agrees with the run's own
judge, and writes `results_<name>.json` beside the run's `results.json`. It
needs no model. More judges: docs/judges.md.
"""

import ml_collections

VARIANTS = ('export', 'import')


def get_config(variant='export'):
  """Returns settings for `hermesflow_jax.jobs.judge`."""
  if variant not in VARIANTS:
    raise ValueError(
      f'variant must be one of {", ".join(VARIANTS)}, got {variant!r}'
    )
  config = ml_collections.ConfigDict()
  config.job = 'judge'
  config.action = variant
  config.source = 'runs/pair_dpo'  # A finished run of pair_dpo or curate.

  # Export.
  config.pairs = False  # Also the winners and losers of pair_dpo.

  # Import.
  config.answers = ''  # A file or folder of answers.
  config.name = ''  # Of the judge.
  config.prompt = ''  # What it was asked to do.
  config.on_error = 'raise'  # Or skip: leaves out images without an answer.
  return config
