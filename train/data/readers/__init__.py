"""Data sets in their published layouts: one file per layout, one row per name on the command line."""

from argus_edge.train.data.readers.reader import Reader
from argus_edge.train.data.readers.table import READERS, open_data, parse_data

__all__ = ["READERS", "Reader", "open_data", "parse_data"]
