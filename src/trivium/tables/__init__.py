"""Makes a paper's table (configs/table), from its file to the written table: scripts/reproduce.py, module by module.

reproduce    the command, and the order of all this
definition   the YAML: rows, measures (published, datasets, yaml_keys)
finished     runs that are there already; earlier_sections: those of data sets that this call leaves alone
plan         one run a row and seed; overview and estimate show what is left of it (dry=true)
work         trains it by the scheduler (trivium.search) and evaluates it (evaluations)
collect      each seed's values, means, intervals, paired tests
parts        a data set's part of what is written: blocks of text cells -> markdown, latex; files, figure (bars, panels)
publish      the same as files that may be committed
"""
