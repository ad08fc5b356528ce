"""Images and questions of `understand`, checked before weights are read."""

import itertools

from hermesflow_jax.data import image_listing
from hermesflow_jax.data import image_reader
from hermesflow_jax.data import input_faults
from hermesflow_jax.jobs.setup import listed_images
from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.runtime import user_text
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.sequences import known_words

# Side of the images that are only checked, in pixels.
_CHECKED_SIZE = 16


def read_inputs(
  config, unified: unified_model.UnifiedModel, console: terminal.Console
) -> tuple[list[listed_images.ListedImage], tuple[str, ...]]:
  """Returns the images and questions without a fault.

  Args:
    config: settings of `understand`.
    unified: model from `record_checks.load_text_checks`.
    console: prints words that the model does not know, files that are no
      images, and what is left out.

  Returns:
    (images, questions).

  Raises:
    ValueError: with on_error='raise' names the first faults of images and
      questions, and their number; otherwise no image or no question is valid.
      `files.on_error` 'skip' is enough for the images of a data set.
  """
  warning = known_words.unknown_warning(
    unified.text, [*config.questions, *config.choices]
  )
  if warning:
    console.say(warning)
  passed_over = []
  images, missing = _list_images(config, passed_over.append)
  question_faults = {
    question: fault
    for question in config.questions
    if (fault := _question_fault(unified, question, config.choices))
  }
  image_faults = {
    image.name: fault
    for image in console.progress('reading')(images)
    if (fault := image_fault(image.name, image.path))
  }
  # Questions share the faults of their choices.
  faults_of_questions = list(dict.fromkeys(question_faults.values()))
  faults_of_images = missing + [
    f'image {user_text.quote(name)}: {fault}'
    for name, fault in image_faults.items()
  ]
  image_policy = config.on_error
  if config.files and config.files.on_error == 'skip':
    image_policy = 'skip'
  questions = tuple(q for q in config.questions if q not in question_faults)
  images = [image for image in images if image.name not in image_faults]
  refused = faults_of_questions if config.on_error == 'raise' else []
  if image_policy == 'raise':
    refused = refused + faults_of_images
  try:
    input_faults.raise_if_any(refused)
  except ValueError as error:
    if not images or (config.questions and not questions):
      raise
    flag = '--config.on_error=skip'
    if config.files and not faults_of_questions:
      flag = '--config.files.on_error=skip'
    raise ValueError(f'{error}; leave them out with {flag}') from error
  for faults, valid, on_error in (
    (faults_of_images, images, image_policy),
    (faults_of_questions, questions, config.on_error),
  ):
    input_faults.raise_or_report(faults, len(valid), on_error, console.say)
  for line in dict.fromkeys(passed_over):
    console.say(line)
  return images, questions


def _list_images(
  config, say
) -> tuple[list[listed_images.ListedImage], list[str]]:
  """Returns (images, faults of the patterns that match none)."""
  if config.files:
    return listed_images.of_data_set(config.files, say), []
  names, faults = _list_files(config, say)
  images = [
    listed_images.ListedImage(name, storage.path(name)) for name in names
  ]
  return images, faults


def _list_files(config, say) -> tuple[list[str], list[str]]:
  """Returns (image files, faults of the patterns that match none)."""
  try:
    return image_listing.list_images(config.images, say), []
  except ValueError as error:
    together = str(error)
  faults = []
  names = [
    input_faults.attempt(faults, image_listing.list_images, [pattern], say)
    for pattern in config.images
  ]
  names = dict.fromkeys(itertools.chain(*(n for n in names if n)))
  return list(names), [together] if config.on_error == 'raise' else faults


def _question_fault(unified, question, choices) -> str:
  try:
    unified.check_question({'question': question, 'choices': choices})
  except ValueError as error:
    return str(error)
  return ''


def image_fault(name: str, path=None) -> str:
  """Returns why an image cannot be read; '' for a readable image.

  Args:
    name: path as text, or the name of an image inside another file.
    path: a `storage.path` or `StoredImage`; None for the path of the name.
  """
  try:
    user_text.check('its name', name)
    path = storage.path(name) if path is None else path
    image_reader.load_image(path, _CHECKED_SIZE)
  except ValueError as error:
    return str(error).partition('cannot be read: ')[2] or str(error)
  return ''
