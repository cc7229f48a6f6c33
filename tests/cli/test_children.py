"""How the supervisor starts its children."""

import subprocess
from pathlib import Path

from modelyard.cli.children import Orders, give_orders
from modelyard.settings import Settings


def test_a_child_that_died_before_its_orders_came_is_no_end_of_the_supervisor(tmp_path: Path) -> None:
    child = subprocess.Popen(["/bin/true"], stdin=subprocess.PIPE)
    assert child.wait() == 0
    assert child.stdin is not None
    give_orders(child, Orders(settings=Settings(home=tmp_path), level="info"))
    child.stdin.close()


def test_orders_come_as_one_line(tmp_path: Path) -> None:
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    give_orders(child, Orders(settings=Settings(home=tmp_path), level="info"))
    said, _ = child.communicate(timeout=60)
    assert said.endswith(b"\n")
    assert said.count(b"\n") == 1
    assert str(tmp_path).encode() in said
