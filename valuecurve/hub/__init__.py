"""The Hub: models, label sets, Spaces and the metric out, each in one commit; cards; jobs.

Start at `push_files`. Loading by name needs nothing of this room: transformers and datasets do it.
"""

from valuecurve.hub.upload import HubError as HubError
from valuecurve.hub.upload import Pushed as Pushed
from valuecurve.hub.upload import Target as Target
from valuecurve.hub.upload import push_files as push_files
