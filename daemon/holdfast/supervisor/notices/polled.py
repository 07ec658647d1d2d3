"""A source of notices that is asked now and then: what Google's, Azure's and ``holdfast notice`` have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ...core.machine.events import Event, NoNotice, NoticeStands
from .metadata_http import MetadataAbsent, MetadataError

_MOST_SAID = 100


@dataclass
class PolledSource:
    """``ask`` answers which notice stands, if any. It may raise MetadataAbsent or MetadataError.

    A notice is known by its text without what is in parentheses; its deadline is that of its first report. Trouble
    takes no notice back. A service that did not answer at first is asked as often as any: a source is made only where
    there is to be one, and its network may come up later.
    """

    name: str
    ask: Callable[[], NoticeStands | None]
    report: Callable[[Event], None]
    say: Callable[[str, str], None]
    interval: float = 2.0
    _last: NoticeStands | None = None
    _looked: bool = False
    _said: set[str] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self.run, name=f"notices-{self.name}", daemon=True).start()

    def stop(self) -> None:
        self._done.set()

    def run(self) -> None:
        while not self._done.is_set():
            self.look()
            self._done.wait(self.interval)

    def look(self) -> None:
        """One look. Whatever happens, the first one is reported."""
        try:
            stands = self.ask()
        except MetadataAbsent as error:
            self._once(f"no answer from the metadata service ({self.name}): {error}")
            stands = self._last
        except MetadataError as error:
            self._once(str(error))
            stands = self._last
        except Exception as error:  # a defect: a start waits for the first look, and a notice is to be seen later
            self._once(f"notices ({self.name}): a defect in holdfast: {error!r}; asking again")
            stands = self._last
        self._tell(stands)

    def _tell(self, stands: NoticeStands | None) -> None:
        last, looked = self._last, self._looked
        self._last, self._looked = stands, True
        if stands is None:
            if last is not None or not looked:
                self.report(NoNotice(self.name))
        elif last is None or _key(last) != _key(stands):
            self.report(replace(stands, source=self.name))

    def _once(self, text: str) -> None:
        if text not in self._said and len(self._said) < _MOST_SAID:
            self._said.add(text)
            self.say("metadata-warning", text)


def _key(notice: NoticeStands) -> str:
    return notice.what.split("(")[0]
