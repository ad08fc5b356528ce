"""Setup that jobs share: mesh, model, inputs, run folder.

Processes and devices:

  process_group        joins the processes of a job
  coordinator_address  address of the first process
  mesh_config          settings of the device mesh

Model and inputs:

  job_model            settings shared by jobs with a model; loads the model
  job_inputs           image-caption inputs
  prompt_list          prompts
  curation_folder      pairs that a finished `curate` wrote
  training_schedule    batch size, logging and saving

Run folder:

  workdir_claim        claims the folder; refuses a run with other settings
  job_start            claims it, and reads the results of a finished run
  job_results          writes the results files
"""
