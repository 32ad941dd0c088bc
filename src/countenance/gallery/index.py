"""What the rest of the gallery knows of indexes."""

from countenance.gallery.exact import FaissIndex, Index, IndexFactory, NumpyIndex
from countenance.gallery.quantised import QuantisedIndex
from countenance.gallery.tiers import TieredIndex, tiered

__all__ = [
    "FaissIndex",
    "Index",
    "IndexFactory",
    "NumpyIndex",
    "QuantisedIndex",
    "TieredIndex",
    "default_index",
    "tiered",
]


def default_index(dimension: int) -> Index:
    """The fastest exact index that this installation has for a collection's size, whatever that becomes."""
    return TieredIndex(dimension)
