"""Rounds go on where they were stopped, and end with the same numbers."""

import dataclasses
import gc
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tiny_world

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import pair_selection
from hermesflow_jax.data import input_set
from hermesflow_jax.evaluation import paired_changes
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.pair_dpo import learning
from hermesflow_jax.pair_dpo import record_rows
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import score_table
from hermesflow_jax.shapes import pixel_judge
from hermesflow_jax.shapes import scene_sampler

ROUNDS = ('round_0', 'round_1', 'round_2')
# What a clock or a memory meter says, and may differ between runs.
MEASURED = ('seconds', 'time', 'peak_memory_gib')
OF_A_CLOCK = ('time/', 'speed/', 'device/')


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  path = tmp_path_factory.mktemp('bundles') / 'base'
  return tiny_world.self_play(tiny_world.bundle(path))


@pytest.fixture(scope='module')
def whole(config, tmp_path_factory):
  """The folder of a run that nothing has stopped."""
  path = tmp_path_factory.mktemp('runs') / 'whole'
  pair_dpo.run(config, str(path), terminal.silent())
  return path


def lines(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def timeless(value):
  """JSON without what is measured by a clock."""
  if isinstance(value, dict):
    return {
      k: timeless(v)
      for k, v in value.items()
      if k not in MEASURED and not k.startswith(OF_A_CLOCK)
    }
  if isinstance(value, list):
    return [timeless(v) for v in value]
  return value


def model_of(config, run, number):
  """The model after a round, as numpy arrays by name."""
  found = trained_model.load_parts(str(run / 'checkpoints' / str(number))).model
  leaves, _ = jax.tree_util.tree_flatten_with_path(found)
  return {sharding.path_name(p): np.asarray(a) for p, a in leaves}


def assert_same_run(config, found, wanted):
  names = [
    f'{r}/scenes{kind}.{suffix}'
    for r in ROUNDS
    for kind in ('', '_unseen')
    for suffix in ('jsonl', 'npz')
  ]
  names += [
    f'{r}/{n}' for r in ROUNDS[1:] for n in ('pairs.jsonl', 'codes.npz')
  ]
  for name in names:
    assert (found / name).read_bytes() == (wanted / name).read_bytes(), name
  names = [f'{r}/evaluation.json' for r in ROUNDS]
  names += [f'{r}/curation.json' for r in ROUNDS[1:]] + ['results.json']
  for name in names:
    a, b = (json.loads((run / name).read_text()) for run in (found, wanted))
    assert timeless(a) == timeless(b), name
  for r in ROUNDS[1:]:
    a, b = (
      timeless(lines(run / r / 'training' / 'metrics.jsonl'))
      for run in (found, wanted)
    )
    assert a == b
  for number in (1, 2):
    a, b = (model_of(config, run, number) for run in (found, wanted))
    assert a.keys() == b.keys()
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


def test_a_run_leaves_what_it_promises(config, whole):
  results = json.loads((whole / 'results.json').read_text())
  assert [row['round'] for row in results['rounds']] == [0, 1, 2]
  for row in results['rounds']:
    assert 0 <= row['understanding'] <= 1 and 0 <= row['generation'] <= 1
    assert row['gap'] == pytest.approx(row['understanding'] - row['generation'])
    assert row['scenes'] == config.held_out
  assert results['seconds'] > 0
  assert results['config']['play']['rounds'] == 2
  assert '</html>' in (whole / 'report.html').read_text()
  for number in (1, 2):
    folder = whole / f'round_{number}'
    pairs = lines(folder / 'pairs.jsonl')
    assert len({row['id'] for row in pairs}) == len(pairs) == config.inputs
    with np.load(folder / 'codes.npz') as arrays:
      codes = arrays['candidates']
    assert codes.shape == (config.inputs, config.play.images, 16)
    drops = json.loads((folder / 'curation.json').read_text())['drops']
    for kind in ('caption', 'image'):
      assert sum(drops[kind].values()) == config.inputs
      assert drops[kind].get('kept')
    steps = [row['step'] for row in lines(folder / 'training/metrics.jsonl')]
    assert steps == [1, 2]
    assert any((folder / 'training' / 'events').iterdir())


def test_a_round_changes_the_model(config, whole):
  before = {
    sharding.path_name(p): a
    for p, a in jax.tree_util.tree_flatten_with_path(
      model_bundle.load_bundle(config.init_from).model
    )[0]
  }
  for number in (1, 2):
    after = model_of(config, whole, number)
    assert any((after[name] != before[name]).any() for name in after)
    before = after


def test_winners_of_images_come_from_the_newest_candidates(whole):
  for number in (1, 2):
    folder = whole / f'round_{number}'
    with np.load(folder / 'codes.npz') as arrays:
      codes, scores = arrays['candidates'], arrays['image_scores']
    for n, row in enumerate(lines(folder / 'pairs.jsonl')):
      best = scores[n].argmax()
      assert row['codes_win'] == codes[n, best].tolist()
      assert row['vqa_score_win'] == scores[n, best]


def test_a_finished_run_says_so_and_changes_nothing(config, whole):
  def state():
    files = [p for p in whole.rglob('*') if p.is_file()]
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in files}

  before, said = state(), []
  silent = terminal.silent()
  found = pair_dpo.run(
    config, str(whole), terminal.Console(said.append, silent.progress)
  )
  assert state() == before
  assert found == json.loads((whole / 'results.json').read_text())
  assert 'this run is finished' in ' '.join(said)
  assert 'to start afresh' in ' '.join(said)


def test_a_finished_run_that_plays_more_rounds_is_one_of_so_many(
  config, whole, tmp_path
):
  """The inputs of a new round may have captions that were unseen before."""
  run = tmp_path / 'run'
  first = dataclasses.replace(
    config, play=dataclasses.replace(config.play, rounds=1)
  )
  before = pair_dpo.run(first, str(run), terminal.silent())
  assert len(before['rounds']) == 2
  checkpoint_before = checkpoint.array_hashes(str(run / 'checkpoints' / '1'))
  said = []
  console = dataclasses.replace(terminal.silent(), say=said.append)
  pair_dpo.run(config, str(run), console)
  assert any('1 of 2 rounds are finished, continuing' in line for line in said)
  assert (
    checkpoint.array_hashes(str(run / 'checkpoints' / '1')) == checkpoint_before
  )
  assert_same_run(config, run, whole)
  results = json.loads((run / 'results.json').read_text())
  assert len(results['rounds']) == 3
  with pytest.raises(
    ValueError,
    match=('play.rounds must be at least 2, the rounds played in .*, got 1'),
  ):
    pair_dpo.run(first, str(run), terminal.silent())


def test_captions_that_a_new_round_brings_are_unseen_no_more(
  config, tmp_path, monkeypatch
):
  """What was measured on them is measured on others, in all rounds."""
  world_of = pair_dpo.play_data

  def with_a_known_caption(settings_, *args):
    world = world_of(settings_, *args)
    if settings_.play.rounds == 1:
      return world
    return dataclasses.replace(world, unseen=world.unseen.select([2, 0]))

  monkeypatch.setattr(pair_dpo, 'play_data', with_a_known_caption)
  run, at_once = tmp_path / 'run', tmp_path / 'at_once'
  first = dataclasses.replace(
    config, play=dataclasses.replace(config.play, rounds=1)
  )
  pair_dpo.run(first, str(run), terminal.silent())
  scenes = (run / 'round_0' / 'scenes.jsonl').stat().st_mtime_ns
  pair_dpo.run(config, str(run), terminal.silent())
  pair_dpo.run(config, str(at_once), terminal.silent())
  assert (run / 'round_0' / 'scenes.jsonl').stat().st_mtime_ns == scenes
  assert len(lines(run / 'round_1' / 'scenes_unseen.jsonl')) == 2
  assert_same_run(config, run, at_once)


def test_unseen_captions_are_those_of_no_input(config, whole, tmp_path):
  parts = model_bundle.load_bundle(config.init_from)
  base = job_model.place_on_mesh(
    config, parts, sharding.make_mesh(), terminal.silent()
  )
  more = dataclasses.replace(config, inputs=60, unseen=40)
  world = pair_dpo.play_data(more, base, str(tmp_path), terminal.silent())
  known = {c for inputs in world.inputs for c in inputs.captions}
  assert len(world.unseen) == 40 and len(world.inputs) == 2
  assert known.isdisjoint(world.unseen.captions)
  assert not set(world.unseen.ids) & set(world.held_out.ids)
  assert all(name.startswith('eval-0-') for name in world.unseen.ids)
  # The others of the stream are captions of inputs.
  last = int(world.unseen.ids[-1].rpartition('-')[2])
  passed = {
    scene_sampler.scene_id('eval', 0, n): scene_sampler.sample_scene(
      'eval', 0, n
    ).caption
    for n in range(config.held_out, last + 1)
  }
  skipped = [c for n, c in passed.items() if n not in set(world.unseen.ids)]
  assert skipped and set(skipped) <= known
  # Codes and questions are those that the same scenes have as held-out ones.
  held = pair_dpo.play_data(
    dataclasses.replace(config, held_out=last + 1, unseen=0),
    base,
    str(tmp_path),
    terminal.silent(),
  )
  assert held.unseen is None
  same = held.held_out.select(
    [held.held_out.ids.index(name) for name in world.unseen.ids]
  )
  np.testing.assert_array_equal(same.codes, world.unseen.codes)
  assert same.questions == world.unseen.questions
  assert same.captions == world.unseen.captions


def test_both_sets_of_captions_are_told(config, whole):
  results = json.loads((whole / 'results.json').read_text())
  world_captions = {
    row['caption']
    for n in (1, 2)
    for row in lines(whole / f'round_{n}' / 'pairs.jsonl')
  }
  for row in results['rounds']:
    unseen = row['unseen']
    assert unseen['scenes'] == config.unseen
    assert unseen['gap'] == pytest.approx(
      unseen['understanding'] - unseen['generation']
    )
    assert sum(t['share'] for t in unseen['by_tag'].values()) == (
      pytest.approx(1)
    )
    assert row['captions_also_of_inputs'] == sum(
      scene_sampler.sample_scene('eval', 0, n).caption in world_captions
      for n in range(config.held_out)
    )
    folder = whole / f'round_{row["round"]}'
    scores = paired_changes.read_scores(folder, 'scenes_unseen')
    assert np.mean([s['generation'] for s in scores.values()]) == (
      pytest.approx(unseen['generation'])
    )
    if row['round']:
      assert unseen['change'] == paired_changes.paired_change(
        [paired_changes.read_scores(whole / 'round_0', 'scenes_unseen')],
        [scores],
      )
  text = score_table.score_table(results['rounds'])
  assert 'on 3 scenes whose captions no input has:' in text
  assert text.count(f'{results["rounds"][2]["unseen"]["gap"]:.3f}')
  page = (whole / 'report.html').read_text()
  assert 'On 3 scenes whose captions no input has' in page
  assert 'By kind of caption' in page


def until_finished(config, run, attempt, most):
  """Starts a run again and again; returns how often it was stopped."""
  for stops in range(most):
    try:
      attempt(stops)
    except KeyboardInterrupt:
      continue
    return stops
  raise AssertionError(f'not finished after {most} starts')


def test_a_run_stopped_in_any_phase_ends_the_same(config, whole, tmp_path):
  run = tmp_path / 'run'

  def attempt(stops):
    left = 6 * stops + 1

    def progress(label):
      def wrap(items):
        nonlocal left
        for item in items:
          if not left:
            raise KeyboardInterrupt
          left -= 1
          yield item

      return wrap

    console = terminal.Console(lambda line: None, progress)
    pair_dpo.run(config, str(run), console)

  assert until_finished(config, run, attempt, most=60) > 9
  assert_same_run(config, run, whole)


def test_a_run_stopped_in_any_write_ends_the_same(
  config, whole, tmp_path, monkeypatch
):
  run, met = tmp_path / 'run', set()
  skipped = {str(run / 'checkpoints' / '2')} | {
    str(run / 'round_2' / name)
    for name in (
      'scenes.jsonl',
      'scenes.npz',
      'scenes_unseen.jsonl',
      'scenes_unseen.npz',
      'evaluation.json',
      'codes.npz',
      'pairs.jsonl',
      'judged/000000.npz',
      'judged/000000.record.json',
      'curation.json',
    )
  }
  write, save = output_files.write_atomically, checkpoint.save

  def stop_once(path):
    # Round 2 is written as round 1 is.
    if path not in met and path not in skipped:
      met.add(path)
      raise KeyboardInterrupt

  def stopped_write(path, data):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + '.tmp').write_text('{"ha')
    stop_once(str(path))
    write(path, data)

  def stopped_save(path, tree, meta):
    save(path, tree, meta)
    if path not in met and path not in skipped:
      # As orbax leaves a write that was killed.
      os.rename(path, f'{path}.orbax-checkpoint-tmp-1')
    stop_once(path)

  monkeypatch.setattr(output_files, 'write_atomically', stopped_write)
  monkeypatch.setattr(checkpoint, 'save', stopped_save)

  def attempt(stops):
    del stops
    pair_dpo.run(config, str(run), terminal.silent())

  stops = until_finished(config, run, attempt, most=30)
  assert stops == len(met) > 11
  assert_same_run(config, run, whole)
  # Of the names that the run has written none is left half-written.
  assert not list(run.rglob('*.tmp'))


def records(count):
  """Returns records in the order of a source, which is none."""
  return [
    {
      'id': f'{n:06d}',
      'caption': '',
      'tag': '',
      'questions': [],
      'codes': np.zeros(2, np.int32),
    }
    for n in np.random.default_rng(count).permutation(count)
  ]


def test_fresh_rounds_meet_no_input_twice_and_do_not_depend_on_their_number():
  three = [set(r.ids) for r in play_settings.round_inputs(records, 5, 3, True)]
  assert len(set.union(*three)) == 15
  two = play_settings.round_inputs(records, 5, 2, True)
  assert [set(r.ids) for r in two] == three[:2]


def test_rounds_that_are_not_fresh_meet_the_same_inputs():
  first, second = play_settings.round_inputs(records, 5, 2, False)
  assert first.ids == second.ids
  assert len(first) == 5


@pytest.mark.parametrize('split', ['eval', 'final', 'preference'])
def test_what_is_measured_on_is_never_learned_from(config, split, tmp_path):
  parts = model_bundle.load_bundle(config.init_from)
  base = job_model.place_on_mesh(
    config, parts, sharding.make_mesh(), terminal.silent()
  )
  world = pair_dpo.play_data(
    dataclasses.replace(config, held_out_split=split),
    base,
    str(tmp_path),
    terminal.silent(),
  )
  assert all(name.startswith(split) for name in world.held_out.ids)
  for inputs in world.inputs:
    assert not set(inputs.ids) & set(world.held_out.ids)


def test_training_never_sees_the_judge(config, whole, tmp_path, monkeypatch):
  monkeypatch.setattr(
    pixel_judge,
    'answer_questions',
    lambda image, questions: ['?'] * len(questions),
  )
  play = dataclasses.replace(config.play, rounds=1)
  run = tmp_path / 'run'
  results = pair_dpo.run(
    dataclasses.replace(config, play=play), str(run), terminal.silent()
  )
  assert results['rounds'][1]['generation'] == 0
  name = 'round_1/pairs.jsonl'
  assert (run / name).read_bytes() == (whole / name).read_bytes()
  found, wanted = (model_of(config, r, 1) for r in (run, whole))
  for name in wanted:
    np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize(
  'reference, same', [('round', [True, True]), ('base', [True, False])]
)
def test_the_reference_is_the_rounds_start_or_the_base(
  config, tmp_path, monkeypatch, reference, same
):
  seen = []

  def learn(player, reference, *_):
    seen.append((player.model, reference))
    return jax.tree.map(lambda a: a + 0, player.model)

  monkeypatch.setattr(learning, 'learn_round', learn)
  play = dataclasses.replace(config.play, reference=reference)
  pair_dpo.run(
    dataclasses.replace(config, play=play),
    str(tmp_path / 'run'),
    terminal.silent(),
  )
  assert [start is frozen for start, frozen in seen] == same
  # In both rounds it is what the first began with, or what each did.
  assert (seen[1][1] is seen[0][0]) == (reference == 'base')


def test_a_round_without_pairs_teaches_nothing(config, tmp_path, monkeypatch):
  monkeypatch.setattr(
    pair_selection,
    'filter_pair',
    lambda pair, *bounds: dataclasses.replace(pair, dropped='by a test'),
  )
  play = dataclasses.replace(config.play, rounds=1)
  run = tmp_path / 'run'
  results = pair_dpo.run(
    dataclasses.replace(config, play=play), str(run), terminal.silent()
  )
  first, last = results['rounds']
  assert first['understanding'] == last['understanding']
  assert first['generation'] == last['generation']
  assert last['curation']['drops'] == {
    'caption': {'by a test': config.inputs},
    'image': {'by a test': config.inputs},
  }
  assert '</html>' in (run / 'report.html').read_text()


# Orbax leaves unfinished reads behind when one of them fails.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_a_damaged_checkpoint_is_named_and_made_again(config, whole, tmp_path):
  run = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
  (run / 'results.json').unlink()
  # Which files hold the arrays is orbax's affair, so each is damaged.
  for path in (run / 'checkpoints' / '2' / 'arrays').glob('**/d/*'):
    damaged = bytearray(path.read_bytes())
    for place in range(0, len(damaged), 16):
      damaged[place] ^= 64
    path.write_bytes(damaged)
  said = []
  console = dataclasses.replace(terminal.silent(), say=said.append)
  pair_dpo.run(config, str(run), console)
  gc.collect()
  (told,) = (line for line in said if 'is trained again' in line)
  assert 'checkpoints/2' in told and 'round_2' in told
  last = pathlib.Path('checkpoints', '2')
  assert checkpoint.array_hashes(str(run / last)) == checkpoint.array_hashes(
    str(whole / last)
  )


def test_a_run_of_an_earlier_release_goes_on(config, whole, tmp_path):
  """Its rounds hold the transformer alone, under names without a prefix."""
  run = pathlib.Path(shutil.copytree(whole, tmp_path / 'run'))
  (run / 'results.json').unlink()
  shutil.rmtree(run / 'round_2')
  checkpoint.remove(run / 'checkpoints' / '2')
  first = run / 'checkpoints' / '1'
  model, meta = (
    trained_model.load_parts(str(first)).model,
    checkpoint.read_metadata(str(first)),
  )
  checkpoint.remove(first)
  del meta[trained_model.KEY]
  checkpoint.save(str(first), model, meta)
  said = []
  console = dataclasses.replace(terminal.silent(), say=said.append)
  pair_dpo.run(config, str(run), console)
  assert 'round_1: checkpoint found, skipping training' in said
  last = pathlib.Path('checkpoints', '2')
  assert checkpoint.array_hashes(str(run / last)) == checkpoint.array_hashes(
    str(whole / last)
  )


def pair(score_win, score_lose, values, dropped=''):
  win, lose = (
    pair_selection.ScoredCandidate(np.array(v), s)
    for v, s in zip(values, (score_win, score_lose))
  )
  return pair_selection.Pair(win, lose, dropped)


@pytest.mark.parametrize('both, names', [(False, ['c', 'a']), (True, ['a'])])
def test_records_are_joined_by_id(both, names):
  inputs = input_set.Inputs(
    ids=['a', 'b', 'c'],
    captions=['A', 'B', 'C'],
    tags=[''] * 3,
    questions=[[]] * 3,
    codes=np.arange(6).reshape(3, 2),
  )
  good = pair(1, 0, ([1], [2]))
  bad = dataclasses.replace(good, dropped='no difference')
  rows = record_rows.join_pairs(
    inputs, {'c': (good, bad), 'b': (bad, bad), 'a': (good, good)}, both
  )
  found = [(row['id'], row['caption'], row['codes'].tolist()) for row in rows]
  wanted = {'c': ('c', 'C', [4, 5]), 'a': ('a', 'A', [0, 1])}
  assert found == [wanted[name] for name in names]
  dropped = {'c': 'no difference', 'a': ''}
  assert [r['image_dropped'] for r in rows] == [dropped[n] for n in names]


@pytest.mark.parametrize(
  'epochs, records, steps',
  [(0.0, 80, 50), (2.0, 80, 20), (2.0, 81, 21), (0.1, 8, 1), (9.0, 800, 50)],
)
def test_a_round_ends_after_its_epochs(config, epochs, records, steps):
  play = dataclasses.replace(
    config.play,
    epochs=epochs,
    batch=8,
    optim=dataclasses.replace(config.play.optim, steps=50),
  )
  assert learning.step_count(play, records) == steps
