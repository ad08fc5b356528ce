"""Settings of learning from answers on the embedded world."""


def use_answers(config):
  """Changes the config to a round that learns from answers alone.

  A round has to have a few inputs with candidates. Their pairs have weight 0;
  their questions count as all others do (docs/learning_from_answers.md,
  "Answers between rounds of images").
  """
  play = config.play
  config.inputs, config.answer_inputs, play.rounds = 48, 12_000, 1
  play.objective.update(
    {
      'und_weight': 0.0,
      'gen_weight': 0.0,
      'und_sft_weight': 0.0,
      'gen_sft_weight': 0.0,
    }
  )
  play.objective.answers.update(
    {'weight': 1.0, 'questions': 2, 'confidence': 0.9, 'unsure_share': 0.8}
  )
  play.epochs = 0.0  # The round has as many steps as `optim` says.
  play.optim.update({'lr': 3e-4, 'steps': 800})
