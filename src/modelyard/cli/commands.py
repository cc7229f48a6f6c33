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
SERVE = """
Start the platform on this machine: a gateway for calls and an agent for the work.

The first start makes an organisation, a user and an API key, and prints the key once. Ctrl-C ends everything that was
started. Every setting is an environment variable, too: `modelyard doctor --settings` lists them.
"""
AGENT = """
Start one more agent beside a server: it takes runs from the same database until Ctrl-C.

It needs the server's settings: the same home, and the same MODELYARD_DATABASE_URL where one is set.
"""
DEMO = """
Show the main job: a table and Python source go in, predictions come out, by the official client.

Starts a server of its own on a free port, with a temporary home, and ends it again. Uploads a table, derives a feature
group by a Python function, trains a model from source, predicts, updates the source, trains again, switches the
deployment, predicts again, and compares all with the same functions called right here. The exit status is 0 only if
they agree. Packages are kept in the user's cache folder, so a second run is faster.
"""
DOCTOR = """
Look at what the platform needs here, from disk to sandbox, and say how to mend what is not well.

The exit status is 1 if something that is required does not work.
"""
OPENAPI = """
Print the OpenAPI document of all actions, as the gateway serves it at /openapi.json.

The same actions give the same bytes, so that a committed copy shows every change of the API in a diff.
"""
DASHBOARD = """
Print a Grafana dashboard of the metrics that the server gives at /metrics, to be imported there.
"""
CONNECTORS = """
Add, list, try and remove connectors to buckets, databases and git repositories.

Secrets come from standard input (--secrets-stdin) or the environment (--secret-env), never from the command line.
"""
VALIDATE = """
Try out a source, stage by stage: `modelyard validate model.py --predict predict --table rows`.

Checks it, makes its environment and its tables, then imports, trains and predicts on a sample of rows, in the sandbox.
An agent has to be running (`modelyard serve`). The exit status is 1 if a stage is not passed.
"""
VERSION = """
Print the platform's version; with `show`, `diff` or `reproduce`, work with a version of a model.

`modelyard version show VERSION` tells the five exact things that it is made from, `diff` how two differ, and
`reproduce` trains one again from exactly those five and tells whether the same came out.
"""
LOGS = """
Print what a training has printed, and with -f what it prints from now on, until it ends.

It says what a training waits for that has not begun. The exit status is 1 if the training failed.
"""
CANCEL = "End a training that waits or goes on."
KEYS = "Make, list and revoke API keys. They work while the server runs, and without it."
#: Command, the function behind it, and its help, whose first paragraph stands in the list of commands.
COMMANDS = (
    ("serve", "serve:serve", SERVE),
    ("agent", "agent:agent", AGENT),
    ("keys", "keys:keys", KEYS),
    ("connectors", "connectors:connectors", CONNECTORS),
    ("logs", "trainings:logs", LOGS),
    ("cancel", "trainings:cancel", CANCEL),
    ("demo", "demo.command:demo", DEMO),
    ("doctor", "doctor:doctor", DOCTOR),
    ("dashboard", "dashboard:dashboard", DASHBOARD),
    ("openapi", "openapi:openapi", OPENAPI),
    ("validate", "validate:validate", VALIDATE),
    ("version", "version:version", VERSION),
)
for name, path, words in COMMANDS:
    app.command(f"modelyard.cli.{path}", name=name, help=words)


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
