"""Small data sets in the forms that people share, written by hand."""

import csv
import io
import json
import tarfile

from PIL import Image

from hermesflow_jax.data import record_files

# What every form holds: captions of three pictures.
CAPTIONS = ['a red ring', 'two "blue" squares, 早い', 'a green disk']
IDS = ['000000000009', '000000000025', '000000000030']


def png(number: int) -> bytes:
  """Returns a picture as PNG; its size and color depend on the number."""
  buffer = io.BytesIO()
  picture = Image.new('RGB', (20 + number, 16), (40 * number, 90, 200))
  picture.save(buffer, 'PNG')
  return buffer.getvalue()


def images(folder, names):
  """Writes pictures under these names."""
  for number, name in enumerate(names):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(number))


def question(number: int, **changes) -> dict:
  """Returns a question in TIFA's form."""
  return {
    'id': IDS[number],
    'caption': CAPTIONS[number],
    'element': 'ring',
    'question': f'what is in picture {number}?',
    'choices': ['a ring', 'a disk', 'a square'],
    'answer': ['a ring', 'a square', 'a disk'][number],
    'element_type': 'object',
  } | changes


def journeydb_record(number: int) -> dict:
  """Returns a record as JourneyDB's train_anno files have it."""
  return {
    'img_path': f'./00{number}/{IDS[number]}.jpg',
    'prompt': f'{CAPTIONS[number]} --ar 2:3 --v 4',
    'Task1': {'Style': ['flat'], 'Content': ['ring'], 'Atmosphere': ['calm']},
    'Task2': {'Caption': CAPTIONS[number]},
    'Task3': {
      'Content Relevant Questions and Answers': [
        {
          'Question': 'What shape is it?',
          'Options': {'A': 'ring', 'B': 'square', 'C': 'disk', 'D': 'star'},
          'Answer': 'ABC'[number],
        }
      ],
      'Style Relevant Questions and Answers': [
        {
          'Question': 'What style is it?',
          'Options': {'A': 'oil', 'B': 'flat'},
          'Answer': 'B: flat' if number else 'B',
        }
      ],
    },
  }


def journeydb(root):
  images(root / 'imgs', [f'00{n}/{IDS[n]}.jpg' for n in range(3)])
  rows = [json.dumps(journeydb_record(n)) for n in range(3)]
  (root / 'train_anno.jsonl').write_text('\n'.join(rows) + '\n')
  return record_files.Source(str(root / 'train_anno.jsonl'), str(root / 'imgs'))


def coco(root):
  """captions_val2017.json: five captions an image, in no order."""
  names = [f'{name}.jpg' for name in IDS]
  images(root / 'val2017', names)
  annotations = [
    {'image_id': int(IDS[n]), 'id': 10 * k + n, 'caption': caption}
    for k in range(2)
    for n, caption in enumerate(CAPTIONS)
    for caption in [caption if k == 0 else f'{caption}, a second text']
  ]
  value = {
    'info': {'description': 'COCO 2017 Dataset', 'year': 2017},
    'licenses': [{'url': 'http://a', 'id': 1, 'name': 'b'}],
    'images': [
      {
        'license': 1,
        'file_name': name,
        'coco_url': 'http://a',
        'height': 16,
        'width': 20 + n,
        'id': int(IDS[n]),
      }
      for n, name in enumerate(names)
    ],
    'annotations': annotations,
  }
  (root / 'captions_val2017.json').write_text(json.dumps(value))
  return record_files.Source(
    str(root / 'captions_val2017.json'), str(root / 'val2017')
  )


def llava_record(number: int, **changes) -> dict:
  """Returns a record of two turns, as in llava_v1_5_mix665k.json."""
  return {
    'id': IDS[number],
    'image': f'coco/{IDS[number]}.jpg',
    'conversations': [
      {'from': 'human', 'value': '<image>\nDescribe it.'},
      {'from': 'gpt', 'value': CAPTIONS[number]},
      {'from': 'human', 'value': 'Is it red?'},
      {'from': 'gpt', 'value': 'No'},
    ],
  } | changes


def llava(root):
  images(root / 'data', [f'coco/{name}.jpg' for name in IDS])
  rows = [llava_record(n) for n in range(3)]
  (root / 'mix.json').write_text(json.dumps(rows, indent=2))
  return record_files.Source(str(root / 'mix.json'), str(root / 'data'))


def text_files(root):
  """A folder with a text file beside each picture."""
  images(root / 'set', [f'{name}.png' for name in IDS])
  for name, caption in zip(IDS, CAPTIONS, strict=True):
    (root / 'set' / f'{name}.txt').write_text(caption + '\n')
  return record_files.Source(str(root / 'set'))


def imagefolder(root):
  """Hugging Face's imagefolder with metadata.jsonl."""
  images(root / 'train', [f'{name}.png' for name in IDS])
  rows = [
    {'file_name': f'{name}.png', 'text': caption}
    for name, caption in zip(IDS, CAPTIONS, strict=True)
  ]
  (root / 'train' / 'metadata.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )
  return record_files.Source(str(root / 'train'))


def imagefolder_csv(root):
  """Hugging Face's imagefolder with metadata.csv."""
  images(root / 'train', [f'{name}.png' for name in IDS])
  with open(root / 'train' / 'metadata.csv', 'w', newline='') as file:
    writer = csv.writer(file)
    writer.writerow(['file_name', 'additional_feature', 'text'])
    for name, caption in zip(IDS, CAPTIONS, strict=True):
      writer.writerow([f'{name}.png', 'a\nb', caption])
  return record_files.Source(str(root / 'train'))


def tar(path, files):
  """Writes a tar archive of {name: bytes}."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w') as archive:
    for name, data in files.items():
      entry = tarfile.TarInfo(name)
      entry.size = len(data)
      archive.addfile(entry, io.BytesIO(data))


def webdataset(root):
  """Two shards as img2dataset writes them: jpg, txt and json of a key."""
  for shard, numbers in enumerate([(0, 1), (2,)]):
    files = {}
    for n in numbers:
      files[f'{IDS[n]}.jpg'] = png(n)
      files[f'{IDS[n]}.json'] = json.dumps(
        {'caption': 'alt text', 'key': IDS[n], 'status': 'success'}
      ).encode()
      files[f'{IDS[n]}.txt'] = CAPTIONS[n].encode()
    tar(root / 'shards' / f'{shard:05d}.tar', files)
  return record_files.Source(str(root / 'shards' / '{00000..00001}.tar'))


def records(root):
  """Our own records, as JSON lines."""
  images(root / 'images', [f'{name}.png' for name in IDS])
  rows = [
    {
      'id': IDS[n],
      'img_path': f'{IDS[n]}.png',
      'caption': CAPTIONS[n],
      'questions': [question(n)],
    }
    for n in range(3)
  ]
  (root / 'inputs.jsonl').write_text(
    ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
  )
  return record_files.Source(str(root / 'inputs.jsonl'), str(root / 'images'))


def official(root):
  """initial_data.json and vqa_data.json."""
  images(root / 'images', [f'{name}.png' for name in IDS])
  rows = [
    {
      'id': IDS[n],
      'img_path': str(root / 'images' / f'{IDS[n]}.png'),
      'prompt': f'prompt {n}',
      'caption': CAPTIONS[n],
    }
    for n in range(3)
  ]
  questions = [question(n) for n in range(3)]
  (root / 'initial_data.json').write_text(json.dumps(rows, indent=4))
  (root / 'vqa_data.json').write_text(json.dumps(questions, indent=4))
  return record_files.Source(
    str(root / 'initial_data.json'),
    str(root / 'images'),
    str(root / 'vqa_data.json'),
  )


FORMS = {
  'records': records,
  'official': official,
  'journeydb': journeydb,
  'coco': coco,
  'llava': llava,
  'text files': text_files,
  'imagefolder': imagefolder,
  'imagefolder csv': imagefolder_csv,
  'webdataset': webdataset,
}
