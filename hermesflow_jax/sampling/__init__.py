"""Samplers for images, text and answers.

maskgit generates an image, autoregressive writes a reply, choice_scores scores
the choices of a question (choice_tokens: token trees, choice_rules: scores);
each handles a single example. prefix_cache holds caches that examples share.
batched compiles samplers for batches, mesh_sampler runs them over a mesh, and
serving_weights prepares the weights. question_answering answers questions, and
reply_openings gives the probability of an answer;
unified_model combines all of these; inpainting fills larger canvases. search
chooses the best of several drawings (search_settings, search_scores),
image_steps draws a few steps at a time, and masked_steps says which codes a
step computes.
"""
