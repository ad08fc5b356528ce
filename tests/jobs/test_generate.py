"""Images of prompts: what is written, what is kept, what is refused."""

import json

import numpy as np
from PIL import Image
import pytest
import tiny_jobs
import unread_models

import configs.generate
from hermesflow_jax.data import image_writer
from hermesflow_jax.jobs import generate
from hermesflow_jax.jobs.setup import prompt_drawing
from hermesflow_jax.runtime import settings
from hermesflow_jax.sampling import search_scores


@pytest.fixture
def run(base, tmp_path):
  """Runs the job with some settings: (lines, what was said)."""

  def call(workdir='out', **changes):
    config = configs.generate.get_config()
    del config.job
    prompts = ('a red ring', 'two circles')
    config.update(
      {'init_from': str(base), 'prompts': prompts, 'images_per_prompt': 2}
    )
    config.sampler.update({'steps': 2})
    config.update(changes)
    built = settings.build(generate.Settings, config.to_dict())
    console, output = tiny_jobs.heard()
    workdir = workdir if 'gs:' in workdir else str(tmp_path / workdir)
    return generate.run(built, workdir, console), output

  return call


def pixels(folder, rows):
  return np.stack([np.asarray(Image.open(folder / r['file'])) for r in rows])


@pytest.fixture
def start_image(tmp_path):
  """A picture of the world's size with something everywhere."""
  rng = np.random.default_rng(0)
  path = tmp_path / 'first.png'
  Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
  return path


def test_images_say_how_they_were_made(run, tmp_path):
  rows, _ = run()
  assert [(r['prompt'], r['number']) for r in rows] == [
    ('a red ring', 0),
    ('a red ring', 1),
    ('two circles', 0),
    ('two circles', 1),
  ]
  lines = (tmp_path / 'out' / 'images.jsonl').read_text().splitlines()
  assert [json.loads(line) for line in lines] == rows
  for row in rows:
    facts = image_writer.read_metadata(tmp_path / 'out' / row['file'])
    assert facts.items() >= row.items()
    assert facts['sampler']['steps'] == 2
  assert (tmp_path / 'out' / 'contact_sheet.png').exists()
  assert pixels(tmp_path / 'out', rows).shape == (4, 64, 64, 3)


def test_an_image_depends_on_seed_prompt_and_number_alone(run, tmp_path):
  rows, _ = run()
  expected = pixels(tmp_path / 'out', rows)
  (tmp_path / 'list.txt').write_text('two circles\na blue cross\n')
  more, _ = run(
    'more', prompts=(), file=str(tmp_path / 'list.txt'), images_per_prompt=3
  )
  actual = pixels(tmp_path / 'more', more)
  np.testing.assert_array_equal(actual[:2], expected[2:])
  other, _ = run('other', seed=1)
  assert (pixels(tmp_path / 'other', other) != expected).any()
  assert (expected[0] != expected[1]).any()


def test_what_is_there_is_not_drawn_again(run, tmp_path, monkeypatch):
  rows, _ = run()
  before = pixels(tmp_path / 'out', rows)
  monkeypatch.setattr(prompt_drawing, 'to_pixels', None)
  with monkeypatch.context() as finished:
    unread_models.refuse_reading(finished)
    again, output = run()
  assert again == rows and any('this run is finished' in s for s in output)
  assert not any('resuming' in line for line in output)
  assert f'results exist in {tmp_path / "out"}' in output
  # Earlier releases called a setting otherwise.
  record = tmp_path / 'out' / 'settings.json'
  record.write_text(record.read_text().replace('images_per_prompt', 'each'))
  assert run()[0] == rows
  # A run that was stopped before its last line.
  (tmp_path / 'out' / 'images.jsonl').unlink()
  assert run()[0] == rows
  np.testing.assert_array_equal(pixels(tmp_path / 'out', rows), before)


def test_a_run_goes_on_in_smaller_chunks_and_on_another_mesh(run, tmp_path):
  rows, _ = run()
  before = pixels(tmp_path / 'out', rows)
  (tmp_path / 'out' / 'images.jsonl').unlink()
  (tmp_path / 'out' / rows[1]['file']).unlink()
  again, output = run(chunk=1, mesh={'data': -1, 'model': 2})
  assert again == rows and any('resuming' in line for line in output)
  np.testing.assert_array_equal(pixels(tmp_path / 'out', rows), before)


def test_a_folder_of_another_run_is_left_alone(run, tmp_path):
  run()
  with pytest.raises(ValueError, match='other settings: config.seed 0 -> 1'):
    run(seed=1)


def test_only_what_a_mask_hides_changes(run, tmp_path, start_image, base):
  mask = Image.new('L', (64, 64), 0)
  mask.paste(255, (3, 20, 5, 40))
  mask.save(tmp_path / 'mask.png')
  rows, _ = run(image=str(start_image), mask=str(tmp_path / 'mask.png'))
  actual = pixels(tmp_path / 'out', rows)
  kept, _ = run('kept', image=str(start_image), extend=('right',))
  # Without any attention or convolution across patches in this tokenizer.
  whole = pixels(tmp_path / 'kept', kept)[0, :, :64]
  hidden = np.zeros((64, 64), bool)
  hidden[16:48, :16] = True
  assert (actual[:, ~hidden] == whole[~hidden]).all()
  assert (actual[:, hidden] != whole[hidden]).any()


def test_an_image_grows_and_stays_what_it_was(run, tmp_path, start_image):
  rows, _ = run(image=str(start_image), extend=('right',))
  more, _ = run('m', image=str(start_image), extend=('right', 'up', 'left'))
  single, three = pixels(tmp_path / 'out', rows), pixels(tmp_path / 'm', more)
  assert single.shape == (4, 64, 96, 3) and three.shape == (4, 96, 128, 3)
  np.testing.assert_array_equal(three[:, 32:, 32:], single)


@pytest.mark.parametrize(
  'changes, output',
  [
    ({'prompts': ()}, 'prompts must not be empty'),
    ({'prompts': ('', 'a ring')}, "prompt '': it is empty"),
    ({'prompts': ('a ring', ' a  ring ')}, "'a ring': it occurs twice"),
    ({'images_per_prompt': 0}, 'images_per_prompt must be at least 1, got 0'),
    ({'file': '/none.txt'}, '/none.txt cannot be read'),
    ({'mask': 'm.png'}, 'image must be given together with mask or'),
    ({'image': 'a.png'}, 'image must be given together with mask or'),
    (
      {'image': 'a.png', 'mask': 'm.png', 'extend': ('up',)},
      'must not be given together',
    ),
    ({'image': 'a.png', 'extend': ('over',)}, "or 'down', got 'over'"),
    ({'image': '/none.png', 'extend': ('up',)}, '/none.png cannot be read'),
    (
      {'on_error': 'ignore'},
      "on_error must be 'raise' or 'skip', got 'ignore'",
    ),
  ],
)
def test_what_cannot_be_drawn_is_refused(run, tmp_path, changes, output):
  with pytest.raises(ValueError, match=output):
    run(**changes)
  assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('guidance', [-1.0, float('nan')])
def test_an_impossible_sampler_is_refused(run, guidance):
  sampler = configs.generate.get_config().sampler
  sampler.guidance = guidance
  with pytest.raises(ValueError, match='guidance must be'):
    run(sampler=sampler)


def test_a_mask_that_hides_nothing_is_refused(run, tmp_path, start_image):
  Image.new('L', (64, 64)).save(tmp_path / 'mask.png')
  with pytest.raises(ValueError, match='mask.png, which has no white'):
    run(image=str(start_image), mask=str(tmp_path / 'mask.png'))


@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_faults_of_prompts_image_and_mask_are_named_at_once(
  run, tmp_path, idle, on_error
):
  (tmp_path / 'first.png').write_bytes(b'no image')
  Image.new('L', (64, 32)).save(tmp_path / 'mask.gif')
  files = {
    'image': str(tmp_path / 'first.png'),
    'mask': str(tmp_path / 'mask.gif'),
  }
  with pytest.raises(ValueError) as error:
    run(prompts=('', ' '), on_error=on_error, **files)
  message = str(error.value)
  for part in ("prompt '': it is empty", 'first.png', 'mask.gif', 'got a GIF'):
    assert part in message
  Image.new('RGB', (64, 64)).save(tmp_path / 'first.png')
  files['mask'] = str(tmp_path / 'mask.png')
  Image.new('L', (64, 32)).save(files['mask'])
  with pytest.raises(ValueError, match='missing.txt.*has 64 x 32 pixels'):
    run(file='missing.txt', on_error=on_error, **files)


def test_faults_are_skipped_counted_and_named(run):
  rows, output = run(prompts=('', 'a ring', 'a ring'), on_error='skip')
  assert {r['prompt'] for r in rows} == {'a ring'}
  assert output[:2] == ['2 of 3 left out:', "  prompt '': it is empty"]
  assert output[2].startswith("  prompt 'a ring': it occurs twice")


def test_a_byte_that_is_not_utf_8_may_be_skipped(run):
  prompts = ('a \udcff star', 'a ring')
  with pytest.raises(ValueError, match='the byte 0xff, which is not UTF-8'):
    run(prompts=prompts)
  rows, _ = run(prompts=prompts, on_error='skip')
  assert {r['prompt'] for r in rows} == {'a ring'}


def test_prompts_of_a_folder_are_drawn_and_unknown_words_named(run, tmp_path):
  folder = tmp_path / 'dpg'
  folder.mkdir()
  (folder / '1.txt').write_text('a zebra <|endoftext|> ring')
  changes = {'file': str(folder), 'examples': ('a',), 'prompts': ('a',)}
  rows, output = run(**changes)
  assert {r['prompt'] for r in rows} == {'a zebra <|endoftext|> ring'}
  assert any("does not know 'zebra'" in line for line in output)
  assert any('finished' in line for line in run(**changes)[1])
  (folder / '1.txt').write_text('a ring')
  with pytest.raises(ValueError, match='other'):
    run(**changes)


def test_a_long_prompt_is_cut_and_said_so(run):
  words = ' '.join(f'a {c} ring and' for c in ('red', 'blue', 'green', 'black'))
  rows, output = run(prompts=(words,))
  assert 'is too long, the model reads it up to' in output[0]
  last = rows[0]['read_to']
  assert ' '.join(words.split()[:12]).endswith(last)
  assert last in output[0]


def test_images_may_be_drawn_into_a_bucket(run, start_image, tmp_path, bucket):
  settings_ = {'image': str(start_image), 'extend': ('right',)}
  expected, _ = run(**settings_)
  bucket.put('first.png', start_image.read_bytes())
  bucket.put('prompts.txt', b'a blue star\n')
  settings_['image'] = 'gs://bucket/first.png'
  actual, _ = run('gs://bucket/out', **settings_)
  assert actual == expected
  bucket.get_folder('out', tmp_path / 'copy')
  np.testing.assert_array_equal(
    pixels(tmp_path / 'copy', actual), pixels(tmp_path / 'out', expected)
  )
  assert 'out/contact_sheet.png' in bucket.blobs
  assert run('gs://bucket/out', **settings_)[0] == actual
  rows, _ = run('gs://bucket/more', file='gs://bucket/prompts.txt')
  assert rows[-1]['prompt'] == 'a blue star'


def test_search_chooses_among_the_images(run, tmp_path, monkeypatch):
  rows, _ = run()
  expected = pixels(tmp_path / 'out', rows)
  # The second candidate of each prompt wins.
  second = lambda unified, name, codes, *_: np.arange(len(codes)) % 2
  monkeypatch.setattr(search_scores, 'score', second)
  best, output = run('best', images_per_prompt=1, search={'candidates': 2})
  np.testing.assert_array_equal(pixels(tmp_path / 'best', best), expected[1::2])
  facts = image_writer.read_metadata(tmp_path / 'best' / best[0]['file'])
  assert facts['search']['candidates'] == 2
  # Two steps with guidance, the first shared, and a pass for each score.
  assert 'search: at most 8 decoder passes per image' in output


def test_search_counts_the_passes_of_edits(run, start_image, tmp_path):
  mask = np.zeros((64, 64), np.uint8)
  mask[:, :16] = 255
  Image.fromarray(mask).save(tmp_path / 'mask.png')
  common = {
    'prompts': ('a red ring',),
    'images_per_prompt': 1,
    'image': str(start_image),
    'search': {'candidates': 2},
  }
  _, output = run('masked', mask=str(tmp_path / 'mask.png'), **common)
  # Codes are known, so the first step is not shared: 2 * 4 + 2 passes.
  assert 'search: at most 10 decoder passes per image' in output
  _, output = run('wide', extend=('right',), **common)
  assert 'search: at most 10 decoder passes per window' in output


def test_search_without_questions_goes_by_likelihood(run):
  search = {'candidates': 2, 'score': 'soft'}
  with pytest.raises(ValueError, match='search.score must be likelihood'):
    run(search=search)
