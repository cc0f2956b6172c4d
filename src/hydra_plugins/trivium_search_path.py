"""Lets Hydra find the config files of the user's own folder and of installed plugins of Trivium."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class TriviumSearchPath(SearchPathPlugin):
    """Appends the folders behind Trivium's own, whose choices therefore win where names are equal."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        # Imported here and not at the top, as Hydra imports this file at every start.
        from trivium.config.trust import more_config_folders

        for folder in more_config_folders():
            search_path.append("trivium", f"file://{folder.resolve()}")
