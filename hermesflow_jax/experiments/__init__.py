"""Experiments: jobs that compare many runs of self-play.

`ablation` compares arms (losses, settings) that start from the same candidates:
`comparison_arms` holds the settings of an arm, `ablation_settings` those of the
job, `arm_runs` runs arms and `ablation_results` tabulates their scores. `seeds`
repeats the main job with several seeds, each beside a control, which
`pretraining_control` trains.
"""
