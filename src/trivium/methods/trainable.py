"""Makes a method's class a LightningModule, which is what Lightning's Trainer takes.

Methods themselves are plain modules, so that a finished run loads without Lightning: importing that takes longer than
all else together.
"""

from __future__ import annotations

import functools
import types

import lightning as L

from trivium.methods.base import Method


@functools.cache
def trainable(kind: type[Method]) -> type[Method]:
    """Returns a subclass of `kind` that is a LightningModule too, under the same name.

    `kind` comes first, so that its hooks are those that Lightning calls. Parameters and their names are the same.
    """
    namespace = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        # Lightning's own, in the place of what a method without a Trainer says.
        "current_epoch": L.LightningModule.current_epoch,
        "device": L.LightningModule.device,
    }
    made: type[Method] = types.new_class(
        kind.__name__, (kind, L.LightningModule), exec_body=lambda body: body.update(namespace)
    )
    return made
