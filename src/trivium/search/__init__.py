"""Sweeps, behind hydra_plugins/trivium_sweeper, which is Hydra's side of them.

study        the trials of one search, and who works on which; naming: which study a command means
sampling     what draws a trial's values; storage: where trials are kept; pruning: what a trial's run tells and obeys
jobs         commands and failures; outcome: how a job ended; progress, titles, summary: what is told
devices      one GPU a process; cluster: jobs of submitit; idle: parameters that change nothing
"""
