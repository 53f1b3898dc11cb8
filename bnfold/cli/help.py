"""Help that can be read: a command's options stand in groups, and its examples before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
# In this order; every option belongs to one of them.
GROUPS = (
    "Reading",
    "Caffe",
    "darknet",
    "Folding",
    "Recalibration",
    "Verification",
    "Latency",
    "Policy",
    "Running",
    "Output",
)


class GroupedOption(click.Option):
    """An option that knows the group it stands in."""

    def __init__(self, *args: Any, group: str = "Output", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group


class Command(click.Command):
    """A command whose help shows examples, (what it does, the line to type), and options in groups."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.examples = examples

    def groups(self) -> Iterator[tuple[str, list[click.Option]]]:
        """The groups that have options of this command."""
        for name in GROUPS:
            found = [p for p in self.params if isinstance(p, GroupedOption) and p.group == name]
            if found:
                yield name, list(found)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The description, and below it the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for words, line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                    formatter.indent()
                    formatter.write_text(words)
                    formatter.dedent()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A section for each group."""
        for name, found in self.groups():
            with formatter.section(name):
                formatter.write_dl([row for p in found if (row := p.get_help_record(ctx)) is not None])
        if (own := self.get_help_option(ctx)) is not None and (row := own.get_help_record(ctx)) is not None:
            with formatter.section("Help"):
                formatter.write_dl([row])


def option(group: str, *flags: str, **settings: Any) -> Callable[[F], F]:
    """The decorator that gives a command an option of a group."""
    return click.option(*flags, cls=GroupedOption, group=group, **settings)
