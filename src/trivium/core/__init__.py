"""Holds what every other package of trivium uses, and imports none of them."""
