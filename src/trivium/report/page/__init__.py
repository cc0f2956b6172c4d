"""Builds one self-contained HTML file about runs, tables and searches: build_page fills page.html.

boards       what is compared on the first screen; standings: which row is best, by how much, by which test
tables       sortable tables; clip_data: every clip's prediction; pictures: which figures there are
"""
