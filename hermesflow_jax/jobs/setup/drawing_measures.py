"""Measures of drawings that need a network: Frechet distance and CLIP score."""

from collections.abc import Iterator
from collections.abc import Sequence
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from hermesflow_jax.benchmarks import protocol
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import image_writer
from hermesflow_jax.data import input_faults
from hermesflow_jax.evaluation import clip_score
from hermesflow_jax.evaluation import frechet
from hermesflow_jax.evaluation import frechet_files
from hermesflow_jax.jobs.setup import measure_settings
from hermesflow_jax.models import inception_pixels
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import text_encoder

_KIND = 'inception'
# Images that are in memory at once, and per call.
_BATCH = 256
_CALL = 16
_CONVERT = (
  'run `python -m conversions.convert inception pt_inception.safetensors '
  'checkpoints/inception` (docs/image_scores.md)'
)


def check(
  config: measure_settings.MeasureSettings,
  encoders: encoder_settings.EncoderSettings,
  rows: Sequence[protocol.DrawingPrompt],
) -> None:
  """Checks networks and references before any drawing; all processes call it.

  Args:
    config: what is measured.
    encoders: encoders of the run.
    rows: prompts.

  Raises:
    ValueError: a network or the reference is missing.
  """
  if config.clip:
    encoders.check('clip', 'give --config.measures.clip=False')
  if config.tokenizer and not all('image' in row.reference for row in rows):
    raise ValueError(
      'measures.tokenizer must be False without real images, got True; give '
      'the folder of the real images (sources.coco.images)'
    )
  if config.tokenizer or (config.inception and not config.reference):
    _check_real_images(rows)
  if not config.inception:
    return
  if not processes.broadcast_from_first(
    lambda: checkpoint.is_checkpoint(config.inception)
  ):
    raise ValueError(
      f'measures.inception must be an Inception, got {config.inception!r}; '
      f"{_CONVERT}, or give --config.measures.inception=''"
    )
  converted_model.read_record(config.inception, _KIND)
  if config.reference:
    frechet_files.read_statistics(config.reference)
  elif not all('image' in row.reference for row in rows):
    raise ValueError(
      'measures.reference must be an npz file with the statistics of real '
      "images, got ''; give it, or the folder of the real images "
      '(sources.coco.images)'
    )


def _check_real_images(rows) -> None:
  """Decodes the real images, before anything is drawn.

  Raises:
    ValueError: names images that cannot be read.
  """
  paths = {row.reference.get('image') for row in rows} - {None}
  faults = [image_reader.decoding_fault(storage.path(p)) for p in sorted(paths)]
  input_faults.raise_if_any([fault for fault in faults if fault])


def content_hashes(
  config: measure_settings.MeasureSettings,
  encoders: encoder_settings.EncoderSettings,
) -> dict:
  """Returns `contents` of `workdir_claim.claim_workdir` for the networks.

  Args:
    config: what is measured.
    encoders: encoders of the run.
  """
  hashes = {}
  if config.inception:
    record = converted_model.read_record(config.inception, _KIND)
    hashes['inception'] = lambda: str(sorted(record.sha256.items()))
    if config.reference:
      hashes['frechet_reference'] = functools.partial(
        output_files.sha256, config.reference
      )
  if config.clip:
    content = encoders.content_hash('clip')
    hashes['clip_encoder'] = lambda: content
  return hashes


def measure(
  config: measure_settings.MeasureSettings,
  encoders: encoder_settings.EncoderSettings,
  rows: Sequence[protocol.DrawingPrompt],
  folder: pathlib.PurePath,
  mesh,
  tokenizer=None,
) -> list[protocol.Scores]:
  """Measures the drawings of a model; all processes call it.

  Args:
    config: what is measured.
    encoders: encoders of the run.
    rows: prompts.
    folder: folder of the drawings.
    mesh: device mesh.
    tokenizer: a Magvit, whose latents `config.tokenizer` compares.
  """
  files = [folder / file for row in rows for file in row.files]
  scores = []
  if config.inception:
    scores.append(_frechet(config, rows, files, mesh))
  if config.tokenizer:
    scores.append(_tokenizer_distance(tokenizer, rows, files, mesh))
  if config.clip:
    captions = [row.prompt for row in rows for _ in row.files]
    names = [file for row in rows for file in row.files]
    clip = text_encoder.TextEncoders(encoders, mesh).clip()
    cosines = np.concatenate(
      [
        np.sum(
          clip.encode_images(images)
          * clip.encode_texts(captions[start : start + _BATCH]),
          -1,
        )
        for start, images in _drawings(files)
      ]
    )
    value = clip_score.clip_score(cosines)
    scores.append(
      protocol.Scores(
        'CLIP score',
        value,
        'x 100',
        {'CLIP score': value},
        dict(zip(names, (100 * cosines).tolist(), strict=True)),
        (f'CLIP: {clip.path}',),
      )
    )
  return scores


def _frechet(config, rows, files, mesh) -> protocol.Scores:
  record = converted_model.read_record(config.inception, _KIND)
  model = converted_model.restore_model(config.inception, record, mesh)
  prepare = inception_pixels.PREPARATIONS[config.preparation]
  size = _CALL * mesh.shape['data']

  @functools.partial(jax.jit, static_argnums=2)
  def features(model, images, prepare):
    return model(prepare(images))[0]

  def statistics(batches, prepare):
    extract = functools.partial(features, model, prepare=prepare)
    return frechet.image_statistics(
      lambda images: extract(images), batches, size, mesh
    )

  if config.reference:
    real = frechet_files.read_statistics(config.reference)
  else:
    real = statistics(_photos(rows), inception_pixels.scale_pixels)
  drawn = statistics((images for _, images in _drawings(files)), prepare)
  value = frechet.distance(real, drawn)
  against = config.reference or 'the real images of the rows'
  note = (
    f'Inception v3 of the FID port, {config.preparation}, {len(files)} '
    f'drawings against {against}'
  )
  return protocol.Scores(
    'Frechet distance',
    value,
    'lower is better',
    {'Frechet distance': value},
    {},
    (note,),
  )


@jax.jit
def _latents(tokenizer, images):
  """Returns the latents of images uint8[N, H, W, 3]: float32[N, h * w * C]."""
  pixels = jnp.asarray(images, jnp.float32) / 127.5 - 1
  return tokenizer.encode(pixels).reshape(len(images), -1)


def _tokenizer_distance(tokenizer, rows, files, mesh) -> protocol.Scores:
  size = _CALL * mesh.shape['data']

  def statistics(batches):
    extract = functools.partial(_latents, tokenizer)
    return frechet.image_statistics(extract, batches, size, mesh)

  side = image_writer.read_pixels(files[0]).shape[0]
  real = (
    np.stack([image_reader.load_image(storage.path(p), side) for p in paths])
    for paths in _real_paths(rows)
  )
  drawn = (images for _, images in _drawings(files))
  value = frechet.distance(statistics(real), statistics(drawn))
  return protocol.Scores(
    'Frechet distance of the image tokenizer',
    value,
    'lower is better',
    {'Frechet distance': value},
    {},
    ('by the latents of the image tokenizer: not the FID of papers',),
  )


def _real_paths(rows) -> Iterator[list[str]]:
  """Yields paths of real images, each once."""
  paths = list(dict.fromkeys(row.reference['image'] for row in rows))
  for start in range(0, len(paths), _BATCH):
    yield paths[start : start + _BATCH]


def _drawings(files) -> Iterator[tuple[int, np.ndarray]]:
  """Yields (number of the first drawing, uint8[N, H, W, 3])."""
  for start in range(0, len(files), _BATCH):
    part = files[start : start + _BATCH]
    yield start, np.stack([image_writer.read_pixels(file) for file in part])


def _photos(rows) -> Iterator[np.ndarray]:
  """Yields real images uint8[N, 299, 299, 3], one for each distinct path."""
  for paths in _real_paths(rows):
    yield np.stack(
      [
        inception_pixels.square_of_photo(
          image_reader.load_pixels(storage.path(path))
        )
        for path in paths
      ]
    )
