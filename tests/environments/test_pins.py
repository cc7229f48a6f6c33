"""What is asked of the resolver, and what never becomes part of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from modelyard.environments import ResolutionFailed, pins
from modelyard.environments.pins import base_text, needs_older_numpy, normalise, plans

BASE = "pandas==3.1.1\nnumpy==2.4.6\npolars==2.1.0\n# carried along\ntzdata==2026.6\n"

NO_REQUIREMENTS = [
    "-r requirements.txt",
    "--index-url=https://example.org/simple",
    "  --extra-index-url https://example.org",
    "-e .",
    "git+https://example.org/x.git",
    "x @ file:///etc/passwd",
    "x @ https://example.org/x.whl",
    "./local",
    "/etc/passwd",
    "x; import os",
    "x\n--index-url=https://example.org",
    "x\r-r y",
    "x \\\n --pre",
    "x\x00",
    "x==1 --hash=sha256:00",
    "x # comment",
    "",
]


@pytest.mark.parametrize("text", NO_REQUIREMENTS)
def test_what_is_not_a_requirement_is_refused_by_name(text: str) -> None:
    with pytest.raises(ResolutionFailed, match=r"not a requirement|names a location"):
        normalise([text])


@given(st.text(max_size=60))
def test_no_text_becomes_an_option_or_a_second_line(text: str) -> None:
    try:
        (line,) = normalise([text])
    except ResolutionFailed:
        return
    assert line[0].isalnum()
    assert len(line.splitlines()) == 1
    assert Requirement(line).url is None


def test_the_same_requirements_have_one_spelling_and_order() -> None:
    assert normalise(["Scikit_Learn >= 1.5", "B", "b"]) == ["b", "scikit-learn>=1.5"]


def test_too_many_requirements_are_refused() -> None:
    with pytest.raises(ResolutionFailed, match="more than"):
        normalise([f"p{number}" for number in range(pins.MOST_REQUIREMENTS + 1)])


def test_a_requirement_replaces_the_pin_of_its_package() -> None:
    first = next(plans(["pandas<3"], BASE))
    assert first.requirements == ("pandas<3", "numpy==2.4.6", "polars==2.1.0")
    assert first.constraints == ("tzdata==2026.6",)


def test_pins_are_loosened_to_names_and_then_to_what_the_runtime_needs() -> None:
    _, loose, least = plans(["pandas<3"], BASE)
    assert loose.requirements == ("pandas<3", "numpy", "polars")
    assert least.requirements == ("pandas<3", "numpy")
    assert loose.constraints == least.constraints == ()


def test_a_requirement_of_a_carried_package_frees_it() -> None:
    assert next(plans(["tzdata<2026"], BASE)).constraints == ()


def test_the_base_packages_are_pinned_and_hold_what_the_runtime_needs() -> None:
    packages, carried = pins.base_pins(base_text())
    assert set(pins.RUNTIME) <= set(packages)
    assert all("==" in pin for pin in (*packages.values(), *carried.values()))


@pytest.mark.parametrize(
    ("requirements", "versions", "answer"),
    [
        (["pandas<2"], {"pandas": "1.5.3", "numpy": "2.4.6"}, True),
        (["pandas<3"], {"pandas": "2.3.3", "numpy": "2.4.6"}, False),
        (["pandas<2"], {"pandas": "1.5.3", "numpy": "1.26.4"}, False),
        (["pandas<2", "numpy>=2"], {"pandas": "1.5.3", "numpy": "2.4.6"}, False),
        (["extra"], {"extra": "1.0"}, False),
    ],
)
def test_releases_compiled_for_numpy_1_are_known(
    requirements: list[str], versions: dict[str, str], answer: bool
) -> None:
    assert needs_older_numpy(requirements, versions) is answer
