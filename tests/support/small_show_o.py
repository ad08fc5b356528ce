"""Writes a small Show-o with real vocabulary sizes, and data for it.

  python tests/small_show_o.py small

writes into the folder `small`:

  showo/        a Show-o of 2 layers and width 32 in the official layout, with
                58,498 ids (50,295 of text, 8,192 image codes)
  magvitv2/     a MAGVIT-v2 of 13 bits and 16x reduction, likewise
  phi-1_5/      the files of a byte-level BPE tokenizer in Phi-1.5's form
  bert/, mpnet/ text encoders of 1 layer and width 16 for scores and answers,
                with WordPiece vocabularies of real size
  data/         inputs.jsonl (10 records), held_out.jsonl (6 records) and
                images/ with PNG and JPEG files of COCO's and JourneyDB's sizes

All weights are random, so the models know nothing. They show what every job
reads and writes at Show-o's vocabulary, row lengths and file formats. The
same arguments write the same arrays. `--codes 1024` writes a Show-o of 512 px
images; `--dtype float32` stores its tensors in float32.
"""

import argparse
import functools
import hashlib
import json
import pathlib
import shutil

from flax import nnx
import jax
import numpy as np
from PIL import Image
import small_encoders
import small_records
import torch_files

from conversions.files import tensors
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.models import abstract_modules
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import sharding
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import vocabulary

TOKENIZER = pathlib.Path(__file__).parents[1] / 'phi_tokenizer'
VOCAB = vocabulary.Vocab(50_295, 8_192, 50_256)
DECODER = phi.PhiConfig(width=32, layers=2, heads=2, mlp=128)
# 32 channels are the fewest that the official 32 groups of norms allow.
MAGVIT = magvit_config.MagvitConfig(
  ch=32,
  encoder_ch_mult=(1,) * 5,
  decoder_ch_mult=(1,) * 5,
  encoder_num_res_blocks=(1,) * 5,
  decoder_num_res_blocks=(1,) * 5,
  z_channels=13,
)
DTYPES = {str(dtype): dtype for dtype in tensors.FLOATS}
# As a camera writes it: rotate by 90 degrees to view the image upright.
ORIENTATION, ROTATED = 0x0112, 6


def write(
  folder: pathlib.Path, codes: int = 256, dtype: str = 'bfloat16', seed: int = 0
) -> pathlib.Path:
  """Writes the whole case; existing files of the same names are replaced.

  Args:
    folder: the folder to write into.
    codes: image codes of a row, 256 (256 px) or 1,024 (512 px).
    dtype: type of the stored tensors of the Show-o, a key of DTYPES.
    seed: of the weights and the pictures.

  Returns:
    `folder`.
  """
  write_models(folder, codes, dtype, seed)
  shutil.copytree(TOKENIZER, folder / 'phi-1_5', dirs_exist_ok=True)
  for name in small_encoders.CONFIGS:
    small_encoders.write(folder / name, name)
  data(folder / 'data', seed)
  return folder


def write_models(
  folder: pathlib.Path, codes: int, dtype: str, seed: int
) -> None:
  """Writes `showo` and `magvitv2`; see `write`."""
  show_o = showo_table.to_torch(show_o_model(codes, seed))
  checkpoint(
    folder / 'showo',
    {name: array.astype(DTYPES[dtype]) for name, array in show_o.items()},
    showo_table.official(
      showo.ShowOConfig(VOCAB, DECODER, codes), showo_table.MAX_TEXT
    )
    | {'load_from_showo': True},
  )
  checkpoint(
    folder / 'magvitv2',
    magvit_table.to_torch(magvit_model(seed)),
    magvit_table.official(MAGVIT),
  )


def checkpoint(folder: pathlib.Path, state: dict, config: dict) -> None:
  """Writes a PyTorch state dict and its `config.json` as the releases do."""
  folder.mkdir(parents=True, exist_ok=True)
  torch_files.save(folder / 'pytorch_model.bin', state)
  (folder / 'config.json').write_text(json.dumps(config, indent=2) + '\n')


def show_o_model(codes: int, seed: int) -> showo.ShowO:
  """Returns a random Show-o whose replies depend on the image it reads.

  It writes words of the records in a random order, so that captions share
  words with the true ones, some more than others.
  """
  sizes = showo.ShowOConfig(VOCAB, DECODER, codes)
  model = initialize_show_o(jax.random.key(seed), word_tokens(), sizes)
  return with_noise(model, seed)


@functools.partial(jax.jit, static_argnames='sizes')
def initialize_show_o(key, words, sizes: showo.ShowOConfig) -> showo.ShowO:
  """Returns a Show-o that writes the tokens `words`."""
  model = showo.ShowO(sizes, rngs=nnx.Rngs(key))
  layers = model.decoder.layers
  # Attention to few tokens, with large values: other image codes lead to
  # another next token.
  layers.q_layernorm.scale[...] *= 3.0
  layers.k_layernorm.scale[...] *= 3.0
  layers.v_proj.kernel[...] *= 10.0
  # Probabilities far from uniform.
  model.head.kernel[...] *= 4.0
  model.head.bias[...] = model.head.bias[...].at[words].add(20.0)
  return model


def word_tokens() -> np.ndarray:
  """Returns int[N]: tokens of the words in captions, and the end of text."""
  text = text_tokenizer.load(str(TOKENIZER))
  captions = [
    f' {record.caption}'
    for records in small_records.splits().values()
    for record in records
  ]
  return np.unique([VOCAB.eos, *sum(text.encode(captions), [])])


def magvit_model(seed: int) -> magvit.Magvit:
  """Returns a random MAGVIT-v2 whose codes differ between patches."""
  shapes = abstract_modules.abstract_module(magvit.Magvit, MAGVIT)
  named, structure = jax.tree_util.tree_flatten_with_path(shapes)
  rng = np.random.default_rng([seed, 1])
  leaves = []
  for path, leaf in named:
    # Kernels [..., inputs, outputs] keep the size of what passes through.
    scale = np.prod(leaf.shape[:-1]) ** -0.5 if leaf.ndim > 1 else 0.0
    array = np.float32(scale) * rng.standard_normal(leaf.shape, np.float32)
    is_scale = sharding.path_name(path).endswith('scale')
    leaves.append(array + np.float32(is_scale))
  return with_noise(jax.tree.unflatten(structure, leaves), seed + 1)


def with_noise(model, seed: int):
  """Returns the model with noise on all parameters, so that none is 0 or 1."""
  leaves, structure = jax.tree.flatten(model)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    structure,
    [
      np.asarray(leaf) + 0.02 * rng.standard_normal(leaf.shape, np.float32)
      for leaf in leaves
    ],
  )


def data(folder: pathlib.Path, seed: int) -> None:
  """Writes annotations and images of all records."""
  images = folder / 'images'
  images.mkdir(parents=True, exist_ok=True)
  for split, records in small_records.splits().items():
    lines = []
    for record in records:
      picture(images / record.file, record, seed)
      lines.append(
        json.dumps(
          {
            'id': record.name,
            'img_path': record.file,
            'caption': record.caption,
            'questions': record.questions,
          },
          ensure_ascii=False,
        )
        + '\n'
      )
    (folder / f'{split}.jsonl').write_text(''.join(lines), encoding='utf-8')


def picture(
  path: pathlib.Path, record: small_records.Record, seed: int
) -> None:
  """Writes a picture of a record in its file format and colour mode."""
  name = int(hashlib.sha256(record.name.encode()).hexdigest()[:8], 16)
  image = Image.fromarray(
    pixels(*record.size, np.random.default_rng([seed, name]))
  )
  options = {}
  if record.mode == 'rotated':
    image = image.transpose(Image.Transpose.ROTATE_90)
    options['exif'] = Image.Exif()
    options['exif'][ORIENTATION] = ROTATED
  elif record.mode == 'RGBA':
    image.putalpha(image.convert('L'))
  else:
    image = image.convert(record.mode)
  if path.suffix == '.jpg':
    options['quality'] = 90
  else:
    options['compress_level'] = 1
  image.save(path, **options)


def pixels(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
  """Returns uint8[height, width, 3]: a gradient, blurred blobs and grain."""
  x, y = np.linspace(0, 1, width), np.linspace(0, 1, height)[:, None]
  corners = rng.uniform(0, 255, (4, 3))
  out = sum(
    weight[..., None] * corner
    for weight, corner in zip(
      (x * y, x * (1 - y), (1 - x) * y, (1 - x) * (1 - y)), corners
    )
  )
  change = np.empty_like(out)
  for _ in range(6):
    left, top, sharpness = rng.uniform((0, 0, 8), (1, 1, 60))
    distance = (x - left) ** 2 + (y - top) ** 2
    blob = 1 / (1 + np.exp(np.clip(sharpness * (40 * distance - 1), -50, 50)))
    np.subtract(rng.uniform(0, 255, 3), out, out=change)
    change *= blob[..., None]
    out += change
  out += rng.normal(0, 6, out.shape)
  return out.clip(0, 255).astype(np.uint8)


def main() -> None:
  """Reads the command line and writes the case."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('folder', metavar='FOLDER', type=pathlib.Path)
  parser.add_argument('--codes', type=int, choices=(256, 1_024), default=256)
  parser.add_argument('--dtype', choices=DTYPES, default='bfloat16')
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  write(arguments.folder, arguments.codes, arguments.dtype, arguments.seed)
  print(
    f'wrote {arguments.folder}: random weights of {arguments.codes} image '
    f'codes in {arguments.dtype}, a text tokenizer and 16 records'
  )


if __name__ == '__main__':
  main()
