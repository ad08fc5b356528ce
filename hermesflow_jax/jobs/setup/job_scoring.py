"""The scorers and the answer matcher of a job, with their encoders.

Functions take a `scorer_settings.ScorerSettings` with a field `free_answers`: a
`play_settings.PlayConfig`, or the settings of `curate`.
"""

from collections.abc import Callable
import functools
import pathlib

from hermesflow_jax.checkpoints import model_bundle
from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.judging import answer_cache
from hermesflow_jax.judging import reward_service
from hermesflow_jax.runtime import processes
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.scoring import caption_scorers
from hermesflow_jax.scoring import choice_matchers
from hermesflow_jax.scoring import encoder_settings
from hermesflow_jax.scoring import image_scorers
from hermesflow_jax.scoring import imported_function
from hermesflow_jax.scoring import text_encoder
from hermesflow_jax.sequences import text_similarity

_NO_ENCODER = 'which needs no encoder'


def check(config, flag: str) -> None:
  """Checks the scorers and the matcher before any weight is read.

  All processes call it.

  Args:
    config: see the module.
    flag: beginning of the flags of these settings, e.g. '--config.play'.

  Raises:
    ValueError: an encoder is missing (with the command that converts it), or
      a function of the user cannot be imported.
  """
  scorer = config.caption_scorer
  if name := caption_scorers.encoder_of(scorer):
    advice = f'give {flag}.caption_scorer=ngram, {_NO_ENCODER}'
    config.encoders.check(name, advice)
  elif imported_function.is_path(scorer):
    imported_function.load(f'{flag}.caption_scorer', scorer)
  if name := image_scorers.encoder_of(config.image_scorer):
    advice = f'give {flag}.image_scorer={image_scorers.ANSWERS}, {_NO_ENCODER}'
    config.encoders.check(name, advice)
  elif imported_function.is_path(config.image_scorer):
    imported_function.load(f'{flag}.image_scorer', config.image_scorer)
  if config.needs_service:
    config.http_reward.key(reward_service.NAME)
  if config.free_answers:
    check_matcher(config, flag)


def check_matcher(config, flag: str) -> None:
  """Checks the matcher; see `check`.

  Args:
    config: see the module.
    flag: see `check`.

  Raises:
    ValueError: see `check`.
  """
  matcher = config.answer_matcher
  if name := choice_matchers.encoder_of(matcher):
    advice = f'give {flag}.answer_matcher=ngram, {_NO_ENCODER}'
    config.encoders.check(name, advice)
  elif imported_function.is_path(matcher):
    imported_function.load(f'{flag}.answer_matcher', matcher)


def encoder_hashes(config) -> dict[str, Callable]:
  """Returns `contents` of `workdir_claim.claim_workdir` for the encoders.

  All processes call it, as all read a checkpoint together.

  Args:
    config: see the module.

  Returns:
    A function per encoder in use, which returns the hash of its content.
  """
  names = {
    caption_scorers.encoder_of(config.caption_scorer),
    image_scorers.encoder_of(config.image_scorer),
  }
  if config.free_answers:
    names.add(choice_matchers.encoder_of(config.answer_matcher))
  return _hashes(config, names)


def matcher_hashes(config) -> dict[str, Callable]:
  """Returns the functions of `encoder_hashes` for the matcher alone.

  Args:
    config: see the module.
  """
  return _hashes(config, {choice_matchers.encoder_of(config.answer_matcher)})


def _hashes(config, names) -> dict[str, Callable]:
  hashes = {
    name: config.encoders.content_hash(name)
    for name in encoder_settings.SOURCES
    if name in names
  }
  return {
    f'{name}_encoder': functools.partial(str, content_hash)
    for name, content_hash in hashes.items()
  }


def make_scorers(
  config,
  mesh,
  root: pathlib.PurePath,
  console: terminal.Console,
  share: int = 0,
) -> tuple[text_similarity.Scorer, Callable | None]:
  """Returns (caption scorer, image scorer); None for the share of answers.

  Encoders are read at their first use. A reward service is tested by a request.
  All processes call it.

  Args:
    config: see the module.
    mesh: device mesh.
    root: run folder, which keeps the scores of a reward service.
    console: prints how many scores are known.
    share: number of this job among jobs that share `root`.

  Raises:
    ValueError: the reward service does not reply.
  """
  encoders = text_encoder.TextEncoders(config.encoders, mesh)
  service = _make_service(config, root, console, share)
  return (
    caption_scorers.make(config.caption_scorer, encoders, service),
    image_scorers.make(config.image_scorer, encoders, service),
  )


def _make_service(config, root, console, share):
  """Returns the reward service of both scorers, tested; None without."""
  if not config.needs_service:
    return None
  settings = config.http_reward
  folder = storage.path(settings.cache) if settings.cache else root / 'rewards'
  cache = answer_cache.AnswerCache(folder, share)
  if len(cache):
    console.say(
      f'{reward_service.NAME}: {user_text.counted(len(cache), "score")} found '
      f'in {folder}'
    )
  service = reward_service.RewardService(settings, reward_service.NAME, cache)
  if settings.probe:
    processes.on_first_process(service.probe)
  return service


def make_matcher(config, mesh) -> text_similarity.Matcher:
  """Returns the matcher of free answers; its encoder is read at its first use.

  Args:
    config: see the module.
    mesh: device mesh.
  """
  encoders = text_encoder.TextEncoders(config.encoders, mesh)
  return choice_matchers.make(config.answer_matcher, encoders)


def place_on_mesh(
  config: job_model.ModelSettings,
  parts: model_bundle.Bundle,
  mesh,
  console: terminal.Console,
  play,
) -> unified_model.UnifiedModel:
  """Returns a model that answers as a job's settings say.

  Args:
    config: see `job_model.place_on_mesh`.
    parts: see `job_model.place_on_mesh`.
    mesh: device mesh.
    console: shows progress.
    play: settings of the module, with `answering` and `caption_prompt`. The
      encoder of the matcher is read at its first use.
  """
  matcher = text_similarity.nearest_choices
  if play.free_answers:
    matcher = make_matcher(play, mesh)
  return job_model.place_on_mesh(
    config, parts, mesh, console, play.answering, play.caption_prompt, matcher
  )
