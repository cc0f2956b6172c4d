"""Turns raw files into stores, and stores into batches. Importing this package imports neither torch nor Lightning.

prepare          makes a store of raw files. formats/ has one reader a layout, manifest knows the published feature
                 sets, repair makes -inf, +inf and NaN 0, source_check refuses what a store cannot hold, and
                 prepare_report prints what was done; splitting divides clips into splits or folds, draw_splits draws
                 which
store            opens a store, an HDF5 file; store_writing lays it out, mapped_file maps it, store_check compares it
                 with its schema, and hdf5_errors lists what h5py raises; train_labels takes labels away or mixes them
target           describes what is to be predicted; score_classes cuts scores into classes
own_stores       makes a store of a user's arrays, own_columns of a frame or a Hugging Face data set; store_place
                 checks where it goes. target_columns finds what targets are, for formats/folder too, and split_check
                 refuses splits that are of no use
clips            holds one split in memory, as readers make it and stores return it; own_clips makes one of a user's own
                 arrays, and new_clips of files that a trained run is to predict
text             makes token ids and reads word vectors, when a store is prepared
unpickle         reads pickles without running anything in them; torch_file reads files of torch.save likewise
datamodule       makes batches of a store: sampler chooses the clips, resident holds a split on the device, and batch
                 is what a method gets; training_data is the data module that a Trainer takes
augment          makes random views of a clip's sequences, erase takes random steps away, and missing_laws say which
                 modalities a clip loses at a rate; mixing does mixup over the global batch
synthetic        makes the fixture, and data by interactions and competition, which share rendering; knowable computes
                 what can be known from these data
"""

from trivium.data.own_columns import from_frame, from_huggingface
from trivium.data.own_stores import from_arrays
from trivium.data.store import Store, StoreSchema, open_store, verify_store, write_store

__all__ = [
    "Store",
    "StoreSchema",
    "from_arrays",
    "from_frame",
    "from_huggingface",
    "open_store",
    "verify_store",
    "write_store",
]
