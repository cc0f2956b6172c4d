"""Makes a checked config of a command line, and objects of the config.

check        the gate of `trivium train`: every mistake at once, before torch is imported. reference, schema: which
             keys and types there may be; limits: values that no run could use; generator_settings: of data made on
             first use
overrides    the command line's words, one by one; sweep, space: what -m searches
compose      config files and overrides -> one plain dict, as Hydra composes it; config_folder: where the files lie
monitor      which validation metric selects a run's epoch (trainer.monitor)
store_path   which prepared store a config names
instantiate  a node's `_target_` -> an object of this package, or of a module that the user trusts (trust)
arguments    key=value of the other scripts; help, nearest: what users read
renamed      keys that had other names in version 0.1.0
"""
