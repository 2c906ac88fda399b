"""The pages name what is there: files, tests, links, commands, RPCs."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from jukinet.mesh.redaction import contract
from tests.commands import app, jukinet

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BY_NAME = {page.relative_to(ROOT).as_posix(): page for page in PAGES}

_FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:[A-Za-z_.][\w.-]*/)+[\w.-]*")
# What a path may begin with: anything else in code with a slash is an address, an RPC or a file of a mesh.
_TOP = frozenset(path.name for path in ROOT.iterdir()) - {".venv", ".run", "mesh"}
_MACHINE = re.compile(r"/(?:work|root|home|Users)/|\b(?:pypi|npmjs|pythonhosted|artifactory|nexus)\.", re.IGNORECASE)


def _ids(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


def _without_fences(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


def _slug(heading: str) -> str:
    """Gives the anchor that hosts of Git repositories make of a heading."""
    text = re.sub(r"[`*]", "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_slug(heading) for heading in re.findall(r"^#+ (.+)$", _without_fences(page), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for found in _LINK.finditer(_without_fences(page)):
        target = found[1] or found[2]
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        if anchor:
            assert anchor in _anchors(file), f"{target} has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_file_that_is_named_is_there(page: Path) -> None:
    for code in _CODE.findall(_without_fences(page)):
        path, colons, test = code.partition("::")
        if not _PATH.fullmatch(path) or (path.partition("/")[0] not in _TOP and not path.endswith(".py")):
            continue
        file = ROOT / path
        assert file.exists() or (page.parent / path).exists(), f"{path} is not there"
        if colons:
            assert re.search(rf"^(?:async )?def {test}\(", file.read_text("utf-8"), re.MULTILINE), (
                f"{code} is not there"
            )


def test_architecture_names_every_folder_of_the_program() -> None:
    text = BY_NAME["docs/architecture.md"].read_text("utf-8")
    folders = [path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "jukinet"]
    folders += [path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("jukinet/*/__init__.py")]
    assert [folder for folder in sorted(folders) if f"`{folder}/`" not in text] == []


def _command_lines(page: Path) -> Iterator[str]:
    """Commands in shell fences, and in code that begins with `jukinet ` and has more than the name."""
    text = page.read_text("utf-8")
    for language, body in _FENCE.findall(text):
        if language == "sh":
            yield from body.replace("\\\n", " ").splitlines()
    yield from _CODE.findall(_without_fences(page))


def _calls(page: Path, program: str) -> list[list[str]]:
    found = []
    for line in _command_lines(page):
        command = re.sub(r"\s*(?:&|<<.*|<\(.*)$", "", line.strip())
        if command.startswith(f"{program} ") and "…" not in command:
            found.append([word for word in shlex.split(command, comments=True) if word != "&"])
    return found


_COMMANDS = [
    pytest.param(words, id=" ".join(words)) for page in PAGES for words in _calls(page, "jukinet") if words[1:]
]


@pytest.mark.parametrize("words", _COMMANDS)
def test_every_command_line_exists_with_its_options(words: list[str]) -> None:
    command: object = typer.main.get_command(app)
    rest = words[1:]
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"{name} is no command"
        command = command.commands[name]
    options = {option for parameter in getattr(command, "params", []) for option in parameter.opts}
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word.partition("=")[0] in options | {"--help"}, f"{word} is no option of {' '.join(words)}"


def test_every_command_says_how_it_is_used() -> None:
    for words in (["--help"], ["mesh", "--help"], ["node", "run", "--help"]):
        assert jukinet(*words).exit_code == 0


def test_every_rpc_that_grpcurl_calls_exists() -> None:
    rpcs = {
        f"{service.full_name}/{method.name}"
        for file in contract()
        for service in file.services_by_name.values()
        for method in service.methods
    }
    called = [
        word
        for page in PAGES
        for words in _calls(page, "grpcurl")
        for word in words
        if re.fullmatch(r"[\w.]+/\w+", word)
    ]
    assert called
    assert set(called) <= rpcs


def _sections(page: Path) -> list[tuple[int, int, int]]:
    """Shape of a page: level of each heading, and how many table rows and list items stand below it."""
    parts = re.split(r"^(#+) .+$", _without_fences(page), flags=re.MULTILINE)
    return [
        (len(level), len(re.findall(r"^\|", body, re.MULTILINE)), len(re.findall(r"^- ", body, re.MULTILINE)))
        for level, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


def test_both_readmes_have_the_same_sections_and_examples() -> None:
    english, japanese = BY_NAME["README.md"], BY_NAME["README.ja.md"]
    assert _sections(english) == _sections(japanese)

    def examples(page: Path) -> list[str]:
        return [re.sub(r" +#.*", "", body) for _, body in _FENCE.findall(page.read_text("utf-8"))]

    assert examples(english) == examples(japanese)

    def tests(page: Path) -> list[str]:
        return re.findall(r"`(tests/[^`]+)`", page.read_text("utf-8"))

    assert tests(english) == tests(japanese)


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_no_page_names_a_machine_or_a_registry(page: Path) -> None:
    assert _MACHINE.findall(page.read_text("utf-8")) == []


def test_operations_lists_every_exit_code() -> None:
    from jukinet.cli.output import Exit

    text = BY_NAME["docs/operations.md"].read_text("utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d) \|", text, re.MULTILINE)] == [int(code) for code in Exit]


def test_every_decision_stands_in_the_list_under_its_own_title() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = re.findall(
        r"^\| \[(\d{4})\]\(([^)]+)\) \| (.+) \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE
    )
    pages = sorted(page.name for page in folder.glob("0*.md"))
    assert [name for _, name, _ in listed] == pages
    for number, name, title in listed:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {number}: {title}\n\n20")
        for part in ("Context", "Decision", "Why", "Given up", "Evidence"):
            assert f"\n**{part}.** " in text, f"{name} has no {part}"
