"""`modelyard agent`: one more agent for the same home and database."""

from modelyard.cli.agent_process import work
from modelyard.cli.logs import configure_logs
from modelyard.cli.options import Home, Verbosity, load_settings


def agent(*, home: Home = None, verbosity: Verbosity = Verbosity()) -> None:  # noqa: B008 - frozen
    """Runs until it is told to end."""
    settings = load_settings(home=home)
    configure_logs("agent", verbosity.level)
    work(settings)
