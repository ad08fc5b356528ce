"""Settings of services behind HTTP: judges and rewards.

Other configs import this file; it starts no job itself.
"""


def judge_settings():
  """Returns the settings of the judge of drawn images (docs/judges.md)."""
  return {
    # '': pixels in the embedded world, the base model for files. Or pixels,
    # model, endpoint, files, or a function of your own.
    'kind': '',
    'init_from': '',  # With model: a checkpoint or a run,
    'tokenizer': '',  # and the tokenizers of a converted Show-o.
    'text': '',
    'vision': '',  # Its CLIP tower, if it is a model with w_clip_vit.
    'answers': '',  # With files: a file or folder of answers.
    'url': '',  # With endpoint, e.g. http://127.0.0.1:8000/v1.
    'model': '',  # Its name at the endpoint.
    'key_variable': '',  # Environment variable that holds the key.
    'prompt': (
      'Look at the image and answer the question. Reply with one of the '
      'choices, in its exact words, and with nothing else.\n'
      'Question: {question}\nChoices: {choices}'
    ),
    'questions_at_once': 1,  # In a request, about the same image.
    'max_tokens': 64,
    'temperature': 0.0,
    'seed': 0,
    'body': {},  # More fields of a request.
    'timeout': 60.0,  # Seconds.
    'retries': 5,
    'rate': 0.0,  # Requests per minute; 0 for no limit.
    'parallel': 8,  # Requests at the same time, of each process.
    'probe': True,  # A request before any work.
    'cache': '',  # Folder of replies; '': judge/ in the run folder.
  }


def reward_settings():
  """Returns the settings of the scorer `http_reward` (docs/scorers.md)."""
  return {
    'url': '',  # Of the service, e.g. http://127.0.0.1:8090.
    'reward': '',  # Its name at the service.
    'metric': '',  # A number of the reward; '': the first.
    'key_variable': '',  # Environment variable that holds the key.
    'images_at_once': 8,  # In a request, at most.
    'timeout': 60.0,  # Seconds.
    'retries': 5,
    'rate': 0.0,  # Requests per minute; 0 for no limit.
    'parallel': 8,  # Requests at the same time.
    'probe': True,  # A request before any work.
    'cache': '',  # Folder of scores; '': rewards/ in the run folder.
  }
