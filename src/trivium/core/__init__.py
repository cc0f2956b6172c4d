"""Holds what every other package stands on; imports nothing of them."""
