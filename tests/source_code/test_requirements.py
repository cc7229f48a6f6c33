"""Requirement strings: what is read, what is refused, and the form that they are brought to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from modelyard.errors import InvalidParameterError
from modelyard.source_code.requirements import parse_requirements


@pytest.mark.parametrize(
    ("given_value", "normal"),
    [
        (None, []),
        ([], []),
        ({}, []),
        (["numpy==1.2.3", "pandas>=1.4.0"], ["numpy==1.2.3", "pandas>=1.4.0"]),
        (["  scikit-learn [extra] >= 1 , < 2 "], ["scikit-learn[extra]<2,>=1"]),
        (["a ; python_version<'3.12'"], ['a; python_version < "3.12"']),
        (["b", "a", "B"], ["b", "a"]),
        (["a>=1", "A<2", "a[x]"], ["a[x]<2,>=1"]),
        (
            ["a==1; sys_platform=='x'", "a==2; sys_platform=='y'"],
            ['a==1; sys_platform == "x"', 'a==2; sys_platform == "y"'],
        ),
        ({"numpy": "1.2.3", "pandas": None, "scipy": "", "a": ">=2", "b": " ~=1.0"}, None),
        (["torch==2.1.0+cu118"], ["torch==2.1.0+cu118"]),
        (["a==1.*", "a==1.2"], ["a==1.*,==1.2"]),
        (["a(>=1)"], ["a>=1"]),
    ],
)
def test_requirements_come_out_in_one_form(given_value: list[str], normal: list[str] | None) -> None:
    expected = ["numpy==1.2.3", "pandas", "scipy", "a>=2", "b~=1.0"] if normal is None else normal
    assert parse_requirements(given_value) == expected


ATTACKS = [
    "-r requirements.txt",
    "-rx",
    "--index-url https://evil.example/simple a",
    " --extra-index-url=https://evil.example",
    "-e .",
    "a --hash=sha256:00",
    "a --config-settings=x=y",
    "git+https://evil.example/a.git",
    "git+ssh://git@evil.example/a",
    "a @ git+https://evil.example/a",
    "a @ file:///etc/passwd",
    "a@file:x",
    "file:///tmp/a",
    "https://evil.example/a.whl",
    "a @ https://evil.example/a-1-py3-none-any.whl",
    "./local",
    "../local",
    "/tmp/a.whl",
    "~/a",
    "C:\\a.whl",
    "a\n--index-url=https://evil.example",
    "a\r\n-r x",
    "a\x00",
    "a\x1b[31m",
    "a\u2028b",
    "a; rm -rf /",
    "a; $(touch /tmp/x)",
    "a && b",
    "a | b",
    "a `id`",
    "$(id)",
    "${HOME}",
    "%(prog)s",
    "a==1 b==2",
    "a=1",
    "a==",
    "a==one",
    "==1",
    "",
    "   ",
    "#comment",
    "a # comment",
    "аbc",
    "a[b",
    "a;" + "(" * 450 + "os_name",
    "a===/etc/passwd",
    "a===$(id)",
    "a" * 2000,
]


@pytest.mark.parametrize("text", ATTACKS)
def test_what_is_no_plain_requirement_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        parse_requirements(["numpy", text])
    assert repr(text[:40])[:-1] in caught.value.message
    assert len(caught.value.message) < 2000


@pytest.mark.parametrize("text", ATTACKS)
def test_the_mapping_smuggles_nothing_either(text: str) -> None:
    with pytest.raises(InvalidParameterError):
        parse_requirements({text: "1.0"})
    if text.strip() and text != "==1":  # no version, and one with its operator, mean what they say
        with pytest.raises(InvalidParameterError):
            parse_requirements({"numpy": text})


@pytest.mark.parametrize("value", ["numpy", b"numpy", 5, [5], [None], [["a"]], {"a": 1}, {1: "a"}, {"a"}])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(InvalidParameterError):
        parse_requirements(value)  # type: ignore[arg-type]


def test_contradicting_pins_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"'A==2' can't be used: it contradicts 'a==1'"):
        parse_requirements(["a==1", "A==2"])
    with pytest.raises(InvalidParameterError, match="contradicts"):
        parse_requirements(["a>=3", "a==2"])


def test_five_hundred_entries_are_the_most() -> None:
    parse_requirements([f"a{number}" for number in range(500)])
    with pytest.raises(InvalidParameterError, match="501 entries"):
        parse_requirements([f"a{number}" for number in range(501)])


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)
VERSIONS = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}", fullmatch=True)
REQUIREMENTS = st.builds(
    lambda name, operator, version: f"{name}{operator}{version}", NAMES, st.sampled_from(["==", ">=", "!="]), VERSIONS
)


@given(st.lists(REQUIREMENTS, max_size=8, unique_by=lambda text: text.lower()))
def test_the_normal_form_is_its_own_normal_form(texts: list[str]) -> None:
    try:
        once = parse_requirements(texts)
    except InvalidParameterError as error:
        assert "contradicts" in error.message  # noqa: PT017  two pins of one name
        return
    assert parse_requirements(once) == once
    assert len(once) <= len(texts)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_what_is_read_is_harmless(text: str) -> None:
    try:
        found = parse_requirements([text])
    except InvalidParameterError:
        return
    (normal,) = found
    requirement = Requirement(normal)
    assert requirement.url is None
    assert not normal.startswith("-")
    assert normal.isprintable()


@given(st.dictionaries(NAMES, st.one_of(st.none(), VERSIONS), max_size=6))
def test_the_older_mapping_means_exact_versions(mapping: dict[str, str | None]) -> None:
    try:
        found = parse_requirements(mapping)
    except InvalidParameterError as error:
        assert "contradicts" in error.message  # noqa: PT017
        return
    for text in found:
        assert Requirement(text).url is None
