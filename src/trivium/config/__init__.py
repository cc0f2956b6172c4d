"""Makes a checked config of a command line, and objects of the config.

check        reports every mistake in the command line of `trivium train` at once, before torch is imported. It asks
             reference and schema which keys and types there may be, limits which values no run could use, and
             generator_settings for the settings of generated data
overrides    parses the command line's overrides one by one; sweep and space parse what -m searches
compose      makes one plain dict of config files and overrides, as Hydra composes it; config_folder finds the files
monitor      reads which validation metric selects a run's epoch (trainer.monitor)
store_path   finds the prepared store that a config names; pretrained_files says which pretrained models are not here
run_settings finds the settings of the run that resume=DIR names; callbacks checks trainer.callbacks
instantiate  builds an object from a node's `_target_`, of this package or of a module that the user trusts (trust)
arguments    parses key=value for the other commands
help         writes the text of `trivium train --help`
renamed      accepts keys that had other names in version 0.1.0
"""
