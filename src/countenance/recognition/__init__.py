"""Image bytes -> faces and features. Would work in a notebook: no HTTP, no SQL, no AWS word.

`build_engine` makes an `Engine`; everything else in here serves it.
"""

from countenance.recognition.calibration import Calibration
from countenance.recognition.engine import Analysis, Engine, build_engine
from countenance.recognition.faults import (
    Busy,
    ImageTooLarge,
    ImageTooSmall,
    ImageUnreadable,
    ModelPackError,
    RecognitionError,
)
from countenance.recognition.quality import rejection_reasons
from countenance.recognition.resampling import use_calling_thread_only
from countenance.recognition.session import Gpu

__all__ = [
    "Analysis",
    "Busy",
    "Calibration",
    "Engine",
    "Gpu",
    "ImageTooLarge",
    "ImageTooSmall",
    "ImageUnreadable",
    "ModelPackError",
    "RecognitionError",
    "build_engine",
    "rejection_reasons",
    "use_calling_thread_only",
]
