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


@pytest.mark.sandbox
def test_the_first_model_of_the_readme_predicts_what_the_readme_says(yard: Yard, tmp_path: Path) -> None:
    block, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    key_file = tmp_path / ".modelyard" / "admin.key"
    key_file.parent.mkdir()
    key_file.write_text(yard.key + "\n")
    assert "http://127.0.0.1:8585" in block
    script = tmp_path / "first.py"
    script.write_text(block.replace("http://127.0.0.1:8585", yard.url))
    variables = os.environ | {"HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, str(script)], env=variables, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = re.search(r"It prints `(.*?)`", README)
    assert said
    assert ran.stdout.strip().splitlines()[-1] == said[1]


def test_every_link_of_the_readme_and_the_docs_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_every_command_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets
