"""What training writes is the start of every job, and goes back to PyTorch.

The model has the form of the released ones: bfloat16 weights in the official
layout, a byte-level BPE in which a word differs from the same word after a
space, and a MAGVIT-v2 of its own.
"""

import dataclasses
import json
import shutil

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import tiny
import tiny_world
import tokenizers
import torch_weights

import configs.curate
import configs.generate
import configs.learn
import configs.pretrain
import configs.understand
from conversions import convert
from conversions import to_pytorch
from conversions import verify
from conversions.files import source
from conversions.files import tensors
from conversions.tables import magvit_table
from conversions.tables import showo_table
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import fingerprints
from hermesflow_jax.checkpoints import initial_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs import curate
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs import learn
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs import pretrain
from hermesflow_jax.jobs import understand
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.models import magvit
from hermesflow_jax.models import magvit_config
from hermesflow_jax.models import phi
from hermesflow_jax.models import showo
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sequences import text_tokenizer
from hermesflow_jax.sequences import token_rows
from hermesflow_jax.sequences import vocabulary
from hermesflow_jax.shapes import caption_questions
from hermesflow_jax.shapes import drawing
from hermesflow_jax.shapes import scene_sampler

MAGVIT = magvit_config.MagvitConfig(
  ch=1,
  encoder_ch_mult=(1,) * 5,
  decoder_ch_mult=(1,) * 5,
  encoder_num_res_blocks=(1,) * 5,
  decoder_num_res_blocks=(1,) * 5,
  z_channels=5,
  num_groups=1,
)
LENGTHS = token_rows.Lengths(max_text=40, mmu=120, prompt=100, lm=40, reply=24)
DECODER = phi.PhiConfig(width=16, layers=2, heads=2, mlp=16, dtype='bfloat16')


def write_bpe(folder):
  """Writes a byte-level BPE of the world's words, in the form of Phi-1.5's."""
  core = tokenizers.Tokenizer(tokenizers.models.BPE())
  core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
    add_prefix_space=False
  )
  core.decoder = tokenizers.decoders.ByteLevel()
  lines = [
    ' '.join(caption_questions.WORDS),
    text_tokenizer.CAPTION_PROMPT,
    text_tokenizer.user_turn('what color is it ?'),
  ]
  core.train_from_iterator(
    lines * 4,
    tokenizers.trainers.BpeTrainer(
      vocab_size=400,
      special_tokens=[text_tokenizer.EOS],
      show_progress=False,
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    ),
  )
  folder.mkdir()
  core.save(str(folder / 'tokenizer.json'))
  return text_tokenizer.load(str(folder / 'tokenizer.json'))


def write_base(root):
  """Writes `model`, `images` and `text`; returns the sizes."""
  text = write_bpe(root / 'text')
  sizes = initial_model.Sizes(
    vocabulary.Vocab(text.size, MAGVIT.codebook_size, text.eos),
    DECODER,
    MAGVIT,
    LENGTHS,
    (4, 4),
  )
  model = torch_weights.noisy(
    showo.ShowO(showo.ShowOConfig(sizes.vocab, DECODER, 16), rngs=nnx.Rngs(0)),
    0,
  )
  images = torch_weights.noisy(magvit.Magvit(MAGVIT, nnx.Rngs(1)), 1)
  for kind, name, state, record in (
    (
      'showo',
      'model',
      showo_table.to_torch(model),
      showo_table.official(model.config, LENGTHS.max_text),
    ),
    (
      'magvitv2',
      'images',
      magvit_table.to_torch(images),
      magvit_table.official(MAGVIT),
    ),
  ):
    if kind == 'showo':
      state = {k: v.astype(tensors.BFLOAT16) for k, v in state.items()}
    torch_weights.write(root / f'{name}_src', state, record)
    assert (
      convert.main(
        [kind, str(root / f'{name}_src'), str(root / name)], terminal.silent()
      )
      == 0
    )
  return sizes


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A folder with the released parts and `run`, a self-play of two rounds."""
  root = tmp_path_factory.mktemp('world')
  sizes = write_base(root)
  config = dataclasses.replace(
    tiny_world.self_play(root),
    init_from=str(root / 'model'),
    tokenizer=str(root / 'images'),
    text=str(root / 'text'),
    sizes=sizes,
  )
  # How `text` is often given: a file.
  config = dataclasses.replace(
    config, text=str(root / 'text' / 'tokenizer.json')
  )
  pair_dpo.run(config, str(root / 'run'), terminal.silent())
  return root


def heard():
  """A console, and the list of what it says."""
  lines = []
  return terminal.Console(lines.append, lambda label: lambda x: x), lines


def configured(job, config, init_from, **changes):
  """Settings of a job that starts from a model, and says nothing else of it."""
  values = config.get_config()
  del values.job
  values.update({'init_from': str(init_from)} | changes)
  return settings.build(job.Settings, values.to_dict())


SAMPLER = {
  'steps': 2,
  'guidance': 1.0,
  'temperature': 1.0,
  'schedule': 'cosine',
}


def job_config(init_from, **changes):
  return configured(
    generate,
    configs.generate,
    init_from,
    **{'prompts': ('a red ring',), 'each': 1, 'sampler': SAMPLER} | changes,
  )


def curating(init_from):
  config = configs.curate.get_config()
  config = configured(
    curate,
    configs.curate,
    init_from,
    inputs=6,
    shard=6,
    images=3,
    captions=config.to_dict()['captions'][-2:],
    sampler=SAMPLER,
  )
  return dataclasses.replace(
    config, rules=dataclasses.replace(config.rules, least_win=0.0)
  )


def learning(init_from, pairs, lr=1e-2):
  config = configured(
    learn,
    configs.learn,
    init_from,
    pairs=str(pairs),
    both=False,
    batch=8,
    epochs=0.0,
    log_every=1,
  )
  return dataclasses.replace(
    config, optim=dataclasses.replace(config.optim, lr=lr, steps=2)
  )


def picture(folder):
  folder.mkdir()
  scene = scene_sampler.sample_scene('eval', 0, 0)
  Image.fromarray(drawing.render(scene)).save(folder / 'a.png')
  return str(folder)


def test_a_round_is_the_start_of_every_job(root, tmp_path):
  """By the run's folder alone: no tokenizer, no text, no sizes are named."""
  run, newest = root / 'run', str(root / 'run' / 'checkpoints' / '2')
  play = dataclasses.replace(
    tiny_world.self_play(run),
    play=dataclasses.replace(tiny_world.self_play(run).play, rounds=1),
  )
  jobs = {
    'generate': (generate, job_config(run)),
    'understand': (
      understand,
      configured(
        understand,
        configs.understand,
        run,
        questions=('what ?',),
        images=(picture(tmp_path / 'images'),),
      ),
    ),
    'curate': (curate, curating(run)),
    'learn': (learn, learning(run, tmp_path / 'curate')),
    'pair_dpo': (pair_dpo, play),
  }
  for name, (job, config) in jobs.items():
    console, lines = heard()
    job.run(config, str(tmp_path / name), console)
    assert f'init_from {run}: taking {newest}' in lines, name
    claimed = json.loads((tmp_path / name / 'settings.json').read_text())
    assert claimed['base'] == {
      'checkpoint': trained_model.read_record(newest).sha256
    }
  for written in ('learn/model', 'pair_dpo/checkpoints/1'):
    record = trained_model.read_record(str(tmp_path / written))
    assert record.source == newest
    assert record.sizes == trained_model.read_record(newest).sizes


def test_a_round_holds_all_parts_as_they_were(root):
  parts = trained_model.load_parts(
    str(root / 'run' / 'checkpoints' / '1'), tiny.mesh(2, 2)
  )
  text = text_tokenizer.load(str(root / 'text' / 'tokenizer.json'))
  for line in ('red', ' red', 'a red ring\n  and\ttwo', 'naïve ☃'):
    assert parts.text.encode([line]) == text.encode([line])
    assert parts.text.decode(text.encode([line])[0]) == line
  assert text.encode(['red']) != text.encode([' red'])
  images = initial_model.load_tokenizer(str(root / 'images'), None)
  jax.tree.map(np.testing.assert_array_equal, parts.tokenizer, images)
  assert (parts.lengths, parts.grid) == (LENGTHS, (4, 4))
  assert parts.model.config.decoder == DECODER
  assert {a.dtype for a in jax.tree.leaves(parts.model)} == {
    jnp.dtype('float32')
  }


@pytest.mark.parametrize(
  'where', ['run', 'run/checkpoints/1', 'run/checkpoints/2']
)
def test_a_round_goes_back_in_float32_without_sizes(root, tmp_path, where):
  """Though the files it began from were bfloat16."""
  model = {'run': 'run/checkpoints/2'}.get(where, where)
  parts = trained_model.load_parts(str(root / model))
  for kind, module in (('showo', parts.model), ('magvitv2', parts.tokenizer)):
    back = tmp_path / kind
    assert (
      convert.main(
        [kind, str(root / where), str(back), '--reverse'], terminal.silent()
      )
      == 0
    )
    # The name that the official loaders read.
    assert (back / 'pytorch_model.safetensors').is_file()
    wanted = to_pytorch.entries_of(kind, module)
    found = source.find(str(back)).tensors
    assert found.keys() == wanted.keys()
    for name, entry in wanted.items():
      np.testing.assert_array_equal(found[name].read(), entry.make())
      assert found[name].dtype == entry.dtype
  first, again = (
    json.loads((folder / 'config.json').read_text())
    for folder in (root / 'model_src', tmp_path / 'showo')
  )
  assert again == first
  moved = source.find(str(tmp_path / 'showo')).tensors
  base = source.find(str(root / 'model_src')).tensors
  assert (
    np.mean(
      [
        np.mean(moved[n].read() != base[n].read().astype(np.float32))
        for n in base
      ]
    )
    > 0.9
  )


def test_what_went_back_converts_again(root, tmp_path):
  run = str(root / 'run')
  for command in (
    ['showo', run, str(tmp_path / 'back'), '--reverse'],
    ['showo', str(tmp_path / 'back'), str(tmp_path / 'again')],
  ):
    assert convert.main(command, terminal.silent()) == 0
  record = converted_model.read_record(str(tmp_path / 'again'), 'showo')
  assert (record.dtype, record.max_text) == ('float32', LENGTHS.max_text)
  again = converted_model.restore_model(str(tmp_path / 'again'), record)
  model, max_text = verify.load_model('showo', run)
  assert max_text == LENGTHS.max_text
  # The round computed in bfloat16; what is compared with PyTorch does not.
  whole = trained_model.load_parts(
    str(root / 'run' / 'checkpoints' / '2')
  ).model
  assert whole.config.decoder.dtype == 'bfloat16'
  assert model.config == again.config
  assert model.config.decoder.dtype == 'float32'
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.tree.leaves(again),
    jax.tree.leaves(model),
  )


def test_clip_is_no_part_of_a_trained_model(root, tmp_path, capsys):
  command = ['clip_vision', str(root / 'run'), str(tmp_path / 'x'), '--reverse']
  assert convert.main(command, terminal.silent()) == 2
  assert 'is a trained model, wanted clip_vision' in capsys.readouterr().err


def with_sizes(root, **changes):
  """Settings of a variant whose config names parts, from the trained model."""
  config = job_config(root / 'run', sizes=None)
  sizes = initial_model.Sizes(
    trained_model.read_record(
      str(root / 'run' / 'checkpoints' / '2')
    ).sizes.vocab,
    DECODER,
    MAGVIT,
    LENGTHS,
    (4, 4),
  )
  return dataclasses.replace(
    config,
    **{
      'sizes': sizes,
      'tokenizer': 'checkpoints/magvitv2',
      'text': 'checkpoints/phi-1_5',
      'missing': 'Convert it.',
    }
    | changes,
  )


@pytest.mark.parametrize(
  'names',
  [
    ('nowhere', 'nowhere'),
    ('', ''),
    ('images', 'text/tokenizer.json'),
    ('run', 'text/tokenizer.json'),
  ],
)
def test_a_trained_model_has_its_own_tokenizers(root, names):
  """Those that settings name may be missing, and are the same where not."""
  tokenizer, text = (str(root / n) if n else '' for n in names)
  config = with_sizes(root, tokenizer=tokenizer, text=text)
  parts = job_model.load_parts(
    config, job_model.locate(config), tiny.mesh(1, 1)
  )
  assert parts.tokenizer.config == MAGVIT and parts.text.size == 400


@pytest.mark.parametrize('setting', ['tokenizer', 'text'])
def test_other_tokenizers_beside_a_trained_model_are_refused(
  root, tmp_path, setting
):
  other = str(tmp_path / 'other')
  if setting == 'tokenizer':
    model_bundle.save_tokenizer(other, magvit.Magvit(MAGVIT, nnx.Rngs(7)))
  else:
    other += '.json'
    words = json.loads((root / 'text' / 'tokenizer.json').read_text())
    merges = words['model']['merges']
    # As many tokens with the same names, put together in another order.
    merges[0], merges[-1] = merges[-1], merges[0]
    with open(other, 'w', encoding='utf-8') as file:
      json.dump(words, file)
  config = with_sizes(root, **{setting: other})
  with pytest.raises(ValueError, match=f'{setting} must be the .* got {other}'):
    job_model.load_parts(config, job_model.locate(config), tiny.mesh(1, 1))


def test_sizes_that_are_not_those_of_a_trained_model_are_refused(root):
  config = with_sizes(root)
  sizes = dataclasses.replace(
    config.sizes, decoder=dataclasses.replace(DECODER, mlp=32)
  )
  config = dataclasses.replace(config, sizes=sizes)
  with pytest.raises(ValueError, match='decoder is .* wanted'):
    job_model.load_parts(config, job_model.locate(config), tiny.mesh(1, 1))


@pytest.mark.parametrize('name', ['model', 'run'])
def test_the_images_of_a_job_may_have_another_size(root, name):
  """As in the official training, which begins at 512 px from 256."""
  sizes = dataclasses.replace(with_sizes(root).sizes, grid=(4, 8))
  config = with_sizes(
    root,
    init_from=str(root / name),
    sizes=sizes,
    tokenizer=str(root / 'images'),
    text=str(root / 'text/tokenizer.json'),
  )
  console, lines = heard()
  path = job_model.locate(config, console)
  assert lines[-1] == (
    f'{path} was trained with 16 tokens an image; this run has 32'
  )
  parts = job_model.load_parts(config, path, tiny.mesh(1, 1))
  assert parts.model.config.image_tokens == 32 and parts.grid == (4, 8)


def test_the_image_tokenizer_of_a_run_is_read(root):
  found = initial_model.load_tokenizer(str(root / 'run'), tiny.mesh(2, 1))
  images = initial_model.load_tokenizer(str(root / 'images'), None)
  jax.tree.map(np.testing.assert_array_equal, found, images)


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """(a bundle, the pairs of a curation by it, a learned model's run)."""
  root = tmp_path_factory.mktemp('small')
  base = tiny_world.bundle(root / 'base')
  curate.run(curating(base), str(root / 'pairs'), terminal.silent())
  learn.run(
    learning(base, root / 'pairs'), str(root / 'learn'), terminal.silent()
  )
  return base, root / 'pairs', root / 'learn'


def test_nothing_of_an_earlier_model_is_taken_for_a_new_one(small, tmp_path):
  """learn, generate, learn again with another rate, generate again."""
  base, pairs, first = small
  run = tmp_path / 'learn'
  shutil.copytree(first, run)
  generate.run(job_config(run), str(tmp_path / 'images'), terminal.silent())
  before = (tmp_path / 'images' / 'images.jsonl').read_bytes()
  shutil.rmtree(run)
  learn.run(learning(base, pairs, lr=3e-2), str(run), terminal.silent())
  with pytest.raises(
    ValueError, match='other settings: config.base.checkpoint'
  ):
    generate.run(job_config(run), str(tmp_path / 'images'), terminal.silent())
  assert (tmp_path / 'images' / 'images.jsonl').read_bytes() == before


def test_the_identity_is_of_what_was_written(small, tmp_path):
  parts = trained_model.load_parts(str(small[2] / 'model'))
  wanted = trained_model.read_record(str(small[2] / 'model')).sha256

  def identity(name, **changes):
    path = str(tmp_path / name)
    trained_model.save_model(
      path, dataclasses.replace(parts, **changes), 'elsewhere', {'a': 1}
    )
    assert trained_model.read_record(path).notes == {'a': 1}
    return trained_model.read_record(path).sha256

  assert identity('same') == wanted
  model = jax.tree.map(lambda a: a + 0, parts.model)
  model.head.bias[...] = model.head.bias[...].at[0].add(1e-6)
  tokenizer = jax.tree.map(lambda a: a + 0, parts.tokenizer)
  tokenizer.encoder.conv_in.kernel[...] *= 1.001
  text = text_tokenizer.word_level_tokenizer(['other'])
  different = {
    identity('model', model=model),
    identity('tokenizer', tokenizer=tokenizer),
    identity('text', text=text),
    identity('lengths', lengths=dataclasses.replace(parts.lengths, reply=9)),
  }
  assert len(different) == 4 and wanted not in different


def test_a_trained_model_that_is_there_is_not_written_over(small, tmp_path):
  parts = trained_model.load_parts(str(small[2] / 'model'))
  trained_model.save_model(str(tmp_path / 'a'), parts, '', {})
  with pytest.raises(ValueError, match='exists'):
    trained_model.save_model(str(tmp_path / 'a'), parts, '', {})


# Orbax leaves unfinished reads behind when one of them fails.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_damage_of_either_part_is_damage_of_the_model(small, tmp_path):
  shutil.copytree(small[2] / 'model', tmp_path / 'copy')
  path = str(tmp_path / 'copy')
  parts, record = trained_model.load_parts(path), checkpoint.read_metadata(path)
  tokenizer = jax.tree.map(lambda a: a + 0, parts.tokenizer)
  tokenizer.encoder.conv_in.kernel[...] *= 1.001
  sums = checkpoint.array_hashes(path)
  player = dataclasses.replace(
    job_model.place_on_mesh(
      job_config(path), parts, tiny.mesh(1, 1), terminal.silent()
    )
  )
  checkpoint.remove(path)
  # The bits of one part, the sums of another.
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(fingerprints, 'fingerprint', lambda tree: sums)
    checkpoint.save(
      path, {'model': parts.model, 'tokenizer': tokenizer}, record
    )
  with pytest.raises(read_errors.Damaged, match='tokenizer/encoder/conv_in'):
    trained_model.load_parts(path)
  with pytest.raises(read_errors.Damaged, match='tokenizer/encoder/conv_in'):
    trained_model.restore_parts(path, player)


def test_a_round_of_an_earlier_release_says_what_to_do(small, tmp_path):
  model = model_bundle.load_bundle(str(small[0])).model
  run = tmp_path / 'run'
  checkpoint.save(
    str(run / 'checkpoints' / '1'),
    jax.device_put(model),
    {'round': 1, 'seconds': 1.0},
  )
  (run / 'settings.json').write_text('{"play": {}}')
  with pytest.raises(ValueError, match='does not say its sizes.*--sizes'):
    job_model.locate(job_config(run))
  assert (
    convert.main(
      [
        'showo',
        str(run),
        str(tmp_path / 'back'),
        '--reverse',
        '--sizes',
        str(small[2]),
      ],
      terminal.silent(),
    )
    == 0
  )
  found = source.find(str(tmp_path / 'back')).tensors
  for name, entry in to_pytorch.entries_of('showo', model).items():
    np.testing.assert_array_equal(found[name].read(), entry.make())


def test_what_learn_wrote_in_an_earlier_release_has_its_own_identity(
  root, tmp_path
):
  """It was stamped with the sums and the type of the files of its start."""
  record = converted_model.read_record(str(root / 'model'), 'showo')
  assert record.dtype == 'bfloat16'
  model = converted_model.restore_model(str(root / 'model'), record)
  found = []
  for name in 'ab':
    run = tmp_path / name
    run.mkdir()
    (run / 'settings.json').write_text('{"pairs": {}}')
    (run / 'results.json').write_text('{}')
    model = jax.tree.map(lambda a: a * 1.01, model)
    checkpoint.save(str(run / 'model'), model, record.meta())
    found.append(converted_model.read_record(str(run / 'model'), 'showo'))
  assert [each.dtype for each in found] == ['float32'] * 2
  first, second = (each.sha256 for each in found)
  assert first != second and record.sha256 not in (first, second)


@pytest.fixture(scope='module')
def clip_variant(tmp_path_factory):
  """A converted checkpoint of the CLIP variant."""
  root = tmp_path_factory.mktemp('clip')
  src = torch_weights.write(
    root / 'src',
    torch_weights.arrays('with_clip'),
    torch_weights.config('with_clip'),
  )
  assert (
    convert.main(['showo', str(src), str(root / 'ours')], terminal.silent())
    == 0
  )
  return root / 'ours'


@pytest.mark.parametrize(
  'job, config',
  [
    (generate, lambda path: job_config(path)),
    (understand, lambda path: configured(understand, configs.understand, path)),
    (curate, lambda path: curating(path)),
    (learn, lambda path: learning(path, 'pairs')),
    (pair_dpo, lambda path: tiny_world.self_play(path)),
  ],
  ids=['generate', 'understand', 'curate', 'learn', 'pair_dpo'],
)
def test_no_job_takes_the_clip_variant(
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


def test_conversions_take_the_clip_variant(clip_variant, tmp_path):
  model, _ = verify.load_model('showo', str(clip_variant))
  assert model.config.clip_width == 12
  assert (
    convert.main(
      ['showo', str(clip_variant), str(tmp_path / 'back'), '--reverse'],
      terminal.silent(),
    )
    == 0
  )


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
      'sampler': SAMPLER,
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
  console, lines = heard()
  assert job_model.locate(job_config(run), console) == run / 'model'
  # On from a run, with the image tokenizer of a run.
  console, lines = heard()
  pretrain.run(
    pretraining_of(
      learned, tmp_path, init_from=str(learned), export=str(tmp_path / 'again')
    ),
    str(tmp_path / 'on'),
    console,
  )
  taken = f'{learned}: taking {learned / "model"}'
  lines = [line for line in lines if 'taking' in line]
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
