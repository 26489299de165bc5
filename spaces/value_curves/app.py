"""Value curves: the Space. Starts the page, the API and the downloads.

    python app.py        with VALUECURVE_CHECKPOINTS="name=folder or org/model, …" and, if wanted, PORT

docs/space.md tells of every variable. Nothing is written outside of a temporary folder and the Hub's cache.
"""

import atexit
import os
import signal
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))  # its neighbours, and the package where it lies beside them

from limits import Limits  # noqa: E402
from results import Results  # noqa: E402

LIMITS = Limits()
RESULTS = Results(LIMITS.keep_seconds, uploads_mb=LIMITS.uploads_mb)
# Gradio reads these when it is imported. What it receives lies in our folder, and it tells nobody of itself.
os.environ["GRADIO_TEMP_DIR"] = str(RESULTS.root / "uploads")
os.environ["GRADIO_EXAMPLES_CACHE"] = str(RESULTS.root / "uploads" / "examples")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

try:
    import spaces  # noqa: F401  # on ZeroGPU this must come before torch
except ImportError:
    spaces = None

import gradio as gr  # noqa: E402
from checkpoints import Checkpoints  # noqa: E402
from downloads import serve  # noqa: E402
from gradio import processing_utils  # noqa: E402
from looks import launch_options  # noqa: E402
from page import make_page  # noqa: E402
from service import Service  # noqa: E402
from starlette.routing import Route  # noqa: E402


def main() -> None:
    atexit.register(RESULTS.close)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a Space that goes to sleep tidies up, too
    service = Service(Checkpoints.from_environment(), RESULTS, LIMITS)
    page = make_page(service)
    refuse_addresses()
    port = int(os.environ.get("PORT") or os.environ.get("GRADIO_SERVER_PORT") or 7860)
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1"
    try:
        app, url = launch(page, os.environ.get("GRADIO_SERVER_NAME") or host, port)
    except OSError as error:
        sys.exit(f"error: port {port} cannot be used ({error}): choose another with PORT=…")
    app.router.routes.insert(0, Route("/results/{token}/{name}", serve(RESULTS), methods=["GET", "HEAD"]))
    RESULTS.sweep_forever()
    service.warm_up()
    print(f"Value curves: {url}", flush=True)
    page.block_thread()


def refuse_addresses() -> None:
    """Visitors send files, never addresses of files: Gradio would fetch those whole, into memory, whatever
    their size."""

    async def refuse(*_, **__):
        raise gr.Error("Send the file itself: addresses are not fetched here.", print_exception=False)

    processing_utils.async_ssrf_protected_download = refuse


def launch(page, host: str, port: int) -> tuple:
    """Starts the server in a thread: its application and its address."""
    app, url, _ = page.launch(
        server_name=host,
        server_port=port,
        max_file_size=int(LIMITS.upload_mb * 1e6),
        prevent_thread_lock=True,
        ssr_mode=False,
        share=False,
        show_error=False,  # what is no VisitorError is of no use to a visitor
        quiet=True,
        enable_monitoring=False,
        run_history=False,
        allowed_paths=[],
        blocked_paths=[str(Path(__file__).parent)],
        **launch_options(),
    )
    return app, url


if __name__ == "__main__":
    main()
