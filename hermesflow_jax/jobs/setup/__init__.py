"""Setup that jobs share: mesh, model, inputs, run folder.

Processes and devices:

  process_group        joins the processes of a job
  coordinator_address  address of the first process
  cluster_port         port of the first process in a cluster
  rendezvous           meeting of the processes before JAX connects them
  mesh_config          settings of the device mesh

Model and inputs:

  job_model            settings shared by jobs with a model; loads the model
  job_inputs           image-caption inputs
  record_checks        checks of records, before weights are read
  question_inputs      images and questions of `understand`
  job_scoring          caption scorer and answer matcher, with their encoders
  prompt_list          prompts
  starting_image       image that `generate` starts from, with its mask
  curation_folder      pairs that a finished `curate` wrote
  official_files       these pairs in the form of the official code
  pair_source          these pairs, or an official file, for `learn`
  tokenizer_hashes     hashes of tokenizers, which pairs are made with
  training_schedule    batch size, logging and saving

Run folder:

  default_workdir      folder that a job chooses
  workdir_claim        claims and locks the folder; refuses a run with other
                       settings
  folder_claim         the lock of a folder, and the settings in it
  run_record           the settings and hashes that are compared
  judge_record         name and prompt of the judge
  folder_contents      files of systems, settings, caches and results
  job_start            claims it, and reads the results of a finished run
  job_results          writes the results files
"""
