"""Finds the store file that a run reads, without opening it: a missing file is reported before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trivium.config.config_folder import CONFIGS, user_config_folder
from trivium.config.generator_settings import fingerprint, settings_of
from trivium.core.choices import suggest


def find_store(config: Mapping[str, Any]) -> Path:
    """Returns the path of the store that a composed config names in its `data` and `paths`.

    It is data.store if that is set, otherwise paths.data/NAME/FEATURES.h5, or, without data.features, the only store
    under paths.data/NAME. The path of a fixture or of generated data is returned whether it exists or not, as these are
    made on first use.
    Raises ValueError that says what to prepare, or what is wrong with a generator's settings.
    """
    data, root = config["data"], Path(config["paths"]["data"])
    name, features = str(data["name"]), str(data["features"])
    if data["store"]:
        file = Path(data["store"])
        if not file.is_file():
            raise ValueError(
                f"data.store: no file {file}; prepare it with `trivium prepare`, or leave data.store empty"
            )
        return file
    if is_fixture(name):
        return root / "fixture" / f"{name}.h5"
    settings = settings_of(data)
    if settings is not None:
        return root / "synthetic" / f"{name}-{fingerprint(settings)}.h5"
    prepared = {file.stem: file for file in sorted((root / name).glob("*.h5"))}
    if not prepared:
        raise ValueError(
            f"data={name}: no prepared store in {root / name}; make one with "
            f"`{_prepare_command(name)}`, or point paths.data or data.store at yours"
        )
    if not features and len(prepared) == 1:
        return next(iter(prepared.values()))
    if not features:
        raise ValueError(f"data.features: {root / name} has several feature sets, choose one of {', '.join(prepared)}")
    if features not in prepared:
        raise ValueError(
            f"data.features: no {features!r} in {root / name}{suggest(features, prepared)}; prepared are "
            f"{', '.join(prepared)}; `{_prepare_command(name)} name={features}` makes it"
        )
    return prepared[features]


def _prepare_command(name: str) -> str:
    known = any((folder / "data" / f"{name}.yaml").is_file() for folder in (CONFIGS, user_config_folder() or CONFIGS))
    # A data set without a YAML of its own is one of data=custom.
    return f"trivium prepare {'data=' if known else 'data=custom data.name='}{name} source=FILE"


def is_fixture(name: str) -> bool:
    """Tells whether a data set's name is one of the embedded, synthetic ones."""
    return name == "fixture" or name.startswith("fixture_")
