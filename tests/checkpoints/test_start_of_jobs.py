"""Every job starts from what a training job wrote."""

import dataclasses
import json
import shutil

from flax import nnx
import jax
import numpy as np
from PIL import Image
import pytest
import tiny
import tiny_jobs
import tiny_world

import configs.curate
import configs.generate
import configs.learn
import configs.pretrain
import configs.understand
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler


def picture(folder):
  folder.mkdir()
  scene = scene_sampler.sample_scene('eval', 0, 0)
  Image.fromarray(drawing.render(scene)).save(folder / 'a.png')
  return str(folder)


def test_a_round_is_the_start_of_every_job(root, tmp_path):
  """By the run's folder alone: no tokenizer, no text, no sizes are named."""
  run, newest = root / 'run', str(root / 'run' / 'checkpoints' / '2')
  play = tiny_world.self_play(run)
  play = dataclasses.replace(
    play,
    fresh_inputs=False,
    unseen=0,
    play=dataclasses.replace(play.play, rounds=1),
  )
  jobs = {
    'generate': (generate, tiny_jobs.job_config(run)),
    'understand': (
      understand,
      tiny_jobs.configured(
        understand,
        configs.understand,
        run,
        # As long as the question for a caption, whose program it shares.
        questions=('what color is the large ring that is above it ?',),
        images=(picture(tmp_path / 'images'),),
      ),
    ),
    'curate': (curate, tiny_jobs.curating(run)),
    'learn': (learn, tiny_jobs.learning(run, tmp_path / 'curate')),
    'pair_dpo': (pair_dpo, play),
  }
  for name, (job, config) in jobs.items():
    console, lines = tiny_jobs.heard()
    job.run(config, str(tmp_path / name), console)
    assert f'init_from {run}: using {newest}' in lines, name
    claimed = json.loads((tmp_path / name / 'settings.json').read_text())
    assert claimed['base'] == {
      'checkpoint': trained_model.read_record(newest).sha256
    }
  for written in ('learn/model', 'pair_dpo/checkpoints/1'):
    record = trained_model.read_record(str(tmp_path / written))
    assert record.source == newest
    assert record.sizes == trained_model.read_record(newest).sizes


def test_nothing_of_an_earlier_model_is_taken_for_a_new_one(small, tmp_path):
  """learn, generate, learn again with another rate, generate again."""
  base, pairs, first = small
  run = tmp_path / 'learn'
  shutil.copytree(first, run)
  generate.run(
    tiny_jobs.job_config(run), str(tmp_path / 'images'), terminal.silent()
  )
  before = (tmp_path / 'images' / 'images.jsonl').read_bytes()
  shutil.rmtree(run)
  learn.run(
    tiny_jobs.learning(base, pairs, lr=3e-2), str(run), terminal.silent()
  )
  with pytest.raises(
    ValueError, match='other settings: config.base.checkpoint'
  ):
    generate.run(
      tiny_jobs.job_config(run), str(tmp_path / 'images'), terminal.silent()
    )
  assert (tmp_path / 'images' / 'images.jsonl').read_bytes() == before


@pytest.mark.parametrize(
  'job, config',
  [
    (
      understand,
      lambda path: tiny_jobs.configured(understand, configs.understand, path),
    ),
    (curate, lambda path: tiny_jobs.curating(path)),
    (learn, lambda path: tiny_jobs.learning(path, 'pairs')),
    (pair_dpo, lambda path: tiny_world.self_play(path)),
  ],
  ids=['understand', 'curate', 'learn', 'pair_dpo'],
)
def test_no_job_that_reads_images_takes_the_clip_variant_without_its_tower(
  clip_variant, small, tmp_path, job, config
):
  config = dataclasses.replace(
    config(clip_variant),
    tokenizer=str(small[0]),
    text=str(small[0] / 'text.json'),
  )
  with pytest.raises(ValueError, match='reads CLIP features .clip_width 12'):
    job.run(config, str(tmp_path / 'run'), terminal.silent())
  assert not (tmp_path / 'run').exists()


def pretraining_of(base, tmp_path, **changes):
  config = configs.pretrain.get_config()
  del config.job
  config.update(
    {
      'tokenizer': str(base),
      'scenes': 12,
      'evaluated': 2,
      'export': str(tmp_path / 'export'),
      'log_every': 1,
      'save_every': 0,
      'sampler': tiny_jobs.SAMPLER,
    }
    | changes
  )
  config.decoder.update({'width': 16, 'layers': 1, 'mlp': 16, 'unroll': 1})
  config.optim.update({'steps': 2})
  config.batches.update({'t2i': 8, 'mmu': 8, 'lm': 8})
  return settings.build(pretrain.Settings, config.to_dict())


def test_pretraining_writes_and_takes_the_same_form(small, tmp_path):
  base, _, learned = small
  run = tmp_path / 'run'
  pretrain.run(pretraining_of(base, tmp_path), str(run), terminal.silent())
  written = trained_model.load_parts(str(run / 'model'))
  exported = model_bundle.load_bundle(str(tmp_path / 'export'))
  for a, b in (
    (written.model, exported.model),
    (written.tokenizer, exported.tokenizer),
  ):
    jax.tree.map(np.testing.assert_array_equal, a, b)
  console, lines = tiny_jobs.heard()
  assert job_model.locate(tiny_jobs.job_config(run), console) == run / 'model'
  # On from a run, with the image tokenizer of a run.
  console, lines = tiny_jobs.heard()
  pretrain.run(
    pretraining_of(
      learned, tmp_path, init_from=str(learned), export=str(tmp_path / 'again')
    ),
    str(tmp_path / 'on'),
    console,
  )
  taken = f'{learned}: using {learned / "model"}'
  lines = [line for line in lines if 'using' in line]
  assert lines == [f'tokenizer {taken}', f'init_from {taken}']
  assert trained_model.read_record(
    str(tmp_path / 'on' / 'model')
  ).source == str(learned)


def test_pretraining_does_not_go_on_from_the_clip_variant(
  clip_variant, small, tmp_path
):
  config = pretraining_of(small[0], tmp_path, init_from=str(clip_variant))
  with pytest.raises(ValueError, match='reads CLIP features'):
    pretrain.run(config, str(tmp_path / 'run'), terminal.silent())
  assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('form', ['bundle', 'trained'])
def test_a_model_that_was_computed_by_cudnn_starts_a_job_without_it(
  small, tmp_path, form
):
  parts = model_bundle.load_bundle(str(small[0]))
  config = parts.model.config
  decoder = dataclasses.replace(
    config.decoder, attention='cudnn', dtype='bfloat16', unroll=2
  )
  model = nnx.eval_shape(
    lambda: showo.ShowO(
      dataclasses.replace(config, decoder=decoder), rngs=nnx.Rngs(0)
    )
  )
  model = jax.tree.unflatten(
    jax.tree.structure(model), jax.tree.leaves(parts.model)
  )
  path = str(tmp_path / 'model')
  if form == 'bundle':
    model_bundle.save_tokenizer(path, parts.tokenizer)
    model_bundle.save_model(path, model, parts.text, parts.lengths, parts.grid)
  else:
    trained_model.save_model(
      path, dataclasses.replace(parts, model=model), '', {}
    )
  read = initial_model.open(path).load(None, tiny.mesh(1, 1)).model
  assert (read.config.decoder.attention, read.config.decoder.unroll) == (
    'auto',
    2,
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.tree.leaves(read),
    jax.tree.leaves(parts.model),
  )
  rows = generate.run(
    tiny_jobs.job_config(path), str(tmp_path / 'images'), terminal.silent()
  )
  assert len(rows) == 1


def test_a_bundle_that_names_cudnn_of_an_earlier_release_is_read(
  small, tmp_path
):
  """Without the dtype that cuDNN needs, which bundles never held."""
  path = tmp_path / 'base'
  shutil.copytree(small[0], path)
  record = json.loads((path / 'config.json').read_text())
  record['decoder'] |= {'attention': 'cudnn', 'remat': False}
  (path / 'config.json').write_text(json.dumps(record))
  assert initial_model.open(path).config().decoder.attention == 'auto'
