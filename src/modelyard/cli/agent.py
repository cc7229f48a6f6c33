"""`modelyard agent`: one more agent for the same home and database."""

from modelyard.cli.agent_process import work
from modelyard.cli.logs import configure_logs
from modelyard.cli.options import Home, Verbosity, load_settings


def agent(*, home: Home = None, verbosity: Verbosity = Verbosity()) -> None:  # noqa: B008 - frozen
    """Start one more agent beside `modelyard serve`: it takes runs from the same database until Ctrl-C.

    It needs the server's settings: the same home, and the same MODELYARD_DATABASE_URL where one is set.
    """
    settings = load_settings(home=home)
    configure_logs("agent", verbosity.level)
    work(settings)
