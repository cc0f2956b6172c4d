"""One run, from a config to its record: train.py has it from top to bottom.

opening      which directory a command works in. directory: its paths and files; identity: what a config is known by;
             provenance: what the run was made with
assemble     config -> store, batches, method; start: with another run's weights
launch       several devices: which rank this process is, or torchrun
trainer      Lightning's Trainer with recorder (metrics, weights), checkpointing, loggers; pruned: how a search ends it
load         a finished run as a model; evaluate: scores and probes of it; show: tables on the terminal
"""
