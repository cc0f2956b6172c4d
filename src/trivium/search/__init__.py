"""Runs many runs: the scheduler of tables, grids and searches, and Optuna's studies.

Hydra's side of grids and searches is hydra_plugins/trivium_sweeper.

scheduler        runs a list of jobs, N at once; train_processes: each in a process of `trivium train`
reporter         tells how far they are; outcome: how a run ended; jobs: commands, failures; titles: what was varied
study            the trials of one search, and who works on which; study_settings: what a search is asked for; naming:
                 which study a command means
sampling         draws a trial's values; storage: holds the trials, in a database or a journal; pruning: ends trials
                 that lag; summary: the result; sweep_table: a grid's
devices          one GPU a process; cluster: jobs of submitit, slurm_queue: how they are in SLURM; idle: parameters that
                 change nothing
"""
