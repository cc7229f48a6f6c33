"""The gateway as a child of `modelyard serve`: answers HTTP on the socket that it was handed.

The socket stays open in the supervisor, so callers who come while a killed gateway is started again wait a moment
instead of being refused.
"""

import logging
import signal
import socket

from modelyard import app
from modelyard.api.serving import Server
from modelyard.cli.children import DATABASE_PATIENCE_S, settle_memory, take_orders
from modelyard.cli.logs import configure_logs
from modelyard.source_code.check import Checker

log = logging.getLogger(__name__)


def main() -> None:
    """Serves until SIGTERM, then lets the calls under way end."""
    orders = take_orders()
    configure_logs("gateway", orders.level)
    assert orders.listener is not None
    # While it serves, the server handles signals itself, and raises them again afterwards: by then they mean nothing.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    house = app.open_house(orders.settings, patience_s=DATABASE_PATIENCE_S)
    parts = app.gateway_parts(house)
    listener = socket.socket(fileno=orders.listener)
    server = Server(app.gateway(house, parts), listener, lambda: log.debug("answering"))
    settle_memory()
    server.run()
    parts.get(Checker).close()
    house.database.close()


if __name__ == "__main__":
    main()
