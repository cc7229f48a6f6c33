"""The table of contents of the command line. Commands are named by path, so that each start imports only its own."""

import sys

from cyclopts import App
from sqlalchemy.exc import DBAPIError

import modelyard
from modelyard.cli.failure import CommandFailed
from modelyard.errors import ApiError

HELP = """
A self-hosted platform for Python models that speaks the Abacus.AI API.

Start here: `modelyard demo` shows the whole way, `modelyard serve` runs the platform.
"""

app = App(name="modelyard", help=HELP, version=modelyard.__version__, help_format="markdown")
app.command("modelyard.cli.serve:serve", name="serve")
app.command("modelyard.cli.agent:agent", name="agent")
app.command("modelyard.cli.keys:keys", name="keys", help="Make, list and revoke API keys.")
app.command("modelyard.cli.demo.command:demo", name="demo")
app.command("modelyard.cli.doctor:doctor", name="doctor")
app.command("modelyard.cli.openapi:openapi", name="openapi")


@app.command
def version() -> None:
    """Print the version."""
    print(modelyard.__version__)


def main() -> None:
    """Runs the command that was typed; its result, if it is a number, is the exit status."""
    try:
        status = app(result_action="return_value")
    except (CommandFailed, ApiError) as error:
        sys.exit(f"modelyard: {error}")
    except DBAPIError as error:
        sys.exit(f"modelyard: the database does not answer as it should: {_first_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; Python would complain about it at exit
        sys.exit(141)
    sys.exit(status if isinstance(status, int) else 0)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
