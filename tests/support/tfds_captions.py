"""A small TFDS dataset with COCO's features, in array_record."""

import contextlib
import io

import data_forms
import numpy as np
import tensorflow_datasets as tfds

from hermesflow_jax.data import record_files


class SmallCaptions(tfds.core.GeneratorBasedBuilder):
  """Three pictures with two captions each."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self,
      features=tfds.features.FeaturesDict(
        {
          'image': tfds.features.Image(shape=(None, None, 3)),
          'image/id': tfds.features.Scalar(np.int64),
          'captions': tfds.features.Sequence(
            {'id': np.int64, 'text': tfds.features.Text()}
          ),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'val': self._generate_examples()}

  def _generate_examples(self):
    for n, (name, caption) in enumerate(
      zip(data_forms.IDS, data_forms.CAPTIONS)
    ):
      texts = [caption, f'{caption}, a second text']
      yield (
        n,
        {
          'image': io.BytesIO(data_forms.png(n)),
          'image/id': int(name),
          'captions': [{'id': n, 'text': text} for text in texts],
        },
      )


def write(root) -> record_files.Source:
  """Prepares the dataset; returns it by name."""
  tfds.disable_progress_bar()
  builder = SmallCaptions(data_dir=str(root), file_format='array_record')
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare()
  return record_files.Source('tfds:small_captions@val', str(root))
