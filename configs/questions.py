r"""Questions about captions, by a language model behind an endpoint.

  python main.py --config=configs/questions.py \
    --config.annotations=data/inputs.jsonl \
    --config.endpoint.url=http://127.0.0.1:8000/v1 \
    --config.endpoint.model=a-model

writes runs/questions/questions.jsonl, a TIFA file for the setting
`files.questions` of other jobs. A question is kept if the model gives its
answer back from the caption alone. Nothing requires this job: records may have
questions, and TIFA files are read as they are.
"""

import ml_collections


def get_config():
  """Returns settings for `hermesflow_jax.jobs.questions`."""
  config = ml_collections.ConfigDict()
  config.job = 'questions'
  config.annotations = 'data/inputs.jsonl'
  config.on_error = 'raise'
  config.endpoint = {
    'url': '',
    'model': '',
    'key_variable': '',  # Environment variable that holds the key.
    'max_tokens': 2_000,
    'temperature': 0.0,
    'seed': 0,
    'body': {},  # More fields of a request.
    'timeout': 120.0,  # Seconds.
    'retries': 5,
    'rate': 0.0,  # Requests per minute; 0 for no limit.
    'parallel': 8,  # Requests at the same time.
    'probe': True,  # A request before any work.
  }
  return config
