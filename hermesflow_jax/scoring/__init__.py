"""Scorers of captions and images, and matchers of free answers, by name.

  encoder_settings  settings: folders of encoders
  text_encoder      texts to vectors, in batches over the mesh
  clip_encoder      images and texts to vectors
  caption_scorers   `ngram`, `bert`, `sentence`, `clip`, `likelihood`,
                    `http_reward`, or a function of the user
  image_scorers     `answers`, `soft`, `caption_likelihood`,
                    `image_likelihood`, `clip`, `http_reward`, or a function
                    of the user
  service_scorers   scores of a reward service
  user_scorers      scores of images by a function of the user
  checked_scores    refuses scores that are not finite
  choice_matchers   `ngram`, `sentence`, or a function of the user
  imported_function a function that a setting names by its import path

`sequences.text_similarity` has the protocols `Scorer` and `Matcher`, and the
functions that need no model.
"""
