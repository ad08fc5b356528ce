"""Broken pictures end a run with the way on, or are left out."""

import dataclasses

import data_forms
import pytest

from hermesflow_jax.data import picture_list


@pytest.mark.parametrize('data', [data_forms.png(0)[:60], b'no image'])
def test_broken_pictures_may_be_left_out(data, tmp_path):
  source = data_forms.records(tmp_path)
  folder = tmp_path / 'images'
  (folder / f'{data_forms.IDS[1]}.png').write_bytes(data)
  lines = []
  skipping = dataclasses.replace(source, on_error='skip')
  for paths in (
    picture_list.list_paths((str(folder),), None, lines.append, 'skip'),
    picture_list.list_paths((), skipping, lines.append),
  ):
    assert [path.stem for path in paths] == [
      data_forms.IDS[0],
      data_forms.IDS[2],
    ]
  assert lines[0] == 'images: 1 of 3 left out:'
  assert f'{data_forms.IDS[1]}.png cannot be read' in lines[1]


def test_the_error_names_the_setting_that_leaves_pictures_out(tmp_path):
  source = data_forms.records(tmp_path)
  folder = tmp_path / 'images'
  (folder / f'{data_forms.IDS[1]}.png').write_bytes(b'no image')
  with pytest.raises(ValueError, match='with --config.on_error=skip'):
    picture_list.list_paths((str(folder),), None, print)
  with pytest.raises(ValueError, match='with --config.files.on_error=skip'):
    picture_list.list_paths((), source, print)
  (folder / f'{data_forms.IDS[1]}.png').unlink()
  with pytest.raises(ValueError, match='with --config.files.on_error=skip'):
    picture_list.list_paths((), source, print, 'skip')
