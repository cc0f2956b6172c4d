"""Builds one self-contained HTML file about runs, tables and searches: build fills page.html.

boards       what is compared on the first screen; standings: which row is best, by how much, by which test
tables       sortable tables; clips: every clip's prediction; pictures: which figures there are
"""
