"""Turns raw files into stores, and stores into batches. Importing this package imports neither torch nor Lightning.

prepare          raw files -> store: formats/ has one reader a layout, manifest the published feature sets; repair makes
                 -inf, +inf and NaN 0; source_check, prepare_report
store            the HDF5 file, opened; store_writing lays it out; hdf5_errors, locate
clips            one split in memory, which readers make and stores hold; own_clips: of a user's own arrays
text             token ids and word vectors, at prepare time
unpickle         pickles of others, nothing of them run; torch_file: those of torch.save
datamodule       store -> batch: sampler chooses clips, resident holds a split on the device; training_data is what a
                 Trainer takes
augment          random views of a clip's sequences; mixing: mixup over the global batch
synthetic        the fixture and data made by interactions, competition; generator_settings, rendering, knowable
"""

from trivium.data.store import Store, StoreSchema, open_store, verify_store, write_store

__all__ = ["Store", "StoreSchema", "open_store", "verify_store", "write_store"]
