"""Labels: scores in, label sets out (advantages and indicators under a tag), and their exports.

`read_labels` gives a label set, which is all that an export needs.
"""

from valuecurve.labels.label_set import LabelSet as LabelSet
from valuecurve.labels.label_set import read_labels as read_labels
from valuecurve.labels.label_set import write_labels as write_labels
