"""What the README tells a stranger to type works as it is written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.yard import Yard

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(yard: Yard, folder: Path, code: str) -> str:
    """The last line that the code prints, run as a stranger runs it, against the yard."""
    key_file = folder / ".modelyard" / "admin.key"
    key_file.parent.mkdir()
    key_file.write_text(yard.key + "\n")
    assert "http://127.0.0.1:8585" in code
    script = folder / "first.py"
    script.write_text(code.replace("http://127.0.0.1:8585", yard.url))
    variables = os.environ | {"HOME": str(folder)}
    ran = subprocess.run(
        [sys.executable, str(script)], env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip().splitlines()[-1]


@pytest.mark.sandbox
def test_the_first_model_of_the_readme_predicts_what_the_readme_says(yard: Yard, tmp_path: Path) -> None:
    said = re.search(r"It prints `(.*?)`", README)
    assert said
    assert run(yard, tmp_path, BLOCKS[0]) == said[1]


@pytest.mark.sandbox
def test_the_tables_of_the_readme_hold_what_it_says(yard: Yard, tmp_path: Path) -> None:
    from_tables = next(block for block in BLOCKS if "create_feature_group_from_function" in block)
    online = next(block for block in BLOCKS if "create_online_feature_group" in block)
    lookup = next(block for block in BLOCKS if "lookup_features" in block)
    orders = 'pd.DataFrame({"customer": ["ann", "ann", "bob"], "amount": [1.0, 2.5, None]})'
    script = [
        BLOCKS[0].partition("client.create")[0],
        f'client.create_feature_group_from_pandas_df("orders", {orders}).wait_for_upload()',
        'project = client.create_project("Shop", "FEATURE_STORE")',
        from_tables,
        online,
        lookup.replace("client.lookup_features", "found = client.lookup_features"),
        'totals = client.describe_feature_group_by_table_name("totals").load_as_pandas()',
        'print(totals.set_index("customer").total.to_dict(), found)',
    ]
    assert run(yard, tmp_path, "\n".join(script)) == "{'ann': 3.5} [{'user_id': 'ann', 'visits': 2}]"


def test_every_link_of_the_readme_and_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_command_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
