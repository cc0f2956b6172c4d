"""Hydra's way to trivium.search: Hydra looks for sweepers in packages below hydra_plugins, and imports all of them."""
