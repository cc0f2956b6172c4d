"""One self-contained HTML file about runs, tables and searches."""
