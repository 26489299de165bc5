"""A small Hub over HTTP on this machine, for the unmodified clients of Hugging Face.

Models, datasets and Spaces with commits, branches, tags and pull requests, large files, private and gated
repositories, and faults on purpose. Left out: xet, discussions, search, likes, the dataset viewer.
`HubServer` starts one; `python -m tests.hub_server` (or `make hub`) is for people. The routes were taken
from the clients' own requests (huggingface_hub 2.4).
"""

from .faults import Faults
from .refusal import Refusal
from .server import HubServer
from .store import Store

__all__ = ["Faults", "HubServer", "Refusal", "Store"]
