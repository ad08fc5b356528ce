"""Settings of the judge of generated images."""

import dataclasses

from hermesflow_jax.judging import endpoint_settings
from hermesflow_jax.judging import question_prompts
from hermesflow_jax.runtime import settings

# Judges by name; '' is the default of a job. An import path is a judge, too.
KINDS = ('', 'pixels', 'model', 'endpoint', 'files')
_KIND_TEXT = (
  "kind must be '', pixels, model, endpoint, files, or the import path of a "
  'function of your own (my_module:my_judge)'
)


@dataclasses.dataclass(frozen=True)
class JudgeSettings(endpoint_settings.EndpointSettings):
  """The judge of generated images.

  Attributes:
    kind: '' takes the judge that reads pixels in the embedded world, and the
      base model for files of the user; 'pixels', 'model' (of `init_from`),
      'endpoint' (at `url`), 'files' (`answers`), or an import path.
    init_from: with 'model': folder of a model or a run, as for jobs.
    tokenizer: with 'model': image tokenizer of a converted model.
    text: with 'model': text tokenizer of a converted model.
    vision: with 'model': CLIP tower of a model that reads CLIP features.
    prompt: with 'endpoint': text about an image; {question} and {choices} are
      replaced.
    questions_at_once: with 'endpoint': questions about an image in a request.
    cache: with 'endpoint': folder of replies, which runs may share; '' for
      `judge` in the run folder.
    answers: with 'files': a file of answers, or a folder with such files.
  """

  kind: str = dataclasses.field(default='', kw_only=True)
  init_from: str = settings.path_of_content(
    'judge_model', default='', kw_only=True
  )
  tokenizer: str = settings.path_of_content(
    'judge_model', default='', kw_only=True
  )
  text: str = settings.path_of_content('judge_text', default='', kw_only=True)
  vision: str = settings.path_of_content(
    'judge_model', default='', kw_only=True
  )
  prompt: str = dataclasses.field(default=question_prompts.PROMPT, kw_only=True)
  questions_at_once: settings.PositiveInt = dataclasses.field(
    default=1, kw_only=True
  )
  cache: str = settings.may_change_on_resume(default='', kw_only=True)
  answers: str = settings.may_change_on_resume(default='', kw_only=True)

  def __post_init__(self):
    super().__post_init__()
    question_prompts.check('prompt', self.prompt)
    if self.kind not in KINDS and ':' not in self.kind:
      raise ValueError(f'{_KIND_TEXT}, got {self.kind!r}')
    needs = {
      'model': ('init_from',),
      'endpoint': ('url', 'model'),
      'files': ('answers',),
    }
    for name in needs.get(self.kind, ()):
      if not getattr(self, name):
        raise ValueError(f"{name} must be given with kind {self.kind}, got ''")
    for kind, name in (
      ('model', 'init_from'),
      ('endpoint', 'url'),
      ('files', 'answers'),
    ):
      if getattr(self, name) and self.kind != kind:
        raise ValueError(
          f'kind must be {kind} with {name}, got {self.kind!r}; give '
          f"kind={kind}, or {name}=''"
        )
