"""Says what a run would have reported if the test split had chosen its epoch (run.audit=true). Nothing is chosen by it.

The test split stays closed while the run trains: the weights of each epoch are kept, and scored on it when training is
over and the run's own numbers are computed.
"""

from __future__ import annotations

import shutil

from trivium.core.files import csv_text, write_text
from trivium.data.datamodule import DataModule
from trivium.evaluation.predict import predict_split, score_split
from trivium.evaluation.probe import fit_readout
from trivium.methods.base import Method
from trivium.runs.directory import RunDirectory
from trivium.runs.weights import load_weights


def write_audit(run: RunDirectory, epochs: int, data: DataModule, method: Method) -> None:
    """Writes audit.csv, the test metrics of each epoch's weights, and removes these. The method's weights are changed.

    Called when training is over. A method that is scored by a probe gets one for each epoch, fitted without test. Does
    nothing for a store without a test split. Raises ValueError naming the file if an epoch's weights are not there.
    """
    if "test" not in data.store.schema.counts:
        return
    # It is there if the run was killed after it was written.
    if not run.audit_file.is_file():
        loader = data.loader("test", device=method.device)
        rows = []
        for epoch in range(1, epochs + 1):
            load_weights(method, run.epoch_weights(epoch))
            if method.probed:
                fit_readout(method, data)
            rows.append({"epoch": epoch, **score_split(method, loader, predict_split(method, loader))})
        write_text(run.audit_file, csv_text(list(rows[0]), rows))
    shutil.rmtree(run.epoch_weights(1).parent, ignore_errors=True)
