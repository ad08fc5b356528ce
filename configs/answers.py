"""Settings of learning from answers on the embedded world."""


def use_answers(config):
  """Changes the config to a round that learns from answers alone.

  Nothing is learned from the few inputs whose candidates are made; a round has
  to have some (docs/learning_from_answers.md, "Answers alone").
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
  play.epochs = 0.0  # Steps alone end the round.
  play.optim.update({'lr': 3e-4, 'steps': 800})
