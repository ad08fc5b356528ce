"""Files of public benchmarks, made from scenes of the embedded world.

They have the official forms, so that `configs/evaluate.py` runs on a laptop by
the same readers. The embedded model does not know the words yes and no: it says
how many objects there are, and REPLY_WORDS says what that means.
"""

from collections.abc import Callable
from collections.abc import Sequence
import csv
import json
import pathlib
import random

from PIL import Image

from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world

# What replies to 'how many ... are there ?' mean for yes-or-no questions.
REPLY_WORDS = (
  'zero=no',
  'none=no',
  *(f'{number}=yes' for number in shape_world.NUMBERS if number != 'zero'),
)
_SPLIT, _SEED = 'eval', 0
_PEOPLE = 10


def write(name: str, folder: pathlib.Path, count: int) -> pathlib.Path:
  """Writes the files of a benchmark.

  Args:
    name: a key of FORMS.
    folder: empty folder; images go there, too.
    count: number of scenes.

  Returns:
    What the benchmark's `read` takes as `path`.
  """
  scenes = [
    scene_sampler.sample_scene(_SPLIT, _SEED, number) for number in range(count)
  ]
  return folder / FORMS[name](folder, scenes)


def _save_images(folder, scenes):
  for number, scene in enumerate(scenes):
    Image.fromarray(drawing.render(scene)).save(folder / f'{number}.png')


def _write_json(folder, name, value) -> str:
  (folder / name).write_text(json.dumps(value) + '\n')
  return name


def _write_lines(folder, name, values) -> str:
  lines = [json.dumps(value) + '\n' for value in values]
  (folder / name).write_text(''.join(lines))
  return name


def _count_question(color: str, shape: str) -> str:
  words = f'{color} {shape_world.plural(shape)}'.strip()
  return f'how many {words} are there ?'


def _looks(scene) -> set[tuple[str, str]]:
  return {(thing.color, thing.shape) for thing in scene.objects}


def _pope(folder, scenes) -> str:
  """Writes three splits, which differ in how absent objects are chosen."""
  _save_images(folder, scenes)
  every = [
    (color, shape)
    for color in shape_world.COLORS
    for shape in shape_world.SHAPES
  ]
  frequent = sorted(
    every, key=lambda look: -sum(look in _looks(scene) for scene in scenes)
  )
  rng = random.Random(_SEED)
  lines = {'random': [], 'popular': [], 'adversarial': []}
  for number, scene in enumerate(scenes):
    present = _looks(scene)
    absent = [look for look in every if look not in present]
    similar = [
      (color, shape)
      for color, shape in absent
      if any(color == c or shape == s for c, s in present)
    ]
    choices = {
      'random': rng.choice(absent),
      'popular': next(look for look in frequent if look not in present),
      'adversarial': rng.choice(similar),
    }
    shown = rng.choice(sorted(present))
    for split, look in choices.items():
      for pair, label in ((shown, 'yes'), (look, 'no')):
        lines[split].append(
          {
            'question_id': len(lines[split]) + 1,
            'image': f'{number}.png',
            'text': _count_question(*pair),
            'label': label,
          }
        )
  for split, values in lines.items():
    _write_lines(folder, f'shapes_pope_{split}.json', values)
  return '.'


def _mme(folder, scenes) -> str:
  """Writes two subtasks in the form of MME's release."""
  rng = random.Random(_SEED)
  for subtask in ('existence', 'color'):
    root = folder / subtask
    root.mkdir()
    _save_images(root, scenes)
    for number, scene in enumerate(scenes):
      color, shape = rng.choice(sorted(_looks(scene)))
      if subtask == 'existence':
        shapes = {s for _, s in _looks(scene)}
        absent = [s for s in shape_world.SHAPES if s not in shapes]
        pairs = ('', shape), ('', rng.choice(absent))
      else:
        others = {c for c, s in _looks(scene) if s == shape}
        absent = [c for c in shape_world.COLORS if c not in others]
        pairs = (color, shape), (rng.choice(absent), shape)
      lines = [
        f'{_count_question(*pair)}\t{label}'
        for pair, label in zip(pairs, ('Yes', 'No'), strict=True)
      ]
      (root / f'{number}.txt').write_text('\n'.join(lines) + '\n')
  return '.'


def _questions(scenes):
  """Yields (number of the scene, TIFA record) of all questions."""
  for number, scene in enumerate(scenes):
    name = f'{number}'
    for record in caption_questions.questions_of_caption(name, scene.caption):
      yield number, record


def _vqav2(folder, scenes) -> str:
  """Writes questions whose ten people agree, as the answer is certain."""
  _save_images(folder, scenes)
  questions, annotations = [], []
  for place, (number, record) in enumerate(_questions(scenes)):
    questions.append(
      {'question_id': place, 'image_id': number, 'question': record['question']}
    )
    annotations.append(
      {
        'question_id': place,
        'answer_type': record['element_type'],
        'answers': [
          {'answer': record['answer'], 'answer_id': person + 1}
          for person in range(_PEOPLE)
        ],
      }
    )
  _write_json(folder, 'shapes_questions.json', {'questions': questions})
  _write_json(folder, 'shapes_annotations.json', {'annotations': annotations})
  return '.'


def _geneval(folder, scenes) -> str:
  lines = [
    {
      'tag': scene.tag,
      'include': [
        {'class': shape, 'color': color, 'count': 1}
        for color, shape in sorted(_looks(scene))
      ],
      'prompt': scene.caption,
    }
    for scene in scenes
  ]
  return _write_lines(folder, 'evaluation_metadata.jsonl', lines)


def _tifa(folder, scenes) -> str:
  records = [record for _, record in _questions(scenes)]
  return _write_json(folder, 'tifa.json', records)


def _coco(folder, scenes) -> str:
  _save_images(folder, scenes)
  with (folder / 'captions.csv').open('w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['image_id', 'caption'])
    writer.writerows((n, scene.caption) for n, scene in enumerate(scenes))
  return 'captions.csv'


def _gap(folder, scenes) -> str:
  """Writes records with questions; their ids sort as the scenes do."""
  _save_images(folder, scenes)
  lines = [
    {
      'id': f'{number:06d}',
      'img_path': f'{number}.png',
      'caption': scene.caption,
      'questions': caption_questions.questions_of_caption(
        f'{number}', scene.caption
      ),
    }
    for number, scene in enumerate(scenes)
  ]
  return _write_lines(folder, 'records.jsonl', lines)


# Function (folder, scenes) -> file or folder to read, by benchmark.
FORMS: dict[str, Callable[[pathlib.Path, Sequence], str]] = {
  'pope': _pope,
  'mme': _mme,
  'vqav2': _vqav2,
  'geneval': _geneval,
  'tifa': _tifa,
  'coco': _coco,
  'gap': _gap,
}
