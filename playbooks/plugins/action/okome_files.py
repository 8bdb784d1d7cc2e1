"""What of `okome_files` happens on the machine that deploys: files are read, and decrypted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    """Gives the module the content of every `src`."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """As Ansible calls it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        wanted = [*self._task.args["files"], *_copies(self._task.args.get("copies"))]
        files = [self._with_content(dict(each)) for each in wanted]
        done = self._execute_module("okome_files", {"files": files}, task_vars=task_vars)
        result.update(done)
        return result

    def _with_content(self, wanted: dict[str, Any]) -> dict[str, Any]:
        source = wanted.pop("src", None)
        if source is None:
            return wanted
        try:
            readable = self._loader.get_real_file(source, decrypt=True)
            content = Path(readable).read_text(encoding="utf-8")
        except Exception as error:
            raise AnsibleActionFail(f"{source} cannot be read: {error}") from error
        finally:
            self._loader.cleanup_tmp_file(source)
        return {**wanted, "content": content}


def _copies(wanted: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One file for each of `of`, a list of `{name, src}`: `name` below `to`, `src` below `from`."""
    if wanted is None:
        return []
    return [
        {
            "path": f"{wanted['to']}/{each['name']}",
            "src": f"{wanted['from']}/{each['src']}",
            "mode": wanted["mode"],
        }
        for each in wanted["of"]
    ]
