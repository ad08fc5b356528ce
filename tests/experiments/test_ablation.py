"""Arms of a comparison: they differ in what they say, and in nothing else."""

import copy
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import tiny_world

import configs.ablation
from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.curation import pair_files
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.evaluation import scene_statistics
from hermesflow_jax.experiments import ablation
from hermesflow_jax.experiments import ablation_results
from hermesflow_jax.experiments import ablation_settings
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.jobs import pair_dpo
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.reports import comparison_tables
from hermesflow_jax.runtime import settings
from hermesflow_jax.runtime import sharding
from hermesflow_jax.runtime import terminal
from hermesflow_jax.self_play import rounds

SEEDS = (3, 4)
LABELS = {'images': 'DPO, images', 'pair_dpo': 'Pair-DPO'}


def arm(name, rates=(), **changes):
  made = configs.ablation.arm(name, LABELS.get(name, name), **changes)
  made |= {'rates': rates}
  return settings.build(comparison_arms.Arm, made)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
  base = tiny_world.bundle(tmp_path_factory.mktemp('base'))
  return ablation_settings.Settings(
    command='python main.py --config=x --config.seeds=(3,4)',
    variant='table5',
    self_play=tiny_world.self_play(base),
    seeds=SEEDS,
    arms=(
      arm(
        'images',
        rates=(1e-2, 1e-1),
        images=2,
        objective={'method': 'dpo_generation'},
      ),
      arm('pair_dpo'),
    ),
    against='pair_dpo',
    sweeps=(
      ablation_settings.Sweep(
        'candidates',
        (
          ablation_settings.Point('2', 'images'),
          ablation_settings.Point('3', 'pair_dpo'),
        ),
      ),
    ),
    search_scenes=5,
  )


@pytest.fixture(scope='module')
def finished(config, tmp_path_factory):
  root = tmp_path_factory.mktemp('ablation') / 'run'
  return root, ablation.run(config, str(root), terminal.silent())


@pytest.fixture(scope='module')
def bench(config, tmp_path_factory):
  """(the base model, the world)."""
  mesh = sharding.make_mesh()
  path = job_model.locate(config.self_play)
  parts = job_model.load_parts(config.self_play, path, mesh)
  base = job_model.place_on_mesh(
    config.self_play, parts, mesh, terminal.silent()
  )
  data = tmp_path_factory.mktemp('data')
  return base, pair_dpo.play_data(
    config.self_play, base, str(data), terminal.silent()
  )


def test_an_arm_is_the_self_play_that_it_says(
  config, bench, finished, tmp_path
):
  root, _ = finished
  play = config.arms[1].play(config.self_play.play, 4)
  rounds.play_rounds(*bench, play, str(tmp_path), terminal.silent())
  for name in (
    'round_0/scenes.jsonl',
    'round_1/pairs.jsonl',
    'round_1/scenes.jsonl',
  ):
    alone = (tmp_path / name).read_bytes()
    assert (root / 'seed_4' / 'pair_dpo' / name).read_bytes() == alone


def test_arms_share_candidates_and_the_first_of_fewer(config, bench, finished):
  root, _ = finished
  base, world = bench
  play = dataclasses.replace(config.self_play.play, seed=3)
  pool = comparison_arms.CandidatePool(
    base, world, play, root / 'seed_3' / 'base', terminal.silent()
  )
  three, two = pool.found(3, 'self'), pool.found(2, 'self')
  np.testing.assert_array_equal(three.codes[:, :2], two.codes)
  np.testing.assert_array_equal(three.image_scores[:, :2], two.image_scores)
  assert [each[:2] for each in three.answers] == two.answers
  # They are those that would be drawn if there were but two.
  alone = base.draw(
    world.inputs[0].ids,
    world.inputs[0].captions,
    2,
    play.curation_sampler,
    play.seed + 1,
  )
  np.testing.assert_array_equal(two.codes, alone)
  judged = pool.found(3, 'judge')
  np.testing.assert_array_equal(judged.codes, three.codes)
  np.testing.assert_array_equal(
    judged.image_scores,
    judge_agreement.agreement_scores(
      world.judge, three.codes, world.inputs[0].questions
    ),
  )
  pairs = pair_files.read_pairs(root / 'seed_3' / 'images' / 'round_1')
  for n, name in enumerate(world.inputs[0].ids):
    best = two.codes[n, np.argmax(two.image_scores[n])]
    np.testing.assert_array_equal(pairs[name][1].win.value, best)


def test_what_a_judge_chose_is_told_by_the_models_own_scores(
  config, bench, finished, tmp_path
):
  root, _ = finished
  scored = root / 'seed_3' / 'base' / 'round_0'
  play = dataclasses.replace(config.self_play.play, seed=3)
  pool = comparison_arms.CandidatePool(
    *bench, play, root / 'seed_3' / 'base', terminal.silent()
  )
  one = arm('judge', scorer='judge')
  pool.give(one, one.play(config.self_play.play, 3), tmp_path, scored)
  made = json.loads((tmp_path / 'round_1' / 'curation.json').read_text())
  own, judged = (
    pool.found(3, who).image_scores.mean() for who in ('self', 'judge')
  )
  assert made['self_score'] == pytest.approx(own)
  assert made['judge_score'] == pytest.approx(judged)
  assert own != judged


def test_what_the_search_learned_is_not_learned_again(finished):
  root, results = finished
  rate = results['search']['images']['chosen']
  tried = root / 'search' / 'images' / f'{rate:g}' / 'checkpoints' / '1'
  arms = root / 'seed_3' / 'images' / 'checkpoints' / '1'
  assert checkpoint.array_hashes(str(arms)) == checkpoint.array_hashes(
    str(tried)
  )
  assert checkpoint.read_metadata(str(arms)) == checkpoint.read_metadata(
    str(tried)
  )
  # It was learned there: there are no metrics of it here.
  assert not (root / 'seed_3' / 'images' / 'round_1' / 'training').exists()
  assert (root / 'seed_4' / 'images' / 'round_1' / 'training').exists()


# Orbax leaves unfinished reads behind when one of them fails.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
def test_what_the_search_left_damaged_is_not_taken(bench, finished, tmp_path):
  root, results = finished
  rate = results['search']['images']['chosen']
  tried = tmp_path / 'tried'
  shutil.copytree(root / 'search' / 'images' / f'{rate:g}', tried)
  for data in (tried / 'checkpoints' / '1').rglob('d/*'):
    data.write_bytes(b'')
  comparison_arms.reuse_first_round(tried, tmp_path / 'arm', bench[0])
  assert not checkpoint.exists(tmp_path / 'arm' / 'checkpoints' / '1')


def test_the_rate_is_the_best_on_other_scenes(config, finished):
  root, results = finished
  found = results['search']['images']
  assert set(found['rates']) == {'0.01', '0.1'}

  def both(rate):
    return sum(found['rates'][rate][k] for k in ('understanding', 'generation'))

  best = max(('0.01', '0.1'), key=both)
  assert found['chosen'] == float(best)
  row = next(m for m in results['models'] if m['arm'] == 'images')
  assert row['rate'] == float(best)
  searched = root / 'search' / 'images' / best / 'round_1' / 'scenes.jsonl'
  held_out = root / 'seed_3' / 'base' / 'round_0' / 'scenes.jsonl'
  mine, theirs = (
    {json.loads(line)['id'] for line in path.read_text().splitlines()}
    for path in (searched, held_out)
  )
  assert len(mine) == 5 and not mine & theirs


def test_the_best_rate_counts_both_abilities():
  def one(understanding, generation):
    return {'understanding': understanding, 'generation': generation}

  assert (
    comparison_arms.best_rate({1.0: one(0.9, 0.5), 2.0: one(0.7, 0.8)}) == 2.0
  )


def test_results_are_of_the_files(config, bench, finished):
  root, results = finished
  labels = [m['label'] for m in results['models']]
  assert labels == ['base', 'DPO, images', 'Pair-DPO']
  held_out = bench[1].held_out
  learned = [c for inputs in bench[1].inputs for c in inputs.captions]

  def read(*names):
    return [
      scene_statistics.read_scenes(
        root.joinpath(f'seed_{s}', *names), held_out, learned
      )
      for s in SEEDS
    ]

  base, last = read('base', 'round_0'), read('images', 'round_1')
  row = results['models'][1]
  for name in ('understanding', 'gap'):
    assert row['base'][name] == ablation_results.score_changes(base, last)[name]
    assert row['scores'][name]['value'] == pytest.approx(
      np.mean([list(run[name].values()) for run in last])
    )
  assert 'against' in row and 'against' not in results['models'][2]
  # A sweep says how its rows differ from what is usual.
  unusual, usual = results['sweeps']['candidates']
  assert unusual['against'] == ablation_results.score_changes(
    read('pair_dpo', 'round_1'), last
  )
  assert 'against' not in usual


def test_arms_are_compared_after_as_many_rounds(config, monkeypatch):
  """An arm of two rounds with two rounds, and with the last if it has more."""
  arms = (arm('a', rounds=3), arm('pair_dpo', rounds=2), arm('b', rounds=1))
  config = dataclasses.replace(
    config,
    arms=arms,
    sweeps=(),
    self_play=dataclasses.replace(
      config.self_play,
      play=dataclasses.replace(config.self_play.play, rounds=3),
    ),
  )
  scored = {'base': 0.1, 'a': 0.2, 'pair_dpo': 0.3, 'b': 0.4}
  monkeypatch.setattr(
    ablation_results,
    'read_results',
    lambda _, bench, name, number: [
      {'gap': {'x': scored[name] * (number + 1), 'y': 0.0}} for _ in SEEDS
    ],
  )
  row = {
    'learned': {'inputs': 1, 'steps': 1},
    'seconds': {'training': 1.0},
    'curation': {},
  }
  found = ablation_results.model_results(
    config, None, {}, {(s, a.name): [row] * 4 for s in SEEDS for a in arms}
  )
  said = {
    (m['arm'], m['round']): m['against']['gap']['value']
    for m in found
    if 'against' in m
  }
  half = lambda after, before: pytest.approx((after - before) / 2)
  assert said == {
    ('a', 1): half(0.4, 0.6),
    ('a', 2): half(0.6, 0.9),
    ('a', 3): half(0.8, 0.9),
    ('pair_dpo', 2): half(0.9, 0.6),
    ('b', 1): half(0.8, 0.6),
  }


def test_results_of_an_earlier_version_are_shown(finished):
  results = copy.deepcopy(finished[1])
  for model in results['models']:
    for found in model['scores'].values():
      found.pop('scenes')
  assert re.search(
    r'(of inputs|other captions) \|', comparison_tables.markdown(results)
  )


def test_tables_and_page_have_all_models_and_the_sweep(finished):
  root, results = finished
  text, page = (
    (root / 'table.md').read_text(),
    (root / 'report.html').read_text(),
  )
  for title in (
    'Scores',
    'Since the base model',
    'Against Pair-DPO',
    'Candidates',
    'Learning rates',
    'Budgets',
    'What judging oneself costs',
    'Scores of its own images',
    'Six tasks since the base model',
    'Captions of inputs and others',
  ):
    assert f'## {title}\n' in text
    assert f'<h2>{title}</h2>' in page
  assert '| DPO, images |' in text
  # Some captions are those of inputs, or none, or all.
  header = text.split('## Captions of inputs and others\n')[1].split('| -')[0]
  counted = re.findall(r'(?:of inputs|other captions) \((\d+)\)', header)
  assert sum(map(int, counted)) == results['scenes']
  assert results['command'] in page
  assert page.count('<svg') == 5
  assert '<h2>Sensitivities</h2>' in page
  # What differs comes before all models and scores.
  assert text.index('## Candidates') < text.index('## Scores')


def test_the_same_command_goes_on_where_it_was_stopped(
  config, finished, tmp_path
):
  root, results = finished
  copy = tmp_path / 'run'
  shutil.copytree(root, copy)
  shutil.rmtree(copy / 'seed_4' / 'pair_dpo')
  (copy / 'results.json').unlink()
  again = ablation.run(config, str(copy), terminal.silent())
  for one, other in zip(again['models'], results['models'], strict=True):
    assert one['scores'] == other['scores']
    assert one.get('base') == other.get('base')
  assert again['floors'] == results['floors']


def test_there_is_a_report_after_each_seed(config, finished, tmp_path):
  root, results = finished
  copy = tmp_path / 'run'
  shutil.copytree(root, copy)
  for name in ('results.json', 'table.md', 'report.html'):
    (copy / name).unlink()
  seen = []

  def say(text):
    if text.startswith('report of seeds'):
      seen.append((copy / 'table.md').read_text())

  console = dataclasses.replace(terminal.silent(), say=say)
  ablation.run(config, str(copy), console)
  first, last = seen
  assert 'Means over seeds 3 and' in first
  assert 'Means over seeds 3, 4 and' in last
  # What does not depend on the seeds is the same.
  assert (
    first.split('## Learning rates')[1].split('##')[0]
    == (last.split('## Learning rates')[1].split('##')[0])
  )


def test_a_comparison_that_is_finished_stays_what_it_is(config, finished):
  root, _ = finished
  before = (root / 'results.json').read_bytes()
  (root / 'table.md').unlink()
  again = ablation.run(config, str(root), terminal.silent())
  assert again == json.loads(before)
  assert (root / 'results.json').read_bytes() == before
  assert '## Scores' in (root / 'table.md').read_text()


def test_a_cell_of_one_scene_can_be_written():
  before, after = [{'x': {'a': 0.0}}] * 2, [{'x': {'a': v}} for v in (0.1, 0.3)]
  found = ablation_results.score_changes(before, after)['x']
  assert json.loads(json.dumps(found, allow_nan=False))['error'] is None
  assert not found['stands'] and '–' in comparison_tables._change(found)


def test_a_star_marks_what_stands():
  assert comparison_tables._change(
    {'value': 0.5, 'error': 0.1, 'stands': True}
  ) == ('+0.500 ± 0.100 *')
  assert comparison_tables._change(
    {'value': -0.1, 'error': 0.1, 'stands': False}
  ) == ('−0.100 ± 0.100')


@pytest.mark.parametrize(
  'changes, said',
  [
    ({'arms': (arm('a', nothing=1),)}, 'arm a: .*nothing is not a setting'),
    ({'arms': (arm('a', rounds=3),)}, 'arm a has 3 rounds, wanted at most 2'),
    ({'arms': (arm('a', images=4),)}, 'images is 4, wanted at most 3'),
    ({'arms': (arm('a', seed=7),)}, 'changes.seed: all arms have the same'),
    (
      {'arms': (arm('a', curation_sampler={'steps': 3}),)},
      'changes.curation_sampler: all arms have the same',
    ),
    ({'arms': (arm('a'), arm('a'))}, 'arms of the same name: a'),
    ({'arms': (arm('a'),)}, 'no such arms: images, pair_dpo'),
    ({'against': 'x'}, 'no such arms: x'),
    (
      {
        'sweeps': (
          ablation_settings.Sweep(
            'a', (ablation_settings.Point('x', 'images', 2),)
          ),
        )
      },
      'sweep a: arm images has 1 rounds, so none of number 2',
    ),
    ({'seeds': (1, 1)}, 'seeds is'),
    ({'seeds': ()}, 'seeds is'),
    ({'seeds': (-1,)}, 'no negative'),
    ({'search_scenes': 1}, 'search_scenes must be at least 2, got 1'),
  ],
)
def test_a_comparison_that_makes_no_sense_is_refused(config, changes, said):
  with pytest.raises(ValueError, match=said):
    dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
  'bad', [{'scorer': 'nobody'}, {'rates': (0.0,)}, {'name': 'a/b'}]
)
def test_an_arm_that_makes_no_sense_is_refused(bad):
  with pytest.raises(ValueError, match=next(iter(bad))):
    dataclasses.replace(arm('a'), **bad)


@pytest.mark.parametrize('variant', configs.ablation.VARIANTS)
def test_each_variant_builds(variant):
  values = configs.ablation.get_config(variant).to_dict()
  assert values.pop('job') == 'ablation'
  built = settings.build(ablation_settings.Settings, values)
  assert built.seeds == (0, 1, 2)
  rounds = max(a.play(built.self_play.play, 0).rounds for a in built.arms)
  assert (
    rounds
    == built.self_play.play.rounds
    == {
      'table5': 3,
      'settings': 3,
      'rounds': 3,
      'reference': 2,
      'recipe': 3,
    }.get(variant, 1)
  )
  for sweep in built.sweeps:
    assert len(sweep.points) > 1


def test_no_two_thresholds_make_the_same_pairs():
  """A score is a share of right answers to two to five questions."""
  scores = {k / n for n in range(2, 6) for k in range(n + 1)}
  arms = configs.ablation.get_config('settings').to_dict()['arms']
  rules = {'least_win': 0.6, 'least_margin': 0.0}
  made = set()
  for name, value in [
    (k, v)
    for one in arms
    for k, v in one['changes'].get('rules', {}).items()
    if k in rules
  ] + list(rules.items()):
    kept = (
      scores
      if name == 'least_win'
      else {a - b for a in scores for b in scores if a > b}
    )
    kept = frozenset(score for score in kept if score > value)
    assert (name, kept) not in made, (name, value)
    made.add((name, kept))
  assert len(made) == 4 + 3


def test_one_setting_alone_is_its_part_of_all():
  together = configs.ablation.get_config('settings').to_dict()
  names = {arm['name'] for arm in together['arms']}
  found, titles = set(), []
  for variant in configs.ablation.SWEEPS:
    alone = configs.ablation.get_config(variant).to_dict()
    titles += [sweep['title'] for sweep in alone['sweeps']]
    assert list(alone['sweeps']) == [
      s for s in together['sweeps'] if s['title'] == titles[-1]
    ]
    for one in alone['arms']:
      found.add(one['name'])
      (same,) = (a for a in together['arms'] if a['name'] == one['name'])
      # Rounds that no row of its table shows are not played.
      for each in one, same:
        each['changes'].pop('rounds', None)
      assert one == same
  assert found == names
  assert titles == [sweep['title'] for sweep in together['sweeps']]


def test_a_variant_that_is_not_there_is_refused():
  with pytest.raises(
    ValueError, match='must be one of table5, methods, settings, recipe'
  ):
    configs.ablation.get_config('x')
