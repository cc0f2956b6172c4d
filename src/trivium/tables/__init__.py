"""Makes a paper's table (configs/table), from its file to the written table: `trivium reproduce`, module by module.

definition   the YAML: rows, measures (published, margins, row_search, measures, yaml_keys). datasets makes a part for
             each data set and situation (situations, trained_once). published_results reads the package's data of
             published numbers, published_range their range over sources, and published_blocks shows both
finished     runs that are there already; earlier_sections: those of data sets that this call leaves alone
runs_table   instead of all these: finished runs in a folder, without a YAML
studies      the searches of rows, planned and read; run_studies runs them
plan         one run a row and seed; overview and estimate show what is left of it (dry=true)
work         training it by the scheduler (trivium.search) and evaluating it (evaluations)
collect      each seed's values as a frame, compared by trivium.results; audit: what the best test epoch would give
blocks       tables of text cells (search_blocks: of searches; pairs: every two rows), and legend -> markdown, latex ->
             write_files
figure       of each part: bars, panels or a heat map; situation_lines: of all situations of a data set
publish      the same as files that may be committed
"""
