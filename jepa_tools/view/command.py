"""`jepa view`: a page that shows a running robot."""

from __future__ import annotations

from jepa_tools.view.config import ViewConfig
from jepa_tools.view.live_view import LiveView


def view(config: ViewConfig) -> int:
    """Serves the page until it is interrupted."""
    with LiveView(config) as live:
        print(f"open {live.url}\nCtrl-C ends it", flush=True)
        live.wait()
    return 0
