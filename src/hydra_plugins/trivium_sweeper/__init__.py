"""Gives Hydra the sweeper of trivium.search: Hydra imports every package below hydra_plugins to find sweepers."""
