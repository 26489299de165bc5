"""Whether whoever asked is still there: for a visitor who has closed the page or cancelled, work stops.

Gradio does not interrupt a function that runs in a thread, but its queue knows: it drops the event of a
client who has cancelled, and marks the events of one whose connection has ended. The names of its parts are
those of the version that README.md pins.

Left out: a client that ends between its question and its listening for the answer; the time limit ends that.
"""

from collections.abc import Callable

from gradio.context import LocalContext


def watch_visitor() -> Callable[[], bool]:
    """gone(): whether the visitor whose event is being handled here has left; to be asked in any thread."""
    blocks, event = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if blocks is None or event is None:  # not called by the queue
        return lambda: False
    events = blocks._queue.event_ids_to_events

    def gone() -> bool:
        found = events.get(event)
        return found is None or not found.alive

    return gone
