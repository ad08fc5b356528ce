"""Judges of generated images: endpoints, models, answers in files.

  judge_settings     settings of the judge
  endpoint_settings  settings of an OpenAI-compatible chat endpoint
  chat_endpoint      requests with retries and a limit of their rate
  http_transport     a POST request with JSON, and its faults
  request_pace       starts requests at a steady rate
  worker_threads     calls a function in parallel threads
  question_prompts   questions as texts for an endpoint, replies as answers
  answer_cache       replies in a folder, which later starts read
  usage              what a judge has cost
  endpoint_judge     a judge that asks an endpoint
  model_judge        a judge that asks another model
  file_judge         a judge whose answers are in files
  question_writer    questions about captions, by a language model
  imported_judge     a function of the user
  question_files     images and questions for other judges, and their answers

`evaluation.gap` has the protocol `Judge`.
"""
