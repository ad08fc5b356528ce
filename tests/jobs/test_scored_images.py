"""Jobs score images as their settings say."""

import command_line
import curate_runs
import pytest

CURATE = f'--config={command_line.ROOT}/configs/curate.py'


@pytest.mark.parametrize(
  'rules, kept',
  [({}, 10), ({'least_score': -4.0}, 7), ({'least_win': 1.0}, 10)],
)
def test_an_image_scorer_makes_pairs_with_a_threshold_in_its_scale(
  base, few, tmp_path, monkeypatch, rules, kept
):
  """Winners score -2 or -5; `least_win` is a share, so it does not count."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'codes_of_user.py').write_text(
    'def scorer(images, captions, questions):\n'
    '  return [[-9.0, -5.0 if n % 2 else -2.0] for n in range(len(images))]\n'
    "scorer.reads = 'codes'\n"
  )
  manifest, _ = curate_runs.run(
    base,
    tmp_path / 'run',
    image_scorer='codes_of_user:scorer',
    rules=rules,
    images=2,
  )
  weak = {'winner too weak': 10 - kept} if kept < 10 else {}
  assert manifest['drops']['image'] == {'kept': kept} | weak
  for row in curate_runs.rows_of(tmp_path / 'run'):
    assert row['vqa_score_win'] in (-2.0, -5.0)
    assert row['vqa_score_lose'] == -9.0


@pytest.mark.parametrize(
  'config, flag', [(command_line.CONFIG, '--config.play'), (CURATE, '--config')]
)
def test_a_missing_clip_is_named_with_its_command(
  start, idle, base, tmp_path, config, flag
):
  for setting, other in (
    ('image_scorer', 'answers'),
    ('caption_scorer', 'ngram'),
  ):
    command_line.one_line(
      start(config, f'--config.init_from={base}', f'{flag}.{setting}=clip'),
      "encoders.clip must be a CLIP, got 'checkpoints/clip-vit-large-patch14'",
      '`python -m conversions.convert clip openai/clip-vit-large-patch14 '
      'checkpoints/clip-vit-large-patch14`',
      f'give {flag}.{setting}={other}, which needs no encoder',
    )
  assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
  'flags, message',
  [
    (
      ['image_scorer=caption_likelihood', 'rules.least_score=0.6'],
      'rules.least_score must be less than 0, the largest value of a mean log-',
    ),
    (
      ['image_scorer=soft', 'free_answers=True'],
      'free_answers must be False with image_scorer=soft',
    ),
    (['image_scorer=vqa'], 'image_scorer must be one of answers, soft, '),
    (['image_scorer=no_module:scorer'], 'must be a function that can be'),
  ],
)
def test_image_scorers_that_do_not_fit_end_a_job_at_once(
  start, idle, base, tmp_path, flags, message
):
  flags = [f'--config.play.{flag}' for flag in flags]
  command_line.one_line(
    start(command_line.CONFIG, f'--config.init_from={base}', *flags), message
  )
  assert not (tmp_path / 'runs').exists()
