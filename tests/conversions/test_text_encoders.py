"""Text encoders keep their tokenizers, and are compared layer by layer."""

import numpy as np
import pytest
import text_encoders
import torch_weights

from conversions import convert
from hermesflow_jax.checkpoints import text_encoder_folder
from hermesflow_jax.runtime import terminal

KINDS = text_encoder_folder.KINDS


@pytest.mark.parametrize('kind', KINDS)
def test_the_tokenizer_goes_along_both_ways(tmp_path, kind):
  source = text_encoders.write(tmp_path / 'src', kind)
  for arguments in (
    [kind, str(source), str(tmp_path / 'ours')],
    [kind, str(tmp_path / 'ours'), str(tmp_path / 'back'), '--reverse'],
    [kind, str(tmp_path / 'ours'), str(tmp_path / 'back'), '--reverse']
    + ['--overwrite'],
  ):
    assert convert.main(arguments, terminal.silent()) == 0
  for name in ('tokenizer.json', 'tokenizer_config.json'):
    content = (source / name).read_bytes()
    assert (tmp_path / 'ours' / name).read_bytes() == content
    assert (tmp_path / 'back' / name).read_bytes() == content


def test_weights_without_a_tokenizer_say_what_is_missing(tmp_path):
  source = torch_weights.write(
    tmp_path / 'src', torch_weights.arrays('bert'), torch_weights.config('bert')
  )
  lines = []
  console = terminal.Console(lines.append, terminal.silent().progress)
  assert convert.main(['bert', str(source), str(tmp_path / 'x')], console) == 0
  assert any('has no tokenizer: before scoring, put' in line for line in lines)
  with pytest.raises(ValueError, match='must have a tokenizer, got none'):
    text_encoder_folder.load_tokenizer(str(tmp_path / 'x'))


@pytest.mark.parametrize('kind', KINDS)
def test_hidden_states_of_pytorch_are_compared(run_verify, kind):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  record = torch_weights.config(kind)
  classes = {'bert': 'Bert', 'mpnet': 'MPNet'}
  config = getattr(transformers, f'{classes[kind]}Config')(**record)
  theirs = getattr(transformers, f'{classes[kind]}Model')(config).eval()
  theirs.load_state_dict(
    {k: torch.from_numpy(v) for k, v in torch_weights.arrays(kind).items()}
  )
  ids = np.random.default_rng(0).integers(2, 50, (2, 6))
  mask = np.ones((2, 6), np.int64)
  with torch.no_grad():
    states = theirs(
      input_ids=torch.from_numpy(ids),
      attention_mask=torch.from_numpy(mask),
      output_hidden_states=True,
    ).hidden_states
  arrays = {
    'text_ids': ids,
    'text_mask': mask,
    'text_hidden': states[-1].numpy(),
    'text_hidden_0': states[0].numpy(),
    'text_hidden_2': states[2].numpy(),
  }
  folder = text_encoders.converted(kind)
  code, lines = run_verify(kind, folder, arrays)
  assert code == 0 and len(lines) == 4, lines
  arrays['text_hidden_2'] = states[1].numpy()
  assert run_verify(kind, folder, arrays)[0] == 1


def test_another_model_is_no_text_encoder(tmp_path):
  source = torch_weights.write(
    tmp_path / 'src',
    torch_weights.arrays('clip_vision'),
    torch_weights.config('clip_vision'),
  )
  target = str(tmp_path / 'x')
  assert (
    convert.main(['clip_vision', str(source), target], terminal.silent()) == 0
  )
  with pytest.raises(ValueError, match='text encoder .bert or mpnet., got cl'):
    text_encoder_folder.read_record(target)
