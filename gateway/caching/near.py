"""NearCache: the in-process copy of hot entries, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from gateway.caching.entry import Entry


class NearCache:
    """Least recently used entries leave first. Keys are Redis keys; freshness is the rules' affair."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._entries: OrderedDict[str, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<NearCache {len(self)} entries, {self.bytes}/{self.max_bytes} bytes>"

    def get(self, key: str) -> Entry | None:
        """The entry, which then counts as recently used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, entry: Entry) -> None:
        """Keeps an entry unless a newer one is there, or it alone is larger than the cache."""
        there = self._entries.get(entry.key)
        if (there is not None and there.dispatched > entry.dispatched) or entry.size > self.max_bytes:
            return
        self.drop(entry.key)
        self._entries[entry.key] = entry
        self.bytes += entry.size
        while self.bytes > self.max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self.bytes -= oldest.size

    def drop(self, key: str) -> None:
        """Forgets an entry, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry.size
