"""The browser pages that show our statuses themselves, and their languages.

A page with our script says so when it connects (route /apisr/client). All others get ComfyUI's own text on the node.
"""

from collections import OrderedDict

from server import PromptServer

from ..apisr_archs.text import escaped

MOST_PAGES = 64
"""Pages are never signed off, so the oldest are forgotten."""


class Pages:
    """The languages of the pages with our script, by ComfyUI's client id."""

    def __init__(self) -> None:
        self._languages: OrderedDict[str, str] = OrderedDict()

    def sign_in(self, client_id: str, language: str) -> None:
        self._languages[client_id] = language
        self._languages.move_to_end(client_id)
        while len(self._languages) > MOST_PAGES:
            self._languages.popitem(last=False)

    def language(self) -> str:
        """The language of the page whose prompt is running; English if it did not say."""
        return self._languages.get(PromptServer.instance.client_id or "", "en")

    def show(self, node_id: str, text: str, state: str, workflow: str | None = None) -> None:
        """Show a text on a node of the running prompt.

        state: "running", "done", "stopped" or "failed". workflow: the id of the graph that the prompt was made from.
        """
        server = PromptServer.instance
        text = escaped(text, "utf-8")  # names of files may hold what UTF-8 cannot
        if server.client_id in self._languages:
            message = {"node": node_id, "text": text, "state": state, "workflow": workflow}
            server.send_sync("apisr.status", message, server.client_id)
        else:
            server.send_progress_text(text, node_id)


PAGES = Pages()
"""Those of this server. ComfyUI has one server per process."""
