"""The commands that the platforms offer in their menus, by language: (name, what it does)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Commands = Mapping[str, Sequence[tuple[str, str]]]

PEOPLE: Commands = {
    "en": [
        ("start", "Who I am"),
        ("help", "What I can do"),
        ("human", "Talk to a person of the team"),
        ("link", "Show the team that two accounts are yours"),
        ("reset", "Start afresh"),
        ("privacy", "What is kept about you, and why"),
        ("export", "Get everything kept about you"),
        ("forget", "Erase everything kept about you"),
    ],
    "zh": [
        ("start", "我是谁"),
        ("help", "我能做什么"),
        ("human", "转人工"),
        ("link", "告诉团队两个账号是同一个人"),
        ("reset", "重新开始"),
        ("privacy", "保存了什么,为什么"),
        ("export", "取得关于你保存的一切"),
        ("forget", "删除关于你的一切"),
    ],
    "es": [
        ("start", "Quién soy"),
        ("help", "Qué puedo hacer"),
        ("human", "Hablar con una persona del equipo"),
        ("link", "Decir al equipo que dos cuentas son tuyas"),
        ("reset", "Empezar de nuevo"),
        ("privacy", "Qué se guarda sobre ti y por qué"),
        ("export", "Recibir todo lo que se guarda sobre ti"),
        ("forget", "Borrar todo lo que se guarda sobre ti"),
    ],
    "ru": [
        ("start", "Кто я"),
        ("help", "Что я умею"),
        ("human", "Поговорить с человеком из команды"),
        ("link", "Сказать команде, что два аккаунта ваши"),
        ("reset", "Начать заново"),
        ("privacy", "Что о вас хранится и зачем"),
        ("export", "Получить всё, что о вас хранится"),
        ("forget", "Стереть всё, что о вас хранится"),
    ],
}
GROUPS: Commands = {
    "en": [
        ("human", "Talk to a person of the team"),
        ("help", "What I can do"),
        ("privacy", "What is kept about you, and why"),
    ],
    "zh": [
        ("human", "转人工"),
        ("help", "我能做什么"),
        ("privacy", "保存了什么,为什么"),
    ],
    "es": [
        ("human", "Hablar con una persona del equipo"),
        ("help", "Qué puedo hacer"),
        ("privacy", "Qué se guarda sobre ti y por qué"),
    ],
    "ru": [
        ("human", "Поговорить с человеком из команды"),
        ("help", "Что я умею"),
        ("privacy", "Что о вас хранится и зачем"),
    ],
}
ADMINS: Commands = {
    "en": [
        ("why", "Show what lets me answer here, gate by gate"),
        ("here", "Show the ids of this place, for the settings"),
    ],
    "zh": [
        ("why", "逐项查看我为什么能(或不能)在这里回答"),
        ("here", "显示这里的 id,用于设置"),
    ],
    "es": [
        ("why", "Ver paso a paso qué me deja responder aquí"),
        ("here", "Mostrar los id de este lugar para la configuración"),
    ],
    "ru": [
        ("why", "Показать по шагам, что позволяет мне отвечать здесь"),
        ("here", "Показать id этого места для настроек"),
    ],
}
STAFF: Commands = {
    "en": [
        ("claim", "Take this case; the bot stays silent"),
        ("steal", "Take this case over from whoever has it"),
        ("release", "Put this case back into the queue"),
        ("assign", "Give this case to somebody of the staff: their name"),
        ("r", "Answer the person"),
        ("ra", "Answer the person without your name"),
        ("s", "Send the person a saved reply: its name"),
        ("save", "Keep a saved reply: its name, then the text"),
        ("edit", "Change an answer: the number of its line, then the new text"),
        ("del", "Delete an answer: the number of its line"),
        ("note", "Write a note that only staff can see"),
        ("remark", "Keep a remark about the person, shown on every later card"),
        ("draft", "Let the bot suggest an answer that only staff can see"),
        ("snooze", "Put this case aside: 30m, 4h, 1d or a time such as 2026-11-21T09:00"),
        ("wake", "Take a snoozed case up again"),
        ("resolve", "Close this case and hand the person back; a reason, and perhaps: in 2h"),
        ("reopen", "Open a closed case again"),
        ("notneeded", "Close this case: nobody was needed"),
        ("bot", "on: the bot answers again, and you watch; off: you take over again"),
        ("watch", "Follow what the bot says to somebody: their name, or this case"),
        ("contact", "Write to somebody who has no case: their name"),
        ("priority", "Say how urgent this case is: 0 to 3"),
        ("alert", "Tell me when the person writes again; once more to stop"),
        ("anon", "on: staff answer this person without their names; off: with them"),
        ("block", "Block the person: for how long (7d), and why"),
        ("unblock", "Let a blocked person write again"),
        ("who", "Show who the person is, and what was remarked about them"),
        ("why", "Show why this case was opened, rule by rule"),
        ("history", "Show what was said before"),
    ],
    "zh": [
        ("claim", "接手这个个案,机器人不再说话"),
        ("steal", "从别人手里接过这个个案"),
        ("release", "把这个个案放回队列"),
        ("assign", "把这个个案交给某位成员:写名字"),
        ("r", "回复对方"),
        ("ra", "不署名回复对方"),
        ("s", "发送一条常用回复:写名称"),
        ("save", "保存一条常用回复:名称,然后是内容"),
        ("edit", "修改一条回复:行号,然后是新内容"),
        ("del", "删除一条回复:行号"),
        ("note", "写一条只有团队能看到的备注"),
        ("remark", "记下关于对方的长期备注,以后的卡片都会显示"),
        ("draft", "让机器人拟一条只有团队能看到的回复"),
        ("snooze", "把个案放一放:30m、4h、1d 或 2026-11-21T09:00"),
        ("wake", "重新处理放下的个案"),
        ("resolve", "结案并把对方交还给机器人;可写原因,也可写 in 2h"),
        ("reopen", "重新打开已结的个案"),
        ("notneeded", "结案:其实不需要人工"),
        ("bot", "on:机器人继续回答,你在旁边看;off:你重新接手"),
        ("watch", "关注机器人和某人的对话:写名字,或当前个案"),
        ("contact", "写给没有个案的人:写名字"),
        ("priority", "这个个案有多急:0 到 3"),
        ("alert", "对方再写时通知我;再用一次就取消"),
        ("anon", "on:回复时不显示成员名字;off:显示"),
        ("block", "屏蔽对方:多久(7d),为什么"),
        ("unblock", "解除屏蔽"),
        ("who", "对方是谁,有哪些备注"),
        ("why", "逐条显示这个个案为什么会出现"),
        ("history", "之前说过什么"),
    ],
}
