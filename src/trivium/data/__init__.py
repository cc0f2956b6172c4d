"""Formats -> store -> batches. Importing this package imports neither torch nor Lightning."""

from trivium.data.store import Store, StoreSchema, open_store, verify_store, write_store

__all__ = ["Store", "StoreSchema", "open_store", "verify_store", "write_store"]
