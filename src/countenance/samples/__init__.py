"""The images of searches that led to a match, sealed, for as long as the settings say; off by default.

The one body that keeps what was received. Knows files, keys and its tables; does not know what an image shows.
"""

from countenance.samples.daily import Daily
from countenance.samples.files import SampleNotKept
from countenance.samples.samples import Erased, Kept, Sample, SampleNotFound, Samples, Totals
from countenance.samples.sealing import SampleCorrupt, SampleError

__all__ = [
    "Daily",
    "Erased",
    "Kept",
    "Sample",
    "SampleCorrupt",
    "SampleError",
    "SampleNotFound",
    "SampleNotKept",
    "Samples",
    "Totals",
]
