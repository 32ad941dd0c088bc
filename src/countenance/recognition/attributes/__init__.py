"""Attributes of faces beyond where they are: age, gender, expression, landmarks, eyes and mouth.

Would work in a notebook, as the rest of `recognition`. `Estimators` is the door; each other module is one family.
"""

from countenance.recognition.attributes.estimators import NAMES, PACK_OF, Estimators, usable

__all__ = ["NAMES", "PACK_OF", "Estimators", "usable"]
