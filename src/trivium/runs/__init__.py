"""Trains one run, from a config to its record: train.py has it from top to bottom.

resume       which directory a command works in. directory: its paths and files; config_hash: what a config is known by;
             provenance: what the run was made with
assemble     config -> store, batches, method; start_from: with another run's weights
launch       several devices: which rank this process is, or torchrun
trainer      Lightning's Trainer with recorder (metrics; weights: their file), checkpointing, loggers; pruned: how a
             search ends it
final_test   opens the test split, last; terminal: the tables that are printed
load         a finished run as a model; evaluate_run: its scores and probes, written down
"""
