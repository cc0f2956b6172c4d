"""Loads Hugging Face encoder models: with pretrained weights, from a config alone, or from the config that a run saved.

A name is looked up as a folder, in the hub's cache and on the hub, in this order.
transformers is imported only when a model is loaded, because the import takes seconds and the package is optional.
Code that a model repository contains is never run (trust_remote_code=False).
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch

_POOLER = "pooler."


def load_model(
    name: str, *, random_init: bool, pooler: bool, dropout_scale: float, assets: dict[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    """Returns an encoder model in torch's default dtype, and its config as plain JSON.

    name: a folder that save_pretrained wrote (with random_init, its config.json is enough), or a name on the hub.
    random_init: random weights; only the config is read.
    pooler: True if the pooler's output will be used; there is then a warning if the files hold no weights for it.
    dropout_scale: factor on every dropout probability of the model. The returned config is the unscaled one.
    assets: {"config": a config that this function returned}. The architecture is then built from it with random
    weights, and `name` is not read.
    Raises ValueError if transformers is not installed, if there is no such model, if it is not an encoder, if weights
    are missing in its files, or if a scaled dropout probability is outside [0, 1).
    """
    transformers = _transformers(name)
    config = _recorded(transformers, assets) if assets else _config(transformers, name)
    if config.is_encoder_decoder:
        raise ValueError(f"model: {name} is an encoder-decoder ({config.model_type}); choose an encoder, such as BERT")
    plain = json.loads(json.dumps(config.to_dict()))
    # This is a path on the machine that trained: useless on another one, and nobody else's business.
    plain.pop("_name_or_path", None)
    _scale_dropout(config, dropout_scale)
    if assets or random_init:
        model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    else:
        model = _pretrained(transformers, name, config, pooler)
    # Newer versions of transformers leave weights that are stored in half precision in half precision.
    return model.to(torch.get_default_dtype()), plain


def _transformers(name: str) -> Any:
    """Imports transformers. Raises ValueError, with what to type, if it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"model: {name} needs transformers ({error}); pip install 'trivium[text]'") from error
    return transformers


def _recorded(transformers: Any, assets: dict[str, Any]) -> Any:
    """Returns the config that a run saved in `assets`, as an object of transformers."""
    config = dict(assets["config"])
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


def _config(transformers: Any, name: str) -> Any:
    """Returns the config of a folder or of the hub. Raises ValueError if there is none."""
    if _looks_like_path(name) and not (Path(name) / "config.json").is_file():
        raise ValueError(f"model: {name} holds no config.json; expected a folder that save_pretrained wrote")
    try:
        return transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _load_error(name, "its config", error) from error


def _pretrained(transformers: Any, name: str, config: Any, pooler: bool) -> Any:
    """Returns the model with its pretrained weights. Raises ValueError if any but the pooler's are missing."""
    verbosity = transformers.logging.get_verbosity()
    # transformers would warn of every weight of a pretraining head that goes unused. Missing weights, which matter, are
    # checked below.
    transformers.logging.set_verbosity_error()
    # This is the bar for reading a local file. The hub's bar for a download stays.
    transformers.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModel.from_pretrained(
            name, config=config, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise _load_error(name, "its weights", error) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    missing = sorted(report["missing_keys"])
    if any(_POOLER not in key for key in missing):
        raise ValueError(
            f"model: {name} lacks {len(missing)} weights of a {config.model_type} (such as {missing[0]}); "
            "its files are incomplete or of another architecture. random_init=true starts from none"
        )
    if missing and pooler:
        warnings.warn(f"model: {name} has no weights for its pooler; pool=pooler starts from random ones", stacklevel=4)
    return model


def _load_error(name: str, what: str, error: Exception) -> ValueError:
    """Returns the error that tells a user where a model was looked for, and how to get one without a network."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(
        f"model: {name}: {what} cannot be loaded ({reason}). Looked for a folder of that name, in the Hugging Face "
        "cache and on the hub. Check the name and the network; offline, a local folder serves: on a machine with "
        f"network run `hf download {name} --local-dir FOLDER`, copy it, and set the encoder's model=FOLDER"
    )


def _looks_like_path(name: str) -> bool:
    # A name on the hub is NAME or OWNER/NAME, so two slashes or one at the end mean a folder.
    return Path(name).is_dir() or name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def _scale_dropout(config: Any, scale: float) -> None:
    """Multiplies every probability of the config that has "dropout" in its name by `scale`."""
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, float | int) and not isinstance(value, bool):
            if not 0 <= value * scale < 1:
                raise ValueError(f"dropout_scale: {scale} makes the model's {key} {value * scale:g}; expected 0 to 1")
            setattr(config, key, value * scale)
