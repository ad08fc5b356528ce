"""Weights are found in the folders that PyTorch programs write."""

import json
import shutil

import conversion_files
import pytest
import safetensors.numpy
import torch_files
import torch_weights

from conversions.files import layouts
from conversions.files import source

ARRAYS = torch_files.ARRAYS


def save(path, arrays=ARRAYS):
  """Writes arrays in the form that the file's name stands for."""
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == '.safetensors':
    torch_weights.write(path.parent, arrays, {})
    (path.parent / 'config.json').unlink()
    (path.parent / 'model.safetensors').rename(path)
  else:
    torch_files.save(path, arrays)
  return path


def lines_of(path):
  """Reads ARRAYS at a path; returns the lines that the reader says."""
  lines = []
  torch_files.assert_same(source.find(str(path), lines.append).tensors, ARRAYS)
  return lines


@pytest.mark.parametrize('name', layouts.IN_FOLDERS)
def test_each_layout_of_a_folder_is_read(tmp_path, name):
  if not name.endswith('.index.json'):
    save(tmp_path / name)
  else:
    # diffusers' index may name shards of any stem.
    stem, kind = name.removesuffix('.index.json').rsplit('.', 1)
    stem, places = stem.removeprefix('diffusion_'), {}
    for i, key in enumerate(ARRAYS, 1):
      file = f'{stem}-0000{i}-of-00004.{kind}'
      save(tmp_path / file, {key: ARRAYS[key]})
      places[key] = file
    (tmp_path / name).write_text(json.dumps({'weight_map': places}))
  assert lines_of(tmp_path) == []


@pytest.mark.parametrize(
  'name', ['weights.safetensors', 'pytorch_model.fp16.bin', 'last.ckpt']
)
def test_the_only_weights_are_taken_by_any_name(tmp_path, name):
  save(tmp_path / name)
  for other in ('optimizer.bin', 'training_args.bin', '._weights.safetensors'):
    (tmp_path / other).write_bytes(b'no weights')
  assert lines_of(tmp_path) == [f'{tmp_path}: taking {name}']


def test_several_weights_are_named(tmp_path):
  for name in ('a.safetensors', 'ema.safetensors'):
    save(tmp_path / name)
  torch_files.refused(tmp_path, 'give one of a.safetensors, ema.safetensors')


def test_the_newest_checkpoint_with_weights_is_taken(tmp_path):
  for step in (500, 1000, 20):
    save(tmp_path / f'checkpoint-{step}' / 'unwrapped_model/pytorch_model.bin')
  # A killed program leaves a step without weights.
  (tmp_path / 'checkpoint-1500' / 'unwrapped_model').mkdir(parents=True)
  (tmp_path / 'logs').mkdir()
  (line,) = lines_of(tmp_path)
  assert 'holds 4 checkpoints: taking checkpoint-1000 ' in line
  assert '(checkpoint-1500 without weights)' in line
  name = source.find(str(tmp_path)).name
  assert name == f'{tmp_path}/checkpoint-1000/unwrapped_model'
  assert lines_of(tmp_path / 'checkpoint-20') == [
    f'{tmp_path}/checkpoint-20: taking unwrapped_model'
  ]


def test_the_cache_of_the_hub_is_read(tmp_path):
  for revision in ('0' * 40, '1' * 40):
    save(tmp_path / 'snapshots' / revision / 'pytorch_model.bin')
  (tmp_path / 'refs').mkdir()
  (tmp_path / 'refs' / 'main').write_text('1' * 40)
  assert lines_of(tmp_path) == [f'{tmp_path}: taking revision {"1" * 40}']


def test_the_only_folder_with_weights_is_taken(tmp_path):
  save(tmp_path / 'magvitv2' / 'pytorch_model.bin')
  assert lines_of(tmp_path) == [f'{tmp_path}: taking magvitv2']
  save(tmp_path / 'showo' / 'pytorch_model.bin')
  torch_files.refused(tmp_path, '2 folders: give .*/magvitv2, or showo')


def test_the_choice_between_two_usual_names_is_mentioned(tmp_path):
  save(tmp_path / 'pytorch_model.bin')
  save(tmp_path / 'model.safetensors')
  assert lines_of(tmp_path) == [
    f'{tmp_path}: taking model.safetensors, not pytorch_model.bin'
  ]


def test_a_second_model_of_accelerate_is_mentioned(tmp_path):
  save(tmp_path / 'model_1.safetensors')
  save(tmp_path / 'model.safetensors')
  save(tmp_path / 'optimizer.bin')
  assert lines_of(tmp_path) == [
    f'{tmp_path}: taking model.safetensors, not model_1.safetensors'
  ]


def test_a_shared_tensor_that_safetensors_left_out_is_read(tmp_path):
  arrays = {**ARRAYS}
  name, kept = list(arrays)[:2]
  expected = {**arrays, name: arrays[kept]}
  del arrays[name]
  torch_weights.write(tmp_path, arrays, {})
  path = tmp_path / 'model.safetensors'
  tensors = safetensors.numpy.load_file(path)
  safetensors.numpy.save_file(tensors, path, {'format': 'pt', name: kept})
  lines = []
  torch_files.assert_same(
    source.find(str(path), lines.append).tensors, expected
  )
  assert lines == [f'{name} is {kept}, as {path} says']


def test_weights_beside_checkpoints_are_the_final_ones(tmp_path):
  other = {name: array + 1 for name, array in ARRAYS.items()}
  save(tmp_path / 'checkpoint-500/unwrapped_model/pytorch_model.bin', other)
  save(tmp_path / 'pytorch_model.bin')
  assert lines_of(tmp_path) == []


def test_a_config_may_lie_above_the_weights(tmp_path):
  save(tmp_path / 'run' / 'checkpoint-5' / 'pytorch_model.bin')
  (tmp_path / 'config.json').write_text('{"a": "of another model"}')
  assert source.find(str(tmp_path / 'run')).config == {}
  (tmp_path / 'run' / 'config.json').write_text('{"a": 1}')
  assert source.find(str(tmp_path / 'run')).config == {'a': 1}
  folder = tmp_path / 'run' / 'checkpoint-5'
  (folder / 'config.json').write_text('{"a": 2}')
  assert source.find(str(tmp_path / 'run')).config == {'a': 2}


def shards(folder, count=2):
  names = list(ARRAYS)
  for i in range(count):
    file = f'model-0000{i + 1}-of-0000{count}.safetensors'
    save(folder / file, {n: ARRAYS[n] for n in names[i::count]})
  return folder


def test_shards_need_no_index(tmp_path):
  assert lines_of(shards(tmp_path)) == [
    f'{tmp_path}: taking 2 shards, which have no index'
  ]
  (tmp_path / 'model-00001-of-00002.safetensors').unlink()
  torch_files.refused(tmp_path, 'must hold 2 shards, got model-00002-of-00002')


@pytest.mark.parametrize(
  'index, shard',
  [
    # transformers, diffusers, earlier releases of diffusers
    ('model.safetensors.index.fp16.json', 'model.fp16-{}.safetensors'),
    ('model.safetensors.fp16.index.json', 'model.fp16-{}.safetensors'),
    ('model.safetensors.index.fp16.json', 'model-{}.fp16.safetensors'),
    (None, 'model-{}.fp16.safetensors'),
  ],
)
def test_shards_of_a_variant_are_read(tmp_path, index, shard):
  places = {}
  for i, name in enumerate(ARRAYS, 1):
    file = shard.format(f'0000{i}-of-00004')
    save(tmp_path / file, {name: ARRAYS[name]})
    places[name] = file
  if index:
    (tmp_path / index).write_text(json.dumps({'weight_map': places}))
    assert lines_of(tmp_path) == [f'{tmp_path}: taking {index}']
    assert lines_of(tmp_path / index) == []
    shutil.copy(tmp_path / index, tmp_path / index.replace('fp16', 'bf16'))
    torch_files.refused(tmp_path, 'got 2 indexes of shards: give one of model')
  else:
    assert 'taking 4 shards' in lines_of(tmp_path)[0]


def test_a_tensor_in_two_shards_is_refused(tmp_path):
  shards(tmp_path)
  shutil.copy(
    tmp_path / 'model-00001-of-00002.safetensors',
    tmp_path / 'model-00002-of-00002.safetensors',
  )
  torch_files.refused(tmp_path, 'is in another shard, too')


@pytest.mark.parametrize(
  'file, output',
  [
    ('pytorch_model/mp_rank_00_model_states.pt', 'got an empty file'),
    ('global_step9/zero_pp_rank_0_mp_rank_00_model_states.pt', 'got an empty'),
    ('checkpoint-9/pytorch_model/mp_rank_00_model_states.pt', 'got an empty'),
    ('global_step9_universal/zero/a/fp32.pt', 'hold the files .*model_states'),
    ('pytorch_model_fsdp_0/__0_0.distcp', r'must hold a file \.metadata'),
    ('pytorch_model_fsdp_0/.metadata', 'got an empty file'),
    ('optimizer_0/.metadata', 'must hold one of .* got optimizer_0'),
    ('adapter_config.json', 'KIND lora'),
    ('_CHECKPOINT_METADATA', '--reverse'),
    ('checkpoints/1/_CHECKPOINT_METADATA', '--reverse'),
    ('model.gguf', 'got model.gguf$'),
    ('a/b/pytorch_model.bin', 'got a: give .*/a/b, which holds pytorch_model'),
    (
      'model.safetensors.part',
      'if model.safetensors.part is model.safetensors, rename it',
    ),
  ],
)
def test_other_forms_name_the_way_on(tmp_path, file, output):
  (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / file).touch()
  torch_files.refused(tmp_path, output)


def test_many_long_names_are_listed_at_once(tmp_path):
  """Comparing 10,000 names of 250 letters took 40 s."""
  for n in range(500):
    (tmp_path / f'{n:04d}{"model_pytorch" * 19}').touch()
  torch_files.refused(tmp_path, 'must hold one of .* got 0000model_pytorch')
  (tmp_path / 'model.safetensors.part').touch()
  torch_files.refused(tmp_path, 'if model.safetensors.part is model.safetens')


def test_weights_of_another_machine_are_named():
  torch_files.refused('gs://bucket/show-o', 'copy it to this machine')


def test_the_address_of_a_page_names_its_hub_id(tmp_path):
  address = 'https://huggingface.co/showlab/show-o/tree/main'
  torch_files.refused(address, 'got an address: give showlab/show-o')


def test_the_official_training_folder_converts(run, tmp_path):
  """accelerate's `checkpoint-N/unwrapped_model`, as train_pairdpo.py writes."""
  folder = tmp_path / 'out' / 'checkpoint-3000' / 'unwrapped_model'
  state = torch_weights.arrays('showo')
  torch_weights.write(folder, state, torch_weights.config('showo'))
  (folder / 'model.safetensors').unlink()
  torch_files.save(folder / 'pytorch_model.bin', state)
  (folder.parent / 'metadata.json').write_text('{"global_step": 3000}')
  assert run('showo', tmp_path / 'out', tmp_path / 'ours')[0] == 0
  assert run('showo', tmp_path / 'ours', tmp_path / 'back', '--reverse')[0] == 0
  assert conversion_files.bits(tmp_path / 'back') == conversion_files.bits(
    folder
  )
