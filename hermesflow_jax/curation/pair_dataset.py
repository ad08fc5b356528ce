"""Homologous pairs as a TFDS dataset: a record feeds both tasks."""

from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import io
from typing import ClassVar

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from hermesflow_jax.data import image_writer
from hermesflow_jax.data import lazy_images
from hermesflow_jax.runtime import disk_objects
from hermesflow_jax.runtime import processes

# Fields of records.
TEXTS = (
  'id',
  'caption',
  'caption_win',
  'caption_lose',
  'caption_dropped',
  'image_dropped',
)
CODES = ('codes', 'codes_win', 'codes_lose')
SCORES = (
  'caption_score_win',
  'caption_score_lose',
  'vqa_score_win',
  'vqa_score_lose',
)
_IMAGE = 'image'


@dataclasses.dataclass
class PairsConfig(tfds.core.BuilderConfig):
  """Dataset contents.

  Attributes:
    records: from `pair_files.pair_to_record`, with the real image's `codes`.
    image_tokens: I, codes per image.
    images: the real images, or None.
  """

  records: Sequence[dict] = dataclasses.field(default=(), repr=False)
  image_tokens: int = 0
  images: lazy_images.LazyImages | None = dataclasses.field(
    default=None, repr=False
  )


class Pairs(tfds.core.GeneratorBasedBuilder):
  """Builds the dataset from records in memory."""

  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS: ClassVar[list[PairsConfig]] = []

  def _info(self) -> tfds.core.DatasetInfo:
    size = self.builder_config.image_tokens
    codes = tfds.features.Tensor(shape=(size,), dtype=np.int32)
    score = tfds.features.Scalar(dtype=np.float32)
    image = {}
    if self.builder_config.images is not None:
      image = {_IMAGE: tfds.features.Image(shape=(None, None, 3))}
    return tfds.core.DatasetInfo(
      builder=self,
      description='Homologous preference pairs (arXiv 2502.12148).',
      features=tfds.features.FeaturesDict(
        dict.fromkeys(TEXTS, tfds.features.Text())
        | dict.fromkeys(CODES, codes)
        | dict.fromkeys(SCORES, score)
        | image
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    images = self.builder_config.images
    for number, record in enumerate(self.builder_config.records):
      row = {name: record[name] for name in TEXTS}
      row |= {name: np.asarray(record[name], np.int32) for name in CODES}
      row |= {name: np.float32(record[name]) for name in SCORES}
      if images is not None:
        image = Image.fromarray(images.readers[number]())
        # The library of the dataset would need TensorFlow for an array.
        row[_IMAGE] = io.BytesIO(image_writer.png_bytes(image))
      yield record['id'], row


def write_dataset(
  data_dir: str,
  records: Sequence[dict],
  image_tokens: int,
  images: lazy_images.LazyImages | None = None,
):
  """Writes the dataset if it does not exist, and returns its source.

  Args:
    data_dir: dataset folder.
    records: from `pair_files.pair_to_record`, with the real image's `codes`.
    image_tokens: I, codes per image.
    images: real images of the records, for a model that reads pixels; or None.

  Returns:
    See `data_source`.
  """
  # Its bars would appear beside those of the job.
  tfds.disable_progress_bar()
  config = PairsConfig(
    name='homologous', records=records, image_tokens=image_tokens, images=images
  )

  def builder():
    # A builder reads an existing dataset in its constructor.
    return Pairs(data_dir=data_dir, config=config, file_format='array_record')

  # TFDS prints that it downloads, which it does not.
  with contextlib.redirect_stdout(io.StringIO()):
    processes.on_first_process(lambda: builder().download_and_prepare())
  return data_source(data_dir)


def data_source(data_dir: str):
  """Opens a dataset that `write_dataset` wrote.

  Args:
    data_dir: dataset folder.

  Returns:
    A sequence of dicts: texts as bytes or str, codes int32[I], scores float32.

  Raises:
    ValueError: the folder has no such dataset.
  """
  builder = _builder(data_dir)
  if _IMAGE not in builder.info.features:
    return builder.as_data_source(split='train')
  # Images are not decoded.
  decoders = {_IMAGE: tfds.decode.SkipDecoding()}
  records = builder.as_data_source(split='train', decoders=decoders)
  return disk_objects.keep(
    {name: value for name, value in record.items() if name != _IMAGE}
    for record in records
  )


def image_source(data_dir: str) -> lazy_images.LazyImages | None:
  """Returns the real images of a dataset, in the order of `data_source`.

  Args:
    data_dir: dataset folder.

  Returns:
    N images; None if the dataset has none.

  Raises:
    ValueError: the folder has no such dataset.
  """
  builder = _builder(data_dir)
  if _IMAGE not in builder.info.features:
    return None
  source = builder.as_data_source(split='train')
  readers = disk_objects.Computed(
    len(source), lambda n: functools.partial(_image, source, n)
  )
  return lazy_images.LazyImages(disk_objects.few_as_list(readers))


def _image(source, number: int) -> np.ndarray:
  return source[number][_IMAGE]


def _builder(data_dir):
  try:
    return tfds.builder_from_directory(
      f'{data_dir}/pairs/homologous/{Pairs.VERSION}'
    )
  except Exception as error:
    raise ValueError(f'no pairs at {data_dir}: {error}') from error
