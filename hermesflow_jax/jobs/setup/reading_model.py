"""Settings of jobs whose model may read images by a CLIP tower."""

import dataclasses

from hermesflow_jax.jobs.setup import job_model
from hermesflow_jax.pair_dpo import official_defects
from hermesflow_jax.runtime import settings


@dataclasses.dataclass(frozen=True)
class ReadingSettings(job_model.ModelSettings):
  """Settings of a model that reads image codes or CLIP features.

  Attributes:
    vision: CLIP tower that `conversions.convert clip_vision` wrote, for a model
      that reads CLIP features; '' for others. See `vision_tower`.
  """

  vision: str = settings.path_of_content('base', default='', kw_only=True)


def check_compat(vision: str, compat: official_defects.OfficialDefects) -> None:
  """Raises ValueError for official defects that the CLIP variant does not have.

  Args:
    vision: see `ReadingSettings`.
    compat: official defects to reproduce.
  """
  if vision:
    official_defects.check_clip_rows(compat)
