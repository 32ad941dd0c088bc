"""Error rates on labelled images, in the words of ISO/IEC 19795-1:2021.

Is handed an assembled engine and calls what the operations call: the faces of an image (the largest, and the one
nearest to the middle for data whose labels name that person), their features,
their product as the comparison score. Evaluating a local folder involves no account, so it leaves no entry.
"""

from countenance.evaluation.acquisition import Acquired, acquire
from countenance.evaluation.calibrating import TooFewImages, fit, impostors
from countenance.evaluation.detection import Labelled, PhotoCount, count_boxes, count_points
from countenance.evaluation.verification import (
    ErrorRate,
    RatesAt,
    accuracy_at,
    best_threshold,
    equal_error_rate,
    rates_at,
    threshold_at_fmr,
)

__all__ = [
    "Acquired",
    "ErrorRate",
    "Labelled",
    "PhotoCount",
    "RatesAt",
    "TooFewImages",
    "accuracy_at",
    "acquire",
    "best_threshold",
    "count_boxes",
    "count_points",
    "equal_error_rate",
    "fit",
    "impostors",
    "rates_at",
    "threshold_at_fmr",
]
