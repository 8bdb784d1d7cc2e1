"""Conversations in the browser's storage: bounded, and gone when deleted."""

from __future__ import annotations

from playwright.async_api import Page

from tests.page.modules import run_module

# A storage with little room, as a full browser has.
SMALL = """
    class Small {
        constructor(room) { this.map = new Map(); this.room = room; }
        get length() { return this.map.size; }
        key(i) { return [...this.map.keys()][i] ?? null; }
        getItem(key) { return this.map.get(key) ?? null; }
        removeItem(key) { this.map.delete(key); }
        setItem(key, value) {
            const next = new Map(this.map).set(key, value);
            const size = [...next].reduce((sum, [key, text]) => sum + key.length + text.length, 0);
            if (size > this.room) throw new DOMException("full", "QuotaExceededError");
            this.map = next;
        }
    }
    const chat = (n, messages = []) => ({ id: `c${n}`, title: `Chat ${n}`, updated: n, messages });
    const fill = (store, count, text) => {
        for (let n = 1; n <= count; n += 1) {
            store.saveChat(chat(n, [`m${n}`]));
            store.saveMessage(`c${n}`, { id: `m${n}`, text });
        }
    };
"""


async def test_the_oldest_goes_when_there_are_too_many(lab: Page) -> None:
    script = (
        SMALL
        + """
        const store = new module.Store(new Small(1e9));
        fill(store, 103, "x");
        const left = store.list();
        return [left.length, left[0].id, left.at(-1).id, store.messages(chat(1, ["m1"])).length];
    """
    )
    assert await run_module(lab, "core/store.js", script) == [100, "c103", "c4", 0]


async def test_the_oldest_goes_when_the_browser_is_full_but_never_the_one_that_is_written(
    lab: Page,
) -> None:
    script = (
        SMALL
        + """
        const store = new module.Store(new Small(3000));
        fill(store, 3, "x".repeat(700));
        const kept = store.saveMessage("c1", { id: "m1", text: "y".repeat(2000) });
        const tooMuch = store.saveMessage("c1", { id: "m1", text: "y".repeat(9000) });
        const left = store.list().map((chat) => chat.id);
        return [kept, tooMuch, left, store.messages(store.chat("c1"))[0].text.length];
    """
    )
    assert await run_module(lab, "core/store.js", script) == [True, False, ["c1"], 2000]


async def test_a_deleted_conversation_is_not_brought_back_by_its_answer(lab: Page) -> None:
    script = (
        SMALL
        + """
        const store = new module.Store(new Small(1e6));
        store.saveChat(chat(1, ["m1"]));
        store.saveMessage("c1", { id: "m1", text: "x" });
        store.deleteChat("c1");
        store.saveMessage("c1", { id: "m1", text: "xy" });
        return [store.list().length, store.messages({ messages: ["m1"] }).length];
    """
    )
    assert await run_module(lab, "core/store.js", script) == [0, 0]


async def test_what_cannot_be_read_is_skipped(lab: Page) -> None:
    script = (
        SMALL
        + """
        const storage = new Small(1e6);
        storage.setItem("okome.chat.bad", "{");
        storage.setItem("other", "1");
        const store = new module.Store(storage);
        store.saveChat(chat(1));
        return store.list().map((chat) => chat.id);
    """
    )
    assert await run_module(lab, "core/store.js", script) == ["c1"]


async def test_the_sample_of_gaps_is_bounded(lab: Page) -> None:
    script = """
        const arrivals = new module.Arrivals();
        for (let i = 0; i < 5000; i += 1) arrivals.record(1, i * 10);
        arrivals.record(1, 60_000);
        const measured = arrivals.gaps.every((gap) => gap === 10 || gap === 10_010);
        return [arrivals.gaps.length, arrivals.stalls, measured];
    """
    assert await run_module(lab, "core/arrivals.js", script) == [512, 1, True]


async def test_ids_do_not_need_a_secure_page(lab: Page) -> None:
    script = """
        const random = crypto.randomUUID;
        Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
        const id = module.newId();
        delete crypto.randomUUID;
        return [id, typeof random, module.newId() !== id];
    """
    made, kind, different = await run_module(lab, "core/ids.js", script)
    assert kind == "function"
    assert different
    assert len(made) == 36
    assert made[14] == "4"
