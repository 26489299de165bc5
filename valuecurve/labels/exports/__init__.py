"""Exports: one label set in everybody's format, as a new dataset beside the source, which stays as it is.

Start at `export_labels`; formats.py says what each format is made of.
"""

from valuecurve.labels.exports.exporting import Exported as Exported
from valuecurve.labels.exports.exporting import export_labels as export_labels
from valuecurve.labels.exports.formats import FORMATS as FORMATS
