"""`make hub`: a Hub on this machine to play with. Ctrl-C stops it; what was pushed stays in its folder."""

import argparse
import time
from pathlib import Path

from . import HubServer

TOKEN = "hf_local"
GUIDE = """
A Hub on this machine: {url}     (data in {folder}; Ctrl-C stops it, what was pushed stays)

In another terminal:

  export HF_ENDPOINT={url} HF_TOKEN={token} HF_HOME={home}
  export HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1 VALUECURVE_CACHE={home}/valuecurve

  .venv/bin/hf auth whoami                      # me, in the organisation robots
  .venv/bin/valuecurve push model outputs/demo me/value-demo          # after `make demo`
  .venv/bin/valuecurve push dataset examples/metaworld_push me/push
  .venv/bin/valuecurve push dataset examples/metaworld_push me/labels --tag demo --values outputs/demo/values
  .venv/bin/valuecurve score me/value-demo me/push --tag v1 --values outputs/values --episodes 0:10

Python in that terminal sees them too:

  AutoModel.from_pretrained("me/value-demo", trust_remote_code=True)
  datasets.load_dataset("me/labels", "demo", streaming=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub_server", description=__doc__)
    parser.add_argument("--port", type=int, default=8899, help="default: 8899")
    parser.add_argument("--folder", type=Path, default=Path("outputs/hub"), help="default: outputs/hub")
    options = parser.parse_args()
    try:
        hub = HubServer(options.folder, options.port)
    except OSError as error:
        raise SystemExit(
            f"error: port {options.port} cannot be used ({error.strerror}); try --port"
        ) from error
    with hub:
        hub.add_user("me", TOKEN, orgs=["robots"])
        folder, home = options.folder, hub.home.absolute()
        print(GUIDE.format(url=hub.url, folder=folder, token=TOKEN, home=home), flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
