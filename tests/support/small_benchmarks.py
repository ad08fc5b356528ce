"""Files of benchmarks about the images of the small Show-o."""

import json

import small_walk

QUESTIONS = ('is there a bench?', 'is there a bridge?')


def write(case: small_walk.Walk) -> tuple[str, ...]:
  """Writes the files; returns the flags of `evaluate`.

  Args:
    case: the small Show-o.
  """
  folder = case.folder / 'small' / 'benchmarks'
  folder.mkdir(parents=True, exist_ok=True)
  questions = [
    {
      'question_id': number,
      'image': f'{name}.jpg',
      'text': text,
      'label': 'yes' if name in text else 'no',
    }
    for number, (name, text) in enumerate(
      (name, text) for name in ('bench', 'bridge') for text in QUESTIONS
    )
  ]
  _write_lines(folder / 'coco_pope_random.json', questions)
  _write_lines(
    folder / 'evaluation_metadata.jsonl',
    [{'tag': 'colors', 'include': [], 'prompt': 'a photo of a blue mug'}],
  )
  images = 'small/data/images'
  return (
    small_walk.CHUNK,
    "--config.benchmarks=('pope', 'gap', 'geneval')",
    '--config.sampler.steps=2',
    '--config.sources.pope.path=small/benchmarks',
    f'--config.sources.pope.images={images}',
    '--config.sources.pope.suffix=',
    '--config.sources.gap.path=small/data/few_held_out.jsonl',
    f'--config.sources.gap.images={images}',
    '--config.sources.geneval.path=small/benchmarks',
  )


def _write_lines(path, rows):
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
