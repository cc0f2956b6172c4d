"""Trains one run, from a config to its record: train.py has it from top to bottom.

resume       finds the directory that a command works in. directory reads and writes its files, run_files checks what
             they hold, status reads how far it is, config_hash identifies a run by its config, and provenance finds out
             what the run was made with
assemble     makes store, batches and method of a config; start_from begins with another run's weights
extend       makes a run longer; announce says what a run is
launch       joins the ranks of a launcher, or starts torchrun on several devices, which starts worker
trainer      makes Lightning's Trainer, with recorder (metrics), checkpointing, loggers, callbacks and progress_bar;
             weights writes and reads the model, and pruned is how a search ends a run
final_test   opens the test split, last; audit scores every epoch on it afterwards, where a table asks for it;
             terminal prints the tables
load         opens a finished run as a model; evaluate_run writes its scores and probes, predict_source its
             predictions of new files
"""
