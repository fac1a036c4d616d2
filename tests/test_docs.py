"""The documentation: links lead somewhere, commands exist with their flags, every flag is described."""

import re
from pathlib import Path

import pytest

from tests.helpers.commands import commands_of, help_text, pages
from utils.demo.options import get_demo_parser
from utils.options import get_args_parser
from utils.paths import ROOT

PAGES = pages()
COMMANDS = [command for page in PAGES for command in commands_of(page)]
PROGRAMS = sorted({command.program for command in COMMANDS if command.program})


def anchors(page: Path) -> set[str]:
    """The names that a page's headings can be linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)).lower() for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page}: no heading for {link}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 230


@pytest.mark.parametrize("program", PROGRAMS)
def test_documented_commands_exist_with_their_flags(program):
    assert (ROOT / program).is_file(), [c.text for c in COMMANDS if c.program == program]
    if program.endswith(".py"):
        for command in COMMANDS:
            if command.program == program and not program.startswith("tests/"):
                words = [command.subcommand] if command.subcommand else []
                known = set(re.findall(r"--[\w-]+", help_text(program, *words)))
                assert {*command.flags} <= known, f"{command.page}: {command.text}"


@pytest.mark.parametrize("program", [program for program in PROGRAMS if not program.startswith("tests/")])
def test_documented_commands_are_run_by_a_test_or_by_ci(program):
    """Some test, or .ci/run, names the program."""
    name, stem = Path(program).name, Path(program).stem
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")] + [(ROOT / ".ci" / "run").read_text()]
    assert any(name in text or re.search(rf"\b{stem}\b", text) for text in texts)


@pytest.mark.parametrize(
    ("make_parser", "page"), [(get_args_parser, "docs/training.md"), (get_demo_parser, "docs/demo.md")]
)
def test_every_flag_is_described(make_parser, page):
    described = set(re.findall(r"`(?:[^`]*?)(--\w+)", (ROOT / page).read_text()))
    flags = {name for action in make_parser()._actions for name in action.option_strings if name.startswith("--")}
    assert not flags - described - {"--help"} - {f for f in flags if f.startswith("--no-")}
