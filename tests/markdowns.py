"""Markdown as models and people write it, for tests: well made, and as wild as it comes.

A text is made by a pen from a number, so that thousands of long ones take no time to draw.
"""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

WORDS = (
    *(
        "refund",
        "order",
        "snake_case",
        "naïve",
        "cafe\u0301",
        "名前",
        "ответ",
        "שלום",
        "각",
        "नमस्ते",
    ),
    *(
        "😀",
        "👩🏽",
        "👨\u200d👩\u200d👧",
        "🇫🇷🇩🇪",
        "❤\ufe0f",
        "1️⃣",
        "e\u0301\u0327",
        "\U0001f3f4",
        "it's",
    ),
    *("a.", "b!", "C#", "x<y", "AT&T", "5$", "100%", "(so)", "@maya_b", "@everyone", "<@12>", "ok"),
)
SNIPPETS = (
    *(
        "<div>\n",
        "</b>",
        "[a]: http://b\n",
        "[a][a]",
        "&amp;",
        "$x$",
        "||s||",
        "\n\n",
        "\x00",
        "\\",
    ),
    *("```", "~~~", "`", "**", "__", "*", "_", "- ", "1. ", "> ", "# ", "    ", "\n", "|", "|-|\n"),
    *(
        "![",
        "](",
        ")",
        "[",
        "<http://a",
        ">",
        "\r",
        "\t",
        "===\n",
        "\ud83d",
        "\ufe0f",
        "\u0301",
        "@",
    ),
)


class Pen:
    """Writes Markdown, always the same from the same number."""

    def __init__(self, number: int) -> None:
        self.random = Random(number)  # noqa: S311 - no secret

    def some(self, most: int) -> range:
        return range(self.random.randint(1, most))

    def name(self) -> str:
        return "".join(self.random.choice("abcdefgh") for _ in self.some(9))

    def words(self) -> str:
        return " ".join(self.random.choice(WORDS) for _ in self.some(12))

    def url(self) -> str:
        return f"https://{self.name()}.example/{self.name()}_x_?q=1&r={self.name()}"

    def inline(self) -> str:
        name = self.name()
        return self.random.choice(
            (
                *(self.words(), self.words(), self.words(), self.url()),
                *(f"**{name} bold**", f"*{name}*", f"`{name}()`", f"~~{name}~~"),
                *(f"[{name} link]({self.url()})", f"![{name}]({self.url()})"),
            )
        )

    def line(self) -> str:
        return " ".join(self.inline() for _ in self.some(6))

    def program(self) -> str:
        mark = self.random.choice(("```", "```", "~~~", "````"))
        tag = self.random.choice(("", "py", "c++", "shell-session"))
        lines = [
            "".join(self.random.choices("abc xyz=()[]{}*_<>#😀", k=n)).rstrip()
            for n in (self.random.randint(1, 40) for _ in self.some(14))
        ]
        return "\n".join((mark + tag, f"x{lines[0]}", *lines[1:], mark))

    def list(self) -> str:
        deepest, lines = -1, []
        for _ in self.some(8):
            deepest = self.random.randint(0, min(2, deepest + 1))
            sign = self.random.choice(("-", "*", "1.", "- [x]", "- [ ]"))
            lines.append(f"{'    ' * deepest}{sign} {self.line()}")
        return "\n".join(lines)

    def table(self) -> str:
        columns = self.some(4)
        rows = [
            [self.random.choice((self.words(), self.name())) for _ in columns] for _ in self.some(7)
        ]
        rows.insert(1, ["---"] * len(columns))
        if len(rows) == 1:
            rows.append(["---"] * len(columns))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def heading(self) -> str:
        return f"{'#' * self.random.randint(1, 6)} {self.name()} {self.words()}"

    def quote(self) -> str:
        return "\n".join(f"> {self.line()}" for _ in self.some(4))

    def paragraph(self) -> str:
        return "\n".join(self.line() for _ in self.some(4))

    def text(self, blocks: int) -> str:
        kinds = (
            self.paragraph,
            self.paragraph,
            self.list,
            self.program,
            self.table,
            self.heading,
            self.quote,
        )
        return "\n\n".join(self.random.choice(kinds)() for _ in range(blocks))

    def mess(self, pieces: int) -> str:
        kinds = (self.inline, self.list, self.program, self.table)
        return "".join(
            self.random.choice(SNIPPETS)
            if self.random.random() < 0.8
            else self.random.choice(kinds)()
            for _ in range(pieces)
        )


_number = st.integers(0, 1 << 48)
MADE = st.builds(lambda n, blocks: Pen(n).text(blocks), _number, st.integers(1, 30))
WILD = st.one_of(
    st.text(max_size=200),
    st.text(st.sampled_from("`~*_|<>[]()#-+=\\!&;:/.1 \n\t\rab@😀\u200d\u0301$"), max_size=200),
    st.builds(lambda n, pieces: Pen(n).mess(pieces), _number, st.integers(1, 60)),
)
ANY = st.one_of(MADE, WILD)
