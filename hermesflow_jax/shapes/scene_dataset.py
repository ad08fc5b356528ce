"""The embedded world as a TFDS dataset, generated from a seed.

Records have the same fields as all other image-text sources: id, image
(encoded), caption, questions (TIFA form) and question-answer pairs for
training. So scenes pass through the same pipeline as real data.
"""

import atexit
import contextlib
import dataclasses
import functools
import io
import json
from typing import ClassVar

import numpy as np
from PIL import Image
import tensorflow_datasets as tfds

from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import temporary_folders
from hermesflow_jax.runtime import write_faults
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler
from hermesflow_jax.shapes import shape_world
from hermesflow_jax.shapes import training_questions

# Question-answer pairs in each record.
QA_PAIRS = 8


@dataclasses.dataclass
class ShapesConfig(tfds.core.BuilderConfig):
  """The scenes in a dataset; crowded scenes have no caption."""

  split: str = 'train'
  seed: int = 0
  jitter: int = 0
  count: int = 0
  crowded: bool = False


class Shapes(tfds.core.GeneratorBasedBuilder):
  """Builds the embedded world."""

  VERSION = tfds.core.Version('2.0.0')
  BUILDER_CONFIGS: ClassVar[list[ShapesConfig]] = []

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description='Scenes of colored shapes, generated from a seed.',
      features=tfds.features.FeaturesDict(
        {
          'id': tfds.features.Text(),
          'image': tfds.features.Image(
            shape=(shape_world.SIZE, shape_world.SIZE, 3)
          ),
          'caption': tfds.features.Text(),
          'tag': tfds.features.Text(),
          'questions': tfds.features.Text(),
          'qa': tfds.features.Text(),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {self.builder_config.split: self._generate_examples()}

  def _generate_examples(self):
    c = self.builder_config
    for index in range(c.count):
      if c.crowded:
        scene = scene_sampler.crowded_scene(c.split, c.seed, index, c.jitter)
        questions, qa = [], []
      else:
        scene = scene_sampler.sample_scene(c.split, c.seed, index, c.jitter)
        name = scene_sampler.scene_id(c.split, c.seed, index)
        questions = caption_questions.questions_of_caption(name, scene.caption)
        qa = self._qa(scene, index)
      yield (
        index,
        {
          'id': scene_sampler.scene_id(c.split, c.seed, index),
          'image': io.BytesIO(png_bytes(drawing.render(scene))),
          'caption': scene.caption,
          'tag': scene.tag,
          'questions': json.dumps(questions),
          'qa': json.dumps(qa),
        },
      )

  def _qa(self, scene, index):
    c = self.builder_config
    rng = np.random.default_rng([c.seed, 1, index])
    others = [
      scene_sampler.sample_scene(c.split, c.seed, int(rng.integers(c.count)))
      for _ in range(QA_PAIRS)
    ]
    return training_questions.question_answer_pairs(
      scene, others, rng, QA_PAIRS
    )


def png_bytes(image: np.ndarray) -> bytes:
  """Returns an image uint8[H, W, 3] as a PNG file."""
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, 'PNG', compress_level=1)
  return buffer.getvalue()


@functools.cache
def _temporary_folder() -> str:
  """Returns a folder that is removed when this process exits."""
  folder = temporary_folders.TemporaryFolder()
  atexit.register(folder.close)
  return str(folder.path)


def _generate(builder, data_dir) -> None:
  try:
    builder.download_and_prepare()
  except RuntimeError as error:
    if not write_faults.reason(error):
      raise
    raise OSError(
      f'scenes in {data_dir} could not be written: {write_faults.reason(error)}'
    ) from error


def data_source(data_dir: str, config: ShapesConfig):
  """Generates the dataset unless it exists; returns a random-access source.

  Args:
    data_dir: dataset folder. For a bucket, every process uses a temporary
      local folder.
    config: scenes, see `dataset_config`.

  Returns:
    A sequence of dicts: image uint8[64, 64, 3]; id, caption, tag, questions
    and qa as bytes or str (the last two are JSON).

  Raises:
    OSError: the dataset cannot be written.
  """
  # Its bars would appear beside those of the job.
  tfds.disable_progress_bar()
  act = processes.on_first_process
  if not storage.is_local(storage.path(data_dir)):
    # The seed determines the scenes, so all processes generate the same.
    data_dir, act = _temporary_folder(), lambda call: call()

  def builder():
    # The constructor reads existing files, so it runs before and after.
    return Shapes(data_dir=data_dir, config=config, file_format='array_record')

  # TFDS prints messages about downloads.
  with contextlib.redirect_stdout(io.StringIO()):
    act(lambda: _generate(builder(), data_dir))
  return builder().as_data_source(split=config.split)


def dataset_config(
  split: str, seed: int, count: int, jitter: int, crowded: bool = False
) -> ShapesConfig:
  """Returns a dataset config whose name contains all fields.

  Args:
    split: key in `shape_world.SPLITS`.
    seed: random seed for the scenes.
    count: number of scenes.
    jitter: largest object offset, in pixels.
    crowded: whether scenes are crowded and have no caption.
  """
  kind = 'crowded' if crowded else 'scenes'
  return ShapesConfig(
    name=f'{kind}_{split}_seed{seed}_n{count}_jitter{jitter}',
    split=split,
    seed=seed,
    count=count,
    jitter=jitter,
    crowded=crowded,
  )
