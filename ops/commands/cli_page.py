"""The page docs/cli.md, with every command of `vigil` and its options.

`python -m ops.commands.cli_page > docs/cli.md` makes it from the commands themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from ops import cli

HEAD = """# Commands

Generated from the commands by `python -m ops.commands.cli_page`. `vigil COMMAND --help` says the same, and
`vigil --version` prints the version. Lists take `--json`. A command that fails prints one line that
says what to do, and ends with exit code 1 or 2.

For completion by the Tab key, put `eval "$(_VIGIL_COMPLETE=bash_source vigil)"` into `~/.bashrc`.
"""


def page() -> str:
    """Return the page as Markdown."""
    root = click.Context(cli.group, info_name="vigil")
    parts = [HEAD]
    for name in cli.group.list_commands(root):
        command = cli.group.get_command(root, name)
        assert command is not None, "it is listed"
        context = click.Context(command, info_name=name, parent=root)
        parts += [f"## {name}\n", *_sections(command, context)]
    return "\n".join(parts)


def _sections(command: click.Command, context: click.Context) -> Iterator[str]:
    yield _text(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, "it is listed"
            inside = click.Context(inner, info_name=name, parent=context)
            yield f"### {inside.command_path.removeprefix('vigil ')}\n"
            yield from _sections(inner, inside)


def _text(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"```\n{usage}\n```\n", " ".join((command.help or "").split()), ""]

    options = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) and record[1] and "--help" not in record[0]
    ]
    if options:
        lines += ["| Option | Meaning |", "|---|---|"]
        lines += [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in options]
        lines.append("")

    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    click.echo(page(), nl=False)
