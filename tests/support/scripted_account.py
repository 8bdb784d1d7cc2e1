"""What the control plane tells the page, scripted: conversations and quota."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

Message = dict[str, Any]


class Conversations:
    """Conversations by id, as `/v1/sessions` has them. Times are Unix seconds."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def __contains__(self, session: str) -> bool:
        return session in self._kept

    def keep(self, session: str, title: str, *answers: tuple[str, str], at: float = 1e9) -> None:
        """Adds a job for each (question, answer); makes the conversation where there is none."""
        kept = self._kept.setdefault(
            session, {"id": session, "title": title, "created_at": at, "messages": []}
        )
        for question, answer in answers:
            job = f"{session}-job-{len(kept['messages'])}"
            self.add(session, job, question, answer)
        kept["updated_at"] = at

    def add(self, session: str, job: str, question: str, answer: str, **marks: Any) -> None:
        """One more job of a conversation."""
        kept = self._kept[session]
        said = {"job_id": job, "created_at": kept["created_at"]}
        end = {"model": "rice-small", "outcome": "completed", "code": "stop"} | marks
        kept["messages"] += [
            {"role": "user", "text": question} | said,
            {"role": "assistant", "text": answer} | said | end,
        ]
        kept["updated_at"] = kept.get("updated_at", 1e9) + 1

    def title(self, session: str) -> str:
        """As it is now."""
        title: str = self._kept[session]["title"]
        return title

    def remove(self, session: str) -> None:
        """On another device."""
        del self._kept[session]

    def listed(self, limit: int, before: str | None) -> Response:
        """A page of the list; a cursor is how many came before."""
        newest = sorted(self._kept.values(), key=lambda one: -one["updated_at"])
        start = int(before or 0)
        page = [
            {name: value for name, value in one.items() if name != "messages"}
            for one in newest[start : start + limit]
        ]
        following = str(start + limit) if len(newest) > start + limit else None
        return JSONResponse({"sessions": page, "next": following})

    def read(self, session: str, limit: int, before: str | None) -> Response:
        """A conversation with a page of its messages, counted from the end."""
        kept = self._kept[session]
        end = len(kept["messages"]) - int(before or 0)
        start = max(0, end - limit)
        earlier = str(len(kept["messages"]) - start) if start else None
        return JSONResponse(kept | {"messages": kept["messages"][start:end], "earlier": earlier})

    def change(self, method: str, session: str, body: dict[str, Any]) -> Response:
        """A new title, or an end."""
        if method == "DELETE":
            self.remove(session)
            return Response(status_code=204)
        self._kept[session]["title"] = body["title"]
        kept = self._kept[session]
        return JSONResponse({name: kept[name] for name in kept if name != "messages"})


def quota(**changes: Any) -> dict[str, Any]:
    """An answer of `GET /v1/quota`; limits are none unless `changes` say so."""

    def spans() -> dict[str, Any]:
        return {
            span: {"limit": None, "taken": 3, "resets_at": 1_900_000_000.0}
            for span in ("day", "month")
        }

    answer: dict[str, Any] = {
        "user_id": "rin",
        "streams": {"limit": 5, "in_use": 1},
        "requests": spans(),
        "tokens": spans(),
    }
    for name, limit in changes.items():
        unit, _, span = name.partition("_")
        answer[unit][span]["limit"] = limit
    return answer
