"""Scorers of captions, and matchers of free answers, by name.

  encoder_settings  settings: folders of text encoders
  text_encoder      texts to vectors, in batches over the mesh
  caption_scorers   `ngram`, `bert`, `sentence`, or a function of the user
  choice_matchers   `ngram`, `sentence`, or a function of the user
  imported_function a function that a setting names by its import path

`sequences.text_similarity` has the protocols `Scorer` and `Matcher`, and the
functions that need no model.
"""
