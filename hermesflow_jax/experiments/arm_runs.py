"""Arm runs: all from the base model and from the same candidates.

For each seed the base model generates the first round's candidates once.
Every arm selects its pairs from them; an arm with another image scorer scores
them again. Arms start from the base model, have the same order and masks, and
are evaluated on the same scenes. Later rounds generate their own candidates.
Files are named as in `self_play`, so a stopped run resumes.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import time

import numpy as np

from hermesflow_jax.checkpoints import checkpoint
from hermesflow_jax.checkpoints import read_errors
from hermesflow_jax.checkpoints import trained_model
from hermesflow_jax.curation import candidate_generation
from hermesflow_jax.curation import candidate_scores
from hermesflow_jax.curation import shards
from hermesflow_jax.evaluation import judge_agreement
from hermesflow_jax.experiments import comparison_arms
from hermesflow_jax.runtime import output_files
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import round_state
from hermesflow_jax.self_play import rounds

# Files of an evaluation and a curation. The last is written last: if it
# exists, the others do.
_EVALUATION = ('scenes.jsonl', 'scenes.npz', 'evaluation.json')
_CURATION = ('codes.npz', 'pairs.jsonl', 'curation.json')


class CandidatePool:
  """The base model's evaluation and its candidates for the first round.

  The constructor evaluates the base model; candidates are generated when they
  are needed first. Both are read if their files exist.

  Args:
    base: the base model.
    data: self-play data.
    config: settings with the seed; `images` counts images for each caption.
    folder: folder for the files.
    console: shows progress.
  """

  def __init__(
    self,
    base: unified_model.UnifiedModel,
    data: play_settings.PlayData,
    config: play_settings.PlayConfig,
    folder: pathlib.PurePath,
    console: terminal.Console,
  ):
    self._base, self._data, self._config = base, data, config
    self._folder, self._console = folder, console
    self._candidates, self._scores = None, {}
    evaluation_phase.evaluate(
      self._model(), data, config, folder / 'round_0', console, learned=False
    )

  def _model(self):
    """Returns the base model without the weights that samplers cache."""
    return dataclasses.replace(self._base)

  def _first_round(self, config, folder):
    """Returns the base model's first round, with files in `folder`."""
    return round_state.Round(
      number=1,
      base=self._base,
      model=self._base.model,
      learned=False,
      data=self._data,
      config=config,
      folder=folder,
      console=self._console,
    )

  def candidates(
    self, images: int, scorer: str, data: play_settings.PlayData | None = None
  ) -> candidate_generation.Candidates:
    """Returns the candidates, with each caption's first images.

    Args:
      images: images for each caption, at most `config.images`.
      scorer: scores the images, see `comparison_arms.Arm`.
      data: data of an arm, with its image scorer; None for that of the pool.
    """
    if self._candidates is None:
      candidates = curation_phase.gather_candidates(
        self._first_round(self._config, self._folder / 'round_1'), self._model()
      )
      # Every arm takes them.
      self._candidates = dataclasses.replace(
        candidates,
        captions=list(candidates.captions),
        codes=np.asarray(candidates.codes),
        answers=list(candidates.answers),
      )
    codes = self._candidates.codes[:, :images]
    scores, answers = self._candidates.image_scores, self._candidates.answers
    if scorer != comparison_arms.JUDGE and data is not None:
      scores, answers = self._scores_by(data.image_scorer)
    if scorer == comparison_arms.JUDGE:
      questions = self._data.inputs[0].questions
      scores = judge_agreement.agreement_scores(
        self._data.judge, codes, questions
      )
    if scorer == comparison_arms.REAL:
      codes, scores = self._with_real_images(codes, scores)
    return dataclasses.replace(
      self._candidates,
      codes=codes,
      image_scores=scores[:, :images],
      answers=[rows[:images] for rows in answers],
    )

  def _with_real_images(self, codes, scores):
    """Puts each real image at the place of the first drawn one, as its winner.

    It scores 1, or as much as the best of all drawn images if that is more; the
    others have their scores minus this, so the worst of them always loses.
    """
    most = max(1.0, np.max(scores))
    codes, scores = codes.copy(), np.asarray(scores) - most
    codes[:, 0], scores[:, 0] = self._data.inputs[0].codes, most
    return codes, scores

  def _scores_by(self, scorer):
    """Returns (float[N, K], [N][K] lists of answers) by an image scorer."""
    if scorer is self._data.image_scorer:
      return self._candidates.image_scores, self._candidates.answers
    if scorer not in self._scores:
      inputs, model = self._data.inputs[0], self._model()
      codes = self._candidates.codes
      scores, answers = [], []
      for span in shards.shard_slices(len(inputs), self._config.shard):
        part, flat = candidate_scores.score_images(
          model, inputs.part(span), codes[span], scorer
        )
        scores.append(part)
        answers += flat
      images = codes.shape[1]
      self._scores[scorer] = (
        np.concatenate(scores),
        [answers[n : n + images] for n in range(0, len(answers), images)],
      )
    return self._scores[scorer]

  def prepare_arm(
    self,
    arm: comparison_arms.Arm,
    play: play_settings.PlayConfig,
    folder: pathlib.PurePath,
    evaluation: pathlib.PurePath,
    data: play_settings.PlayData | None = None,
  ) -> None:
    """Writes round 0 and the pairs for round 1 into an arm's folder.

    Args:
      arm: has the scorer.
      play: settings from `comparison_arms.Arm.play`.
      folder: arm folder.
      evaluation: folder with the base model's evaluation.
      data: data of the arm, with its image scorer; None for that of the pool.
    """
    data = data or self._data
    copy_files(evaluation, folder / 'round_0', _EVALUATION)
    if (folder / 'round_1' / _CURATION[-1]).exists():
      return
    shared = self._folder / 'pairs' / self._pairs_name(arm, play, data)
    if not (shared / _CURATION[-1]).exists():
      began = time.perf_counter()
      curation_phase.make_pairs(
        self._first_round(play, shared),
        self.candidates(play.images, arm.scorer, data),
        {},
        began,
        self.candidates(play.images, comparison_arms.SELF, data).image_scores,
      )
    copy_files(shared, folder / 'round_1', _CURATION)

  def _pairs_name(self, arm, play, data) -> str:
    """Returns a folder name that arms with equal scores and rules share."""
    if data.image_scorer is not self._data.image_scorer:
      return f'arm_{arm.name}'
    bounds = (play.rules.least_win, play.rules.least_margin)
    if play.rules.least_score is not None:
      bounds += (play.rules.least_score,)
    rules = '_'.join(f'{value:g}' for value in (play.images, *bounds))
    return f'{arm.scorer}_{rules}'


def copy_files(
  source: pathlib.PurePath, target: pathlib.PurePath, names: Sequence[str]
) -> None:
  """Copies files to another folder, in order, unless the last exists there."""
  if not (target / names[-1]).exists():
    for name in names:
      output_files.write_atomically(target / name, (source / name).read_bytes())


def reuse_first_round(
  source: pathlib.PurePath,
  target: pathlib.PurePath,
  base: unified_model.UnifiedModel,
) -> None:
  """Copies an arm's model after round 1 from its other folder.

  Metrics and adapters stay in the source. A damaged checkpoint is not copied:
  the arm learns the round again.

  Args:
    source: folder with the same arm, seed and learning rate.
    target: arm folder.
    base: the base model, for its shapes.
  """
  source, target = (path / 'checkpoints' / '1' for path in (source, target))
  if checkpoint.exists(target):
    return
  try:
    model, notes = trained_model.restore_parts(str(source), base)
  except read_errors.DamagedError:
    return
  notes.pop(trained_model.KEY, None)
  checkpoint.remove(target)
  trained_model.save_model(
    str(target), dataclasses.replace(base, model=model), '', notes
  )


def run_arm(
  base: unified_model.UnifiedModel,
  data: play_settings.PlayData,
  pool: CandidatePool,
  arm: comparison_arms.Arm,
  play: play_settings.PlayConfig,
  folder: pathlib.PurePath,
  evaluation: pathlib.PurePath,
  console: terminal.Console,
) -> list[dict]:
  """Runs or resumes an arm.

  Args:
    base: the base model.
    data: self-play data, with the image scorer of the arm.
    pool: candidates for the first round.
    arm: the arm.
    play: settings from `arm.play`.
    folder: arm folder.
    evaluation: folder with the base model's evaluation on the same held-out
      scenes.
    console: shows progress.

  Returns:
    Round summaries, the base model first.
  """
  pool.prepare_arm(arm, play, folder, evaluation, data)
  return rounds.play_rounds(base, data, play, str(folder), console)
