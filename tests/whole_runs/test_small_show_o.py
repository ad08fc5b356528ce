"""The small Show-o and its settings, at the vocabulary of Show-o."""

import contextlib
import shlex

import numpy as np
import pytest
import small_show_o
import small_walk

import configs.pair_dpo
from conversions import convert
from conversions.files import source
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.runtime import settings
import main


def test_the_case_is_the_same_for_the_same_seed(case, tmp_path):
  small_show_o.write_models(tmp_path, case.codes, 'bfloat16', seed=0)
  for name in ('showo', 'magvitv2'):
    first, second = (
      source.find(str(folder / name)).tensors
      for folder in (case.folder / 'small', tmp_path)
    )
    assert first.keys() == second.keys()
    for key, tensor in first.items():
      np.testing.assert_array_equal(tensor.read(), second[key].read())


def test_pytorch_reads_the_case(case):
  torch = pytest.importorskip('torch')
  folder = case.folder / 'small' / 'showo'
  state = torch.load(folder / 'pytorch_model.bin', weights_only=True)
  tensor = state['showo.model.embed_tokens.weight']
  assert tensor.dtype == torch.bfloat16
  assert tuple(tensor.shape) == (58_498, 32)
  bits = tensor.view(torch.int16).numpy()
  actual = source.find(str(folder)).tensors['showo.model.embed_tokens.weight']
  np.testing.assert_array_equal(bits, actual.read().view(np.int16))


def test_commands_of_the_page_can_be_read():
  page = (small_walk.ROOT / 'docs' / 'walk.md').read_text()
  commands = [
    shlex.split(line)
    for line in page.replace('\\\n', '').splitlines()
    if line.startswith('python ')
  ]
  jobs = []
  for _, *arguments in commands:
    if arguments[:2] == ['-m', 'conversions.convert']:
      convert.command_line().parse_args(arguments[2:])
    elif arguments[0] == 'main.py':
      arguments[1] = arguments[1].replace(
        '=configs', f'={small_walk.ROOT}/configs'
      )
      values, *_ = main.options(arguments)
      job = main.job_of(values.pop('job'))
      settings.build(job.Settings, values)
      jobs.append(job)
    else:
      assert arguments[0] == 'tests/small_show_o.py'
  assert len(set(jobs)) == 5


def leaves(values: dict, name: str = '') -> dict:
  """Returns the values of nested settings by dotted name."""
  flat = {}
  for key, value in values.items():
    if isinstance(value, dict):
      flat |= leaves(value, f'{name}{key}.')
    else:
      flat[f'{name}{key}'] = value
  return flat


@pytest.mark.parametrize('pixels', [256, 512])
def test_small_settings_are_show_os_but_for_sizes_and_counts(pixels):
  small, show_o = (
    leaves(configs.pair_dpo.get_config(f'{name}_{pixels}').to_dict())
    for name in ('small', 'show_o')
  )
  assert small.keys() == show_o.keys()
  differences = {name for name in small if small[name] != show_o[name]}
  sizes = {name for name in differences if name.startswith('sizes.')}
  assert not any('vocab' in name or 'dtype' in name for name in sizes)
  assert differences - sizes == {
    'init_from',
    'tokenizer',
    'text',
    'missing',
    'inputs',
    'held_out',
    'gallery',
    'files.inputs.annotations',
    'files.inputs.images',
    'files.held_out.annotations',
    'files.held_out.images',
    'play.rounds',
    'play.images',
    'play.curation_sampler.steps',
    'play.evaluation_sampler.steps',
    'play.rules.least_win',
    'play.optim.lr',
    'play.optim.steps',
    'play.batch',
    # Text encoders: those of the small case are random.
    'play.caption_scorer',
    'play.answer_matcher',
    'play.log_every',
    'play.save_every',
    'play.sample_every',
  }


def test_the_converted_model_has_real_vocabulary_sizes(converted):
  record = converted_model.read_record(str(converted.base), 'showo')
  vocab = record.sizes.vocab
  assert (vocab.text_size, vocab.codebook_size) == (50_295, 8_192)
  assert (vocab.size, vocab.mask) == (58_498, 58_497)
  assert (record.sizes.image_tokens, record.dtype) == (
    converted.codes,
    'bfloat16',
  )
  assert converted.text.size == vocab.text_size


def test_the_missing_case_is_named_with_its_command(tmp_path, capfd):
  with contextlib.chdir(tmp_path):
    code = main.main(
      ['main.py', f'--config={small_walk.ROOT}/configs/pair_dpo.py:small_512']
    )
  error = capfd.readouterr().err
  assert code == 2 and error.count('\n') == 1
  assert 'python tests/small_show_o.py small --codes 1024' in error
