"""Guarantees of every store. The tests of a store subclass ``StoreContract`` and state how it is created."""

import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafor_token.errors import Forbidden, StoreUnavailable
from datafor_token.store.base import AlreadyExists, Document, Store
from datafor_token.validation.names import fold

Factory = Callable[[], Store]
COLLECTIONS = ("applications", "users")
# Forked from a process that has imported the store: to import it in each of eight took 6 s.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.store.contract", "tests.store.conftest"])
ANY_NAME = st.text(min_size=0, max_size=200)


class _RefusedError(Exception):
    """Raised by the check of a deletion."""


def count_up(factory: Factory, times: int) -> None:
    """Add one to a shared counter, several times, in a process of its own."""

    def change(document: Document | None) -> Document:
        # Long enough for another process to read the same value, if the store does not lock.
        time.sleep(0.001)
        return {"name": "counter", "value": (document or {"value": 0})["value"] + 1}

    store = factory()
    for _ in range(times):
        store.update("applications", "counter", change)


def create_own(factory: Factory, mark: int, results: "multiprocessing.SimpleQueue[int]") -> None:
    try:
        factory().create("users", {"name": "Lena", "mark": mark})
        results.put(mark)
    except AlreadyExists:
        results.put(-1)


def in_processes(number: int, target: Callable[..., None], arguments: Callable[[int], tuple[object, ...]]) -> None:
    processes = [PROCESSES.Process(target=target, args=arguments(index)) for index in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * number


def is_writable(store: Store) -> bool:
    """Return whether the store says that a write would go through."""
    try:
        store.check_writable()
    except StoreUnavailable:
        return False
    return True


def settle(look: Callable[[], object]) -> None:
    """Wait until what was written has the same value twice: the file system's clock may have coarse ticks."""
    while look() != look():
        time.sleep(0.01)


def check_no_update_is_lost(factory: Factory) -> None:
    """Add to one counter from eight processes, and check that no addition is lost."""
    in_processes(8, count_up, lambda _: (factory, 25))
    assert factory().get("applications", "counter") == {"name": "counter", "value": 200}


class StoreContract:
    """The guarantees. ``factory`` creates stores that share their records, and can be sent to another process."""

    @pytest.fixture
    def store(self, factory: Factory) -> Store:
        return factory()

    def test_a_stored_document_is_read(self, store: Store, factory: Factory) -> None:
        """A stored document is read unchanged, by every store on the same records."""
        document = {"name": "ERP", "number": 1, "nested": {"list": [1, "zwei", None]}, "text": "名前 é\u2028"}
        store.put("applications", document)
        assert store.get("applications", "ERP") == document
        assert factory().get("applications", "ERP") == document

    def test_members_keep_their_order(self, store: Store) -> None:
        """The members of a document keep their order."""
        store.put("applications", {"zeta": 1, "name": "ERP", "alpha": 2})
        assert json.dumps(store.get("applications", "ERP")) == '{"zeta": 1, "name": "ERP", "alpha": 2}'

    def test_a_record_that_does_not_exist(self, store: Store) -> None:
        """A name without a record is None, has no version, and can be deleted without an error."""
        assert store.get("applications", "ERP") is None
        assert store.version("applications", "ERP") is None
        assert store.delete("applications", "ERP") is False
        assert store.names("applications") == []

    def test_collections_are_apart(self, store: Store) -> None:
        """One name in two collections is two records."""
        store.put("applications", {"name": "x", "kind": "application"})
        store.put("users", {"name": "x", "kind": "user"})
        store.delete("users", "x")
        assert store.get("applications", "x") == {"name": "x", "kind": "application"}

    def test_spellings_of_one_name_are_one_record(self, store: Store) -> None:
        """Names that are equal by NFKC and casefold find the same record."""
        store.put("users", {"name": "Straße"})
        for spelling in ("STRASSE", "strasse", "\uff33tra\xdfe"):
            assert store.get("users", spelling) == {"name": "Straße"}
        store.put("users", {"name": "STRASSE"})
        assert len(store.names("users")) == 1

    def test_put_replaces_the_whole_document(self, store: Store) -> None:
        """A put leaves no member of the old document."""
        store.put("users", {"name": "lena", "old": 1})
        store.put("users", {"name": "lena", "new": 2})
        assert store.get("users", "lena") == {"name": "lena", "new": 2}

    def test_all_documents_are_returned(self, store: Store) -> None:
        """All documents of a collection are returned with their names, long ones too, and no others."""
        names = ["Lena", "a/b", "\u540d" * 128]
        for name in names:
            store.put("users", {"name": name})
        store.put("applications", {"name": "ERP"})
        found = dict(store.documents("users"))
        assert sorted(map(fold, found)) == sorted(map(fold, names))
        assert sorted(str(one) for one in found.values()) == sorted(str({"name": name}) for name in names)

    def test_create_never_replaces(self, store: Store) -> None:
        """Creating a record that exists fails and leaves it unchanged."""
        store.create("users", {"name": "lena", "first": True})
        with pytest.raises(AlreadyExists):
            store.create("users", {"name": "LENA", "first": False})
        assert store.get("users", "lena") == {"name": "lena", "first": True}

    def test_update_gets_the_stored_document(self, store: Store) -> None:
        """The change gets None for a new record, and the stored document for an existing one."""
        seen: list[Document | None] = []

        def change(document: Document | None) -> Document:
            seen.append(document)
            return {"name": "lena", "times": len(seen)}

        assert store.update("users", "lena", change) == {"name": "lena", "times": 1}
        store.update("users", "LENA", change)
        assert seen == [None, {"name": "lena", "times": 1}]

    def test_a_change_that_raises_changes_nothing(self, store: Store) -> None:
        """An error of the change reaches the caller, the record is unchanged, and the next write works."""

        def change(document: Document | None) -> Document:
            assert document is not None
            document["value"] = "half done"
            raise KeyError("no")

        store.put("users", {"name": "lena", "value": "whole"})
        with pytest.raises(KeyError):
            store.update("users", "lena", change)
        assert store.get("users", "lena") == {"name": "lena", "value": "whole"}
        store.put("users", {"name": "lena", "value": "next"})

    def test_an_update_cannot_rename(self, store: Store) -> None:
        """A change that returns a document of another name is refused, and neither record is written."""
        store.put("users", {"name": "lena"})
        with pytest.raises(ValueError, match="rename"):
            store.update("users", "lena", lambda _: {"name": "other"})
        assert store.names("users") == ["lena"]

    def test_a_checked_deletion(self, store: Store) -> None:
        """A check that raises an error prevents the deletion; it sees the stored document, if there is one."""
        store.put("users", {"name": "Lena", "enabled": True})
        seen: list[Document] = []

        def refuse(document: Document) -> None:
            seen.append(document)
            raise _RefusedError

        with pytest.raises(_RefusedError):
            store.delete("users", "lena", refuse)
        assert seen == [{"name": "Lena", "enabled": True}] == [store.get("users", "lena")]
        assert store.delete("users", "lena", seen.append) is True
        assert store.delete("users", "lena", refuse) is False
        assert len(seen) == 2

    def test_delete_removes(self, store: Store) -> None:
        """A deleted record does not exist, and its name can be created again."""
        store.put("users", {"name": "lena"})
        assert store.delete("users", "LENA") is True
        assert store.get("users", "lena") is None
        store.create("users", {"name": "lena"})

    def test_the_version_changes_with_each_write(self, store: Store, factory: Factory) -> None:
        """The version differs after each write, in every store, and stays the same some time after a write."""
        store.put("users", {"name": "lena", "value": 1})
        settle(lambda: store.version("users", "lena"))
        first = store.version("users", "lena")
        assert first is not None
        assert factory().version("users", "LENA") == first
        for value in range(20):
            before = store.version("users", "lena")
            store.put("users", {"name": "lena", "value": value % 2})
            assert factory().version("users", "lena") != before

    def test_the_stamp_changes_with_each_write(self, store: Store, factory: Factory) -> None:
        """A collection's stamp differs after each write and deletion in it, in every store, and otherwise stays."""
        store.put("users", {"name": "lena", "value": 1})
        settle(lambda: store.stamp("users"))
        settle(lambda: store.stamp("applications"))
        other = store.stamp("applications")
        changes: list[Callable[[Store], object]] = [
            lambda one: one.put("users", {"name": "lena", "value": 2}),
            lambda one: one.create("users", {"name": "otto"}),
            lambda one: one.update("users", "otto", lambda _: {"name": "otto", "value": 1}),
            lambda one: one.delete("users", "otto"),
        ]
        for change in changes:
            before = store.stamp("users")
            change(factory())
            assert store.stamp("users") != before
        assert store.stamp("applications") == other

    def test_changes_since(self, store: Store, factory: Factory) -> None:
        """Records changed since an earlier call are returned, and deleted ones are no longer known."""
        for name in ("lena", "Otto", "x" * 250):
            store.put("users", {"name": name, "value": 1})
        versions, found = store.changes("users", {})
        changed = list(found)
        assert sorted(name for _, name, _ in changed) == ["Otto", "lena", "x" * 250]
        assert sorted(key for key, *_ in changed) == sorted(versions)
        settle(lambda: store.changes("users", {})[0])
        versions, _ = store.changes("users", {})
        after, found = store.changes("users", versions)
        assert (after, list(found)) == (versions, [])
        other = factory()
        other.delete("users", "lena")
        other.put("users", {"name": "otto", "value": 2})
        after, found = store.changes("users", versions)
        assert [(name, document) for _, name, document in found] == [("otto", {"name": "otto", "value": 2})]
        assert len(after) == 2
        assert after.keys() < versions.keys()

    def test_a_store_that_works_is_writable(self, store: Store) -> None:
        """The test for writability leaves nothing behind."""
        store.check_writable()
        assert store.names("users") == []

    def test_a_probe_changes_no_stamp(self, store: Store) -> None:
        """The test for writability changes no stamp, so that no index is read again."""
        for collection in store.collections:
            store.put(collection, {"name": "lena"})

        def stamps() -> object:
            return [store.stamp(collection) for collection in store.collections]

        settle(stamps)
        before = stamps()
        store.check_writable()
        assert stamps() == before

    def test_one_at_a_time_excludes_servers(self, store: Store, factory: Factory) -> None:
        """Servers are excluded by one process at a time, which reads and writes meanwhile."""
        for _ in range(2):
            with store.exclude_servers() as check:
                with (
                    pytest.raises(Forbidden, match="another `store migrate` is copying the records in"),
                    factory().exclude_servers(),
                ):
                    pytest.fail("a second process excludes servers")
                factory().put("users", {"name": "lena"})
                assert store.names("users") == ["lena"]
                check()

    @given(first=ANY_NAME, second=ANY_NAME)
    def test_no_two_names_collide(self, factory: Factory, first: str, second: str) -> None:
        """Each name finds its own record and is listed, and two different names are two records."""
        store = factory()
        store.put("users", {"name": first, "mark": 1})
        store.put("users", {"name": second, "mark": 2})
        same = fold(first) == fold(second)
        found, other = store.get("users", first), store.get("users", second)
        assert found is not None
        assert found["mark"] == (2 if same else 1)
        assert other == {"name": second, "mark": 2}
        assert {fold(name) for name in store.names("users")} >= {fold(first), fold(second)}
        assert store.delete("users", first) is True
        assert store.delete("users", second) is not same

    def test_processes_that_update_lose_nothing(self, factory: Factory) -> None:
        """Updates by several processes happen one after the other."""
        check_no_update_is_lost(factory)

    def test_threads_that_update_lose_nothing(self, factory: Factory) -> None:
        """Updates by several threads of one process happen one after the other."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: count_up(factory, 10), range(4)))
        assert factory().get("applications", "counter") == {"name": "counter", "value": 40}

    def test_one_of_several_creators_wins(self, factory: Factory) -> None:
        """Of several processes that create a record at once, one succeeds, and its document stays."""
        results: multiprocessing.SimpleQueue[int] = PROCESSES.SimpleQueue()
        in_processes(4, create_own, lambda index: (factory, index, results))
        marks = sorted(results.get() for _ in range(4))
        assert marks[:3] == [-1, -1, -1]
        assert factory().get("users", "lena") == {"name": "Lena", "mark": marks[3]}
