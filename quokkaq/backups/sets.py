"""Backup sets: which backup of the database and which files belong to one instant, and bringing both back.

The database's snapshot comes first, then the files are listed. A file never changes under its key and is there before the
row that says so is committed, so each file a row of the snapshot needs is in the list, unless it was deleted in between;
then the bucket still has its version, and the row's digest tells that it is the one (ADR 27).
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql

from quokkaq.backups import databases
from quokkaq.backups.databases import Database, RestoreError, Say
from quokkaq.backups.files import Versions, wanted
from quokkaq.backups.manifest import Damaged, Manifest, StoredFile
from quokkaq.backups.places import Kind, Locked, Place, PlaceError, places
from quokkaq.backups.reading import decrypted
from quokkaq.backups.running import SecondPlaceFailed, back_up
from quokkaq.lib.storage import FILES, QUARANTINE, S3Store, Store

# In a folder of their own: what lies at the top of a place without a manifest is swept.
FOLDER = "sets/"
SUFFIX = ".set"
FORMAT = 1
_STAMP = "%Y-%m-%d-%H%M%S"


@dataclass(frozen=True)
class BackupSet:
    """`database` and `media` name backups of the same place; `bucket` is where versions of `files` lie, or nothing."""

    name: str
    taken_at: datetime
    database: str
    media: str = ""
    bucket: str = ""
    files: Mapping[str, StoredFile] = field(default_factory=dict)

    def to_json(self) -> str:
        body = json.dumps({"format": FORMAT, **asdict(self), "taken_at": self.taken_at.isoformat()}, sort_keys=True)
        return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "set": body})

    @classmethod
    def from_json(cls, text: bytes) -> "BackupSet":
        """Read a set; raise `Damaged` when it is none, or not what was written."""
        try:
            outer = json.loads(text)
            if hashlib.sha256(outer["set"].encode()).hexdigest() != outer["sha256"]:
                raise Damaged("The set isn't what was written.")
            read: dict[str, Any] = json.loads(outer["set"])
            if read.pop("format") != FORMAT:
                raise Damaged("The set is in a form that this release doesn't know.")
            read["taken_at"] = datetime.fromisoformat(read["taken_at"])
            read["files"] = {key: StoredFile(**file) for key, file in read["files"].items()}
            return cls(**read)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged("The set can't be read.") from error


def take(store: Store, *, say: Say, media: bool = True) -> tuple[BackupSet, list[str]]:
    """Back up the database, then the files, and write down that they belong together.

    Returns the set, and the keys of files that rows of it need and that weren't there even then.
    """
    if not (media or _bucket(store)):
        raise RestoreError("Without a bucket that keeps versions, a set needs the backup of the files, too.")
    manifest = _made("database", say)
    say(f"Database: {manifest.name}, of {manifest.taken_at:%Y-%m-%d %H:%M:%S %Z}.")
    made = _write(store, manifest, _made("media", say) if media else None, say)
    missing = [
        key for key, file in wanted(Database.live()).items()
        if key not in made.files and file.sha256 and store.head(key) is None
    ]  # fmt: skip
    return made, missing


def pair(store: Store, *, say: Say) -> BackupSet | None:
    """Write down that the newest backups of database and files belong together; None where they don't, or it was done.

    They do when the files were listed after the database's snapshot.
    """
    main = places()[0]
    found = {kind: main.names(kind)[:1] for kind in ("database", "media")}
    if not (found["database"] and found["media"]):
        return None
    database, media = (main.manifest(found[kind][0]) for kind in ("database", "media"))
    if media.taken_at < database.taken_at or f"{database.taken_at:{_STAMP}}" in names(main):
        return None
    return _write(store, database, media, say)


def _bucket(store: Store) -> str:
    return store.bucket if isinstance(store, S3Store) and store.is_versioned() else ""


def _write(store: Store, database: Manifest, media: Manifest | None, say: Say) -> BackupSet:
    files: dict[str, StoredFile] = {}
    if media:
        files = {key: StoredFile(file.size, file.sha256) for key, file in media.files.items()}
        say(f"Files: {media.name}, {len(files)} of them.")
    bucket = _bucket(store)
    if isinstance(store, S3Store) and bucket:
        for key, version in Versions(store).at(database.taken_at).items():
            if key.startswith((FILES, QUARANTINE)):
                known = files.get(key)
                files[key] = StoredFile(version.size, known.sha256 if known else "", version.id)
        say(f"Bucket {bucket}: {sum(bool(file.version) for file in files.values())} versions.")
    made = BackupSet(
        f"{database.taken_at:{_STAMP}}", database.taken_at, database.name, media.name if media else "", bucket, files
    )
    main, *others = places()
    main.save(f"{FOLDER}{made.name}{SUFFIX}", io.BytesIO(made.to_json().encode()))
    _forget(main, set(main.names("database")))
    for other in others:
        try:
            other.save(f"{FOLDER}{made.name}{SUFFIX}", io.BytesIO(made.to_json().encode()))
            _forget(other, {*main.names("database"), *other.names("database")})
        except PlaceError as error:
            say(f"The set is not in the {other.name} place: {error}")
    return made


def _made(kind: Kind, say: Say) -> Manifest:
    """Make a backup and return what it says of itself. Raises `BackupFailed`, `lock.Busy`."""
    try:
        return back_up(kind, say=say)
    except SecondPlaceFailed as error:
        say(str(error))  # the backup is good
        found = places()[0]
        return found.manifest(found.names(kind)[0])


def _forget(place: Place, kept: set[str]) -> None:
    """Delete the sets whose backup of the database is kept no longer."""
    for name in names(place):
        try:
            if read(place, name).database not in kept:
                place.remove(f"{FOLDER}{name}{SUFFIX}")
        except (Damaged, Locked):
            continue


def names(place: Place) -> list[str]:
    """Return the names of the sets in a place, newest first."""
    found = (one.name.removeprefix(FOLDER) for one in place.walk(FOLDER))
    return sorted((name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX)), reverse=True)


def read(place: Place, name: str) -> BackupSet:
    with place.open(f"{FOLDER}{name}{SUFFIX}") as file:
        return BackupSet.from_json(file.read())


def find(name: str = "latest", *, at: datetime | None = None) -> tuple[Place, BackupSet]:
    """Return a set by name, or the newest (`at`: of an instant or before) that can be read. Raises `RestoreError`."""
    problems = []
    for place in places():
        try:
            known = names(place)
        except PlaceError as error:
            problems.append(f"{place.name}: {error}")
            continue
        for one in known if name == "latest" else [name] if name in known else []:
            try:
                found = read(place, one)
            except (Damaged, PlaceError) as error:
                problems.append(f"{one} in {place.name}: {error}")
                continue
            if at is None or found.taken_at <= at:
                return place, found
    sought = name if name != "latest" else f"at or before {at:%Y-%m-%d %H:%M:%S %Z}" if at else "at all"
    raise RestoreError(" ".join([f"There is no backup set {sought}.", *problems]))


def backup_of(place: Place, found: BackupSet) -> tuple[Place, Manifest]:
    """Return where the set's backup of the database is whole enough to be read: in its place, or in another."""
    for one in [place, *(other for other in places() if other.name != place.name)]:
        if one.has(found.database) and one.has(f"{found.database}.manifest"):
            return one, one.manifest(found.database)
    raise RestoreError(f"The backup {found.database} of this set is in no place any more.")


# The database


def restore_database(target: Database, place: Place, manifest: Manifest, *, say: Say, force: bool) -> str:
    """Have the database be what a backup says; return under which name the one before it is kept, or nothing.

    It is restored beside, compared, and takes the name only then: whatever ends this in between leaves the old one, or does
    what is left when it is run again. Raises `RestoreError`, `Damaged`.
    """
    there = databases.exists(target)
    if there and is_as_manifest(target, manifest):
        say(f"The database {target.name} is that of the backup already.")
        return ""
    beside = target.named(f"{target.name[:50]}_restoring")
    if not (databases.exists(beside) and _mark(beside) == manifest.sha256):
        databases.drop(beside)
        say(f"Restoring {manifest.name} from {place.name} …")
        with decrypted(place, manifest) as dump:
            databases.create(beside)
            databases.restore(dump, beside)
        rows, wrong = databases.compare(beside, manifest)
        if wrong:
            databases.drop(beside)
            raise RestoreError(f"What was restored isn't what was backed up: {'; '.join(wrong[:5])}")
        _set_mark(beside, manifest.sha256)
        say(f"{rows} rows are as they were backed up.")
    kept = ""
    if there:
        require_nobody(target, force=force)
        if _is_empty(target):
            databases.drop(target)
        else:
            kept = f"{target.name[:40]}_before_{datetime.now(UTC):%Y%m%d%H%M%S}"
            databases.rename(target, kept)
    databases.rename(beside, target.name)
    return kept


def require_nobody(target: Database, *, force: bool) -> None:
    """Raise `RestoreError` while anybody is connected; `force` ends their sessions."""
    connected = databases.sessions(target)
    if connected and not force:
        raise RestoreError(
            f"{len(connected)} sessions use the database {target.name} ({', '.join(sorted(set(connected)))})."
            " Stop web and worker first, or end the sessions with --force."
        )
    if connected:
        databases.end_sessions(target)


def is_as_manifest(target: Database, manifest: Manifest) -> bool:
    """Tell whether a database holds exactly what a backup does: what a second run finds."""
    return _mark(target) == manifest.sha256 and not databases.compare(target, manifest)[1]


def _mark(database: Database) -> str:
    """Return of which backup (its SHA-256) a database says that it was restored whole from it."""
    with database.connect("postgres") as link:
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        row = link.execute(query, [database.name]).fetchone()
    return str(row[0] or "") if row else ""


def _set_mark(database: Database, mark: str) -> None:
    with database.connect("postgres") as link:
        # rule: raw-sql (a name and a digest, quoted)
        link.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database.name), sql.Literal(mark)))


def _is_empty(database: Database) -> bool:
    try:
        with database.connect() as link:
            return not link.execute(
                "SELECT 1 FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1"
            ).fetchone()
    except psycopg.Error as error:
        raise RestoreError(f"The database {database.name} can't be read (SQLSTATE {error.sqlstate}).") from error
