"""The content of a file decides how it is read; other content is named."""

import pytest
import torch_files
import torch_weights

from conversions.files import source


@pytest.mark.parametrize('name', ['x.safetensors', 'x.pt'])
def test_the_content_of_a_file_decides_how_it_is_read(tmp_path, name):
  path, lines = tmp_path / name, []
  if path.suffix == '.safetensors':
    torch_files.save(path, torch_files.ARRAYS)
  else:
    torch_weights.write(tmp_path, torch_files.ARRAYS, {})
    (tmp_path / 'model.safetensors').rename(path)
  actual = source.find(str(path), lines.append).tensors
  torch_files.assert_same(actual, torch_files.ARRAYS)
  (line,) = lines
  assert line.endswith('in spite of its name')


POINTER = (
  b'version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 5\n'
)
PAGE = b'\n<!DOCTYPE html>\n<html lang="en"><head><title>Sign in</title>'


@pytest.mark.parametrize(
  'content, output',
  [
    (POINTER, 'got a Git LFS pointer to it: run `git lfs pull` in'),
    (PAGE, 'got a web page: download it'),
    (b'Entry not found', "got a text, 'Entry not found'"),
    (b'{"error": "Repository not found"}', 'got a text'),
    (b'', 'got an empty file'),
  ],
)
@pytest.mark.parametrize(
  'name', ['model.safetensors', 'pytorch_model.bin', 'model.pth']
)
def test_what_failed_downloads_leave_is_named(tmp_path, name, content, output):
  (tmp_path / name).write_bytes(content)
  torch_files.refused(tmp_path, output)


@pytest.mark.parametrize('content', [POINTER, PAGE, b''])
@pytest.mark.parametrize(
  'name', ['config.json', 'model.safetensors.index.json']
)
def test_so_are_json_files(tmp_path, name, content):
  torch_weights.write(tmp_path, torch_files.ARRAYS, {})
  (tmp_path / name).write_bytes(content)
  torch_files.refused(tmp_path, f'{name} must')


@pytest.mark.parametrize('name', ['show-o.zip', 'show-o.tar.gz'])
def test_an_archive_is_named(tmp_path, name):
  (tmp_path / name).write_bytes(b'\x1f\x8b')
  torch_files.refused(tmp_path / name, 'got an archive: unpack it')
