"""Self-play rounds: algorithm 1 in HermesFlow (arXiv 2502.12148).

A run can be stopped anywhere. Each phase depends only on files from earlier
phases and writes its own result atomically, so the next start skips finished
phases and ends with the same numbers.
"""

from hermesflow_jax.runtime import storage
from hermesflow_jax.runtime import terminal
from hermesflow_jax.sampling import unified_model
from hermesflow_jax.self_play import curation_phase
from hermesflow_jax.self_play import evaluation_phase
from hermesflow_jax.self_play import learning_phase
from hermesflow_jax.self_play import play_settings
from hermesflow_jax.self_play import round_state

# Results of learning in `results.json`; groups and rewards are those of GRPO.
_LEARNED = ('inputs', 'steps', 'groups', 'rewards')


def play_rounds(
  base: unified_model.UnifiedModel,
  data: play_settings.PlayData,
  config: play_settings.PlayConfig,
  workdir: str,
  console: terminal.Console,
  source: str = '',
) -> list[dict]:
  """Runs or resumes all self-play rounds.

  Writes `round_<r>/` (pairs, training metrics, evaluation) and the trained
  model `checkpoints/<r>` for each round r, and `round_0/` for the base model.

  Args:
    base: unified model that the rounds start from.
    data: inputs, held-out inputs and judge.
    config: self-play settings.
    workdir: run folder.
    console: prints progress.
    source: base model folder, recorded in checkpoints.

  Returns:
    R + 1 evaluation summaries, the base model's first.
  """

  def start_round(number, model, learned):
    folder = storage.path(workdir) / f'round_{number}'
    return round_state.Round(
      number, base, model, learned, data, config, folder, console, source
    )

  model, steps = base.model, 0
  summary = evaluation_phase.evaluate_round(
    start_round(0, model, False), model, False
  )
  summaries = [summary | {'round': 0}]
  for number in range(1, config.rounds + 1):
    this_round = start_round(number, model, steps > 0)
    # The model writes captions for each image, generates images for each
    # caption and scores both. An input gets a caption pair and an image pair.
    pairs, curation = curation_phase.curate(this_round)
    # Pair-DPO trains the model on caption pairs and image pairs together; GRPO
    # on all candidates.
    model, learning = learning_phase.learn(this_round, pairs)
    steps += learning['steps']
    # Held-out inputs measure understanding, generation and their gap.
    summary = evaluation_phase.evaluate_round(this_round, model, steps > 0)
    summary['round'] = number
    summary['curation'] = curation
    summary['learned'] = {
      name: learning[name] for name in _LEARNED if name in learning
    }
    summary['seconds'] |= {
      'curation': curation['seconds'],
      'training': learning['seconds'],
    }
    summaries.append(summary)
    # The trained model starts the next round.
  return summaries
