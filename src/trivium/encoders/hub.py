"""Hugging Face models: from a folder, the hub's cache or the hub; from a config alone; from what a run recorded.

transformers is imported when a model is asked for, not before. No code of a model repository is ever run.
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
    """Returns an encoder model in the default dtype, and its config as plain JSON, as it was before `dropout_scale`.

    name: a folder that save_pretrained wrote (for random_init, config.json is enough), or a hub name.
    assets: {"config": such a JSON}; the architecture is then built from it with random weights, `name` is not read.
    pooler: whether its weights are wanted too; a warning tells if the folder has none.
    Raises ValueError if transformers is missing, there is no such model, it is no encoder, its weights are incomplete,
    or a scaled dropout is outside [0, 1).
    """
    transformers = _transformers(name)
    config = _recorded(transformers, assets) if assets else _config(transformers, name)
    if config.is_encoder_decoder:
        raise ValueError(f"model: {name} is an encoder-decoder ({config.model_type}); choose an encoder, such as BERT")
    plain = json.loads(json.dumps(config.to_dict()))
    # a path of the machine that trained
    plain.pop("_name_or_path", None)
    _scale_dropout(config, dropout_scale)
    if assets or random_init:
        model = transformers.AutoModel.from_config(config, trust_remote_code=False)
    else:
        model = _pretrained(transformers, name, config, pooler)
    # weights stored in half precision are loaded as such by newer versions
    return model.to(torch.get_default_dtype()), plain


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"model: {name} needs transformers ({error}); pip install 'trivium[text]'") from error
    return transformers


def _recorded(transformers: Any, assets: dict[str, Any]) -> Any:
    config = dict(assets["config"])
    return transformers.AutoConfig.for_model(config.pop("model_type"), **config)


def _config(transformers: Any, name: str) -> Any:
    if _looks_like_path(name) and not (Path(name) / "config.json").is_file():
        raise ValueError(f"model: {name} holds no config.json; expected a folder that save_pretrained wrote")
    try:
        return transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise _not_found(name, "its config", error) from error


def _pretrained(transformers: Any, name: str, config: Any, pooler: bool) -> Any:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it lists unused weights of other heads; what lacks is checked below
    transformers.logging.disable_progress_bar()  # of reading a local file; the hub's own download bar stays
    try:
        model, report = transformers.AutoModel.from_pretrained(
            name, config=config, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise _not_found(name, "its weights", error) from error
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


def _not_found(name: str, what: str, error: Exception) -> ValueError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(
        f"model: {name}: {what} cannot be loaded ({reason}). Looked for a folder of that name, in the Hugging Face "
        "cache and on the hub. Check the name and the network; offline, a local folder serves: on a machine with "
        f"network run `hf download {name} --local-dir FOLDER`, copy it, and set the encoder's model=FOLDER"
    )


def _looks_like_path(name: str) -> bool:
    return Path(name).is_dir() or name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def _scale_dropout(config: Any, scale: float) -> None:
    """Multiplies every probability of the config that has "dropout" in its name by `scale`."""
    for key, value in config.to_dict().items():
        if "dropout" in key and isinstance(value, float | int) and not isinstance(value, bool):
            if not 0 <= value * scale < 1:
                raise ValueError(f"dropout_scale: {scale} makes the model's {key} {value * scale:g}; expected 0 to 1")
            setattr(config, key, value * scale)
