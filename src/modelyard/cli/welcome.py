"""What `modelyard serve` says at its start: the first time the key and how to use it, later where the key is."""

import shlex

import modelyard
from modelyard.accounts.first_run import KEY_FILE
from modelyard.settings import Settings

FIRST = """
  Your API key, shown this once:  {key}
  It is kept in {path}, readable by you alone.

  Python   pip install abacusai==1.4.119

           from abacusai import ApiClient
           client = ApiClient(open({path_text}).read().strip(), server="{url}")
           print(client.list_projects())

  curl     curl -H "apiKey: $(cat {path_shell})" {url}/api/v0/listProjects
"""


def greet(settings: Settings, first_key: str | None) -> None:
    """Prints it to stdout."""
    path = settings.home / KEY_FILE
    print(f"Modelyard {modelyard.__version__}, state in {settings.home}", flush=True)
    if first_key is not None:
        words = {"path": path, "path_text": repr(str(path)), "path_shell": shlex.quote(str(path))}
        print(FIRST.format(key=first_key, url=settings.base_url, **words), flush=True)
        print("environment of the base packages: made in the background (about a minute the first time)", flush=True)
    elif path.exists():
        print(f"the first API key is in {path}; `modelyard keys` makes, lists and revokes keys", flush=True)
