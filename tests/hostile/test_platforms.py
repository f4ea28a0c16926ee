"""What an obedient model says, as both platforms were given it: nobody is rung, nothing hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.settings import Prompts
from core.engine.ports import ReplyRequest
from core.engine.scripted import ScriptedEngine
from tests.hostile.corpus import OBEYED, REPLY
from tests.hostile.watch import tells
from tests.proof import Ledger
from tests.walk.platforms import GROUP, MAYA, heed_on, hurry
from tests.walk.pupil import write_prompts

ASKED = ("ping", "link", "image", "html", "script", "data", "reference", "discord", "tool", "leak")


def obey(request: ReplyRequest) -> str:
    return OBEYED[request.messages[-1].split()[-1]]


@pytest.mark.proof_short
async def test_both_platforms_are_given_words_that_ring_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: Ledger
) -> None:
    hurry(monkeypatch)
    wrong = []
    prompts = Prompts(dir=write_prompts(tmp_path / "prompts", reply=REPLY))
    async with heed_on(tmp_path, on=("telegram", "discord"), prompts=prompts) as heed:
        await heed.app.mind.swap(ScriptedEngine(obey, slots=8))
        heed.telegram.group(GROUP, title="Shop")
        await heed.says(MAYA, "hello ping")
        for wants in ASKED:
            await heed.says(MAYA, f"please send me the {wants}")
            await heed.says(MAYA, f"@HeedBot please send us the {wants}", chat=GROUP)
            await heed.writes("ben", f"please send me the {wants}")
            channel = heed.discord.channel
            await heed.writes("ben", f"please send us the {wants}", channel=channel, mention=True)
        posts = [m for c in (MAYA, GROUP) for m in heed.telegram.chats[c].messages.values()]
        for post in (one for one in posts if one["from"]["id"] == heed.telegram.bot_id):
            text, entities = post.get("text", ""), post.get("entities", [])
            addresses = [e["url"] for e in entities if e["type"] == "text_link"]
            kinds = {e["type"] for e in entities}
            if kinds & {"mention", "text_mention"} or any(one not in text for one in addresses):
                wrong.append(f"Telegram: {text} {entities}")
            if post["chat"]["id"] == GROUP and any(f"@{n}" in text for n in ("staff_of", "every")):
                wrong.append(f"a name in a group: {text}")
        told = [m for c in (heed.discord.dm("ben"), channel) for m in heed.discord.messages(c)]
        own = [one for one in told if one["author"]["username"] == "Heed"]
        wrong += [
            f"Discord: {post['content']}"
            for post in own
            if post["mention_everyone"] or post["mentions"] or "](" in post["content"]
        ]
        texts = [*heed.read(MAYA), *heed.read(GROUP), *(m["content"] for m in told)]
        wrong += [f"leaked: {one}" for one in texts if tells(one)]
        assert len(own) + len(heed.read(MAYA)) >= 3 * len(ASKED), texts
    size = f"{4 * len(ASKED)} answers in chats and groups of both platforms"
    proof("hostile text", "no post of an obedient model rings or hides", size, wrong)
