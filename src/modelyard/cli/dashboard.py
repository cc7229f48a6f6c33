"""`modelyard dashboard`: the Grafana dashboard of what `/metrics` tells."""

from pathlib import Path

from modelyard import observability


def dashboard() -> None:
    """Prints the dashboard's JSON."""
    print(dashboard_path().read_text(encoding="utf-8"), end="")


def dashboard_path() -> Path:
    """Where the dashboard lies inside the package."""
    return Path(observability.__file__).with_name("grafana.json")
