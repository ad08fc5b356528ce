"""A trained model goes back to the released PyTorch layout."""

import json

import jax
import numpy as np
import pytest
import tiny_jobs

from conversions import convert
from conversions import to_pytorch
from conversions import verify
from conversions.files import source
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import converted_model
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.runtime import terminal


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
    expected = to_pytorch.entries_of(kind, module)
    result = source.find(str(back)).tensors
    assert result.keys() == expected.keys()
    for name, entry in expected.items():
      np.testing.assert_array_equal(result[name].read(), entry.make())
      assert result[name].dtype == entry.dtype
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
  assert (record.dtype, record.max_text) == (
    'float32',
    tiny_jobs.LENGTHS.max_text,
  )
  again = converted_model.restore_model(str(tmp_path / 'again'), record)
  model, max_text = verify.load_or_convert('showo', run)
  assert max_text == tiny_jobs.LENGTHS.max_text
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
  assert (
    'must be of kind clip_vision, got a trained model'
    in capsys.readouterr().err
  )


def test_a_round_of_an_earlier_release_says_what_to_do(small, tmp_path):
  model = model_bundle.load_bundle(str(small[0])).model
  run = tmp_path / 'run'
  checkpoint.save(
    str(run / 'checkpoints' / '1'),
    jax.device_put(model),
    {'round': 1, 'seconds': 1.0},
  )
  (run / 'settings.json').write_text('{"play": {}}')
  with pytest.raises(ValueError, match='does not record its sizes.*--sizes'):
    job_model.locate(tiny_jobs.job_config(run))
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
  result = source.find(str(tmp_path / 'back')).tensors
  for name, entry in to_pytorch.entries_of('showo', model).items():
    np.testing.assert_array_equal(result[name].read(), entry.make())


def test_conversions_take_the_clip_variant(clip_variant, tmp_path):
  model, _ = verify.load_or_convert('showo', str(clip_variant))
  assert model.config.clip_width == 12
  assert (
    convert.main(
      ['showo', str(clip_variant), str(tmp_path / 'back'), '--reverse'],
      terminal.silent(),
    )
    == 0
  )
