"""NearCache: the in-process copy of hot records, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict

from gateway.caching.entry import VARIANTS, Entry

Record = tuple[Entry, ...]
"""The entries under one key, newest first: one, or one for each variant."""


class NearCache:
    """Least recently used records leave first. Keys are Redis keys; freshness is the rules' affair."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evicted = 0
        self.changes = 0
        """Counts whatever is kept or leaves: while it stays, so do all records."""
        self._records: OrderedDict[str, Record] = OrderedDict()
        self._serials: dict[str, int] = {}
        self._kept = 0
        self.serial = self._serials.get
        """Which of all records ever kept is there, None where none is: who remembers it keeps no entry alive."""

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"<NearCache {len(self)} records, {self.bytes}/{self.max_bytes} bytes>"

    def get(self, key: str) -> Record:
        """The entries, whose record then counts as recently used."""
        record = self._records.get(key)
        if record is None:
            return ()
        self._records.move_to_end(key)
        return record

    def put(self, entry: Entry) -> None:
        """Keeps an entry unless a newer one of its variant is there, or it alone is larger than the cache."""
        if entry.size > self.max_bytes:
            return
        there = self._records.get(entry.key, ())
        others = [each for each in there if each.variant != entry.variant]
        if any(each.variant == entry.variant and each.order > entry.order for each in there):
            return
        self._keep(entry.key, (entry, *others[: VARIANTS - 1]))

    def drop(self, key: str) -> None:
        """Forgets a record, if it is there."""
        self.changes += 1
        self.bytes -= _size(self._records.pop(key, ()))
        self._serials.pop(key, None)

    def clear(self) -> None:
        """Forgets everything."""
        self.changes += 1
        self._records.clear()
        self._serials.clear()
        self.bytes = 0

    def _keep(self, key: str, record: Record) -> None:
        self.drop(key)
        self._records[key] = record
        self._kept += 1
        self._serials[key] = self._kept
        self.bytes += _size(record)
        while self.bytes > self.max_bytes:
            self.drop(next(iter(self._records)))
            self.evicted += 1


def _size(record: Record) -> int:
    return sum(entry.size for entry in record)
