"""Model versions: manifests, plans and the `promoted` pointer in git; weights beside them, named by their SHA-256.

    models/versions/v3/manifest.json   what it is, where it came from, what it scored, why it was promoted or not
    models/versions/v3/plan.parquet    the rows that it was trained on, in order
    models/promoted                    the name of the promoted version
    models/weights/<sha256>/           adapters, and merged weights of promoted versions; git ignores this folder

A version exists when its commit does: manifests are read from HEAD, never from the working tree.
"""

import fcntl
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from dulwich import porcelain
from dulwich.errors import NotGitRepository
from dulwich.object_store import iter_tree_contents
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.refs import Ref
from dulwich.repo import Repo

from catalog import failpoint, files
from catalog.errors import Corrupt, InputError
from trainer.store import keep_folder, kept_folder, publish_folder

AUTHOR = b"headrace <headrace@localhost>"
POINTER = "promoted"
Manifest = dict[str, Any]


class Registry:
    """The versions in one git repository, which is created on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.shelf = self.folder / "weights"

    def versions(self) -> list[Manifest]:
        """Return every version's manifest, oldest first."""
        found = [json.loads(data) for data in self._blobs("versions", "manifest.json").values()]
        return sorted(found, key=lambda manifest: _number(manifest["version"]))

    def promoted(self) -> Manifest | None:
        """Return the manifest of the promoted version, or None."""
        pointer = self._blob(POINTER)
        return self.version(pointer.decode().strip()) if pointer else None

    def version(self, name: str) -> Manifest:
        """Return one version's manifest; raise InputError if there is none of that name."""
        data = self._blob("versions", name, "manifest.json")
        if data is None:
            known = ", ".join(manifest["version"] for manifest in self.versions()) or "none yet"
            raise InputError(f"{name}: no such model version; known: {known}")
        return cast(Manifest, json.loads(data))

    def of_round(self, round_id: str, material: str) -> Manifest | None:
        """Return the version that a round made of some material, or None; a purge gives a round other material."""
        known = (found for found in self.versions() if (found["round"], found["material"]) == (round_id, material))
        return next(known, None)

    def weights(self, manifest: Manifest, part: str = "merged") -> Path:
        """Return the folder of a version's `adapter` or `merged` weights, checked against their SHA-256."""
        sha256 = manifest["weights"].get(part)
        if sha256 is None:
            raise InputError(f"{manifest['version']}: has no {part} weights; only promoted versions keep merged ones")
        return kept_folder(self.shelf, sha256)

    def keep(self, folder: Path) -> str:
        """Put a folder of weights on the shelf and return its SHA-256."""
        files.write_new(str(self.shelf / ".gitignore"), b"*\n")
        return keep_folder(folder, self.shelf)

    def add(self, manifest: Manifest, plan: Path, promote: bool) -> Manifest:
        """Commit a round's version, tag it and point `promoted` at it if asked; a round never makes two."""
        with self._writing() as repo:
            known = self.of_round(manifest["round"], manifest["material"])
            if known is None:
                name = f"v{1 + max((_number(item['version']) for item in self.versions()), default=0)}"
                known = {"version": name, **manifest}
                self._commit(repo, known, plan, promote)
            failpoint.reach("commit")
            tag = known["version"].encode()
            if b"refs/tags/" + tag not in repo.refs:
                repo.refs[Ref(b"refs/tags/" + tag)] = self._commit_of(repo, known["version"])
            return known

    def _commit(self, repo: Repo, manifest: Manifest, plan: Path, promote: bool) -> None:
        name = manifest["version"]
        folder = self.folder / "versions" / name
        described = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
        files.replace(str(folder / "manifest.json"), described)
        files.replace(str(folder / "plan.parquet"), plan.read_bytes())
        changed = [folder / "manifest.json", folder / "plan.parquet"]
        if promote:
            files.replace(str(self.folder / POINTER), f"{name}\n".encode())
            changed.append(self.folder / POINTER)
        failpoint.reach("version")
        porcelain.add(repo, [str(path) for path in changed])
        verdict = "promoted" if promote else "not promoted"
        message = (
            f"{name}: {verdict}\n\n" + "\n".join(manifest["gate"]["reasons"]) + f"\n\nRound: {manifest['round']}\n"
        )
        porcelain.commit(repo, message.encode(), author=AUTHOR, committer=AUTHOR)

    def _commit_of(self, repo: Repo, name: str) -> ObjectID:
        """Return the commit that brought a version: the oldest whose tree holds it."""
        entries = list(repo.get_walker(paths=[f"versions/{name}/manifest.json".encode()]))
        return entries[-1].commit.id

    @contextmanager
    def _writing(self) -> Iterator[Repo]:
        """Hold the repository for writing; lock files that a killed writer left are removed."""
        files.write_new(str(self.shelf / ".gitignore"), b"*\n")
        with (self.shelf / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.folder / ".git").exists():
                publish_folder(self.folder / ".git", _init)
            repo = Repo(str(self.folder))
            for stale in [*Path(repo.controldir()).rglob("*.lock")]:
                stale.unlink()
            yield repo
            repo.close()

    def _open(self) -> Repo | None:
        try:
            return Repo(str(self.folder))
        except NotGitRepository:
            return None

    def _tree(self, repo: Repo) -> Tree | None:
        try:
            head = repo[repo.head()]
        except KeyError:
            return None
        return cast(Tree, repo[cast(Commit, head).tree])

    def problems(self) -> Iterator[str]:
        """Say what is not as it was committed: git's objects and refs, the files of HEAD, weights on the shelf."""
        with self._reading() as repo:
            if repo is None:
                return
            damaged = [f"object {sha.decode()}: {error}" for sha, error in porcelain.fsck(repo)]
            for name, sha in sorted(repo.get_refs().items()):
                with suppress(zlib.error):  # a damaged one is named already
                    if sha not in repo.object_store:
                        damaged.append(f"{name.decode()} names a commit that is not there")
            yield from (f"models/.git: {said}" for said in damaged)
            if damaged:
                return
            tree = self._tree(repo)
            for entry in iter_tree_contents(repo.object_store, tree.id) if tree else ():
                path = self.folder / entry.path.decode()
                if not path.is_file() or Blob.from_string(path.read_bytes()).id != entry.sha:
                    yield f"models/{entry.path.decode()} is not as it was committed; git checkout brings it back"
        named = {sha for manifest in self.versions() for sha in manifest["weights"].values() if sha}
        for sha256 in sorted(named | {path.name for path in self.shelf.glob("[!.]*")}):
            try:
                kept_folder(self.shelf, sha256)
            except Corrupt as error:
                yield str(error)

    def _blobs(self, folder: str, file: str) -> dict[str, bytes]:
        """Return HEAD's `folder/<name>/file` by name."""
        names = self._names(folder)
        found = {name: self._blob(folder, name, file) for name in names}
        return {name: data for name, data in found.items() if data is not None}

    def _names(self, folder: str) -> list[str]:
        with self._reading() as repo:
            tree = self._tree(repo) if repo else None
            if repo is None or tree is None or folder.encode() not in tree:
                return []
            return [entry.path.decode() for entry in cast(Tree, repo[tree[folder.encode()][1]]).items()]

    def _blob(self, *path: str) -> bytes | None:
        with self._reading() as repo:
            tree = self._tree(repo) if repo else None
            if repo is None or tree is None:
                return None
            try:
                _, sha = tree.lookup_path(repo.__getitem__, "/".join(path).encode())
            except KeyError:
                return None
            found = repo[sha]
            if not isinstance(found, Blob):
                raise Corrupt(f"{self.folder}: {'/'.join(path)} is not a file in git")
            return found.data

    @contextmanager
    def _reading(self) -> Iterator[Repo | None]:
        repo = self._open()
        try:
            yield repo
        finally:
            if repo is not None:
                repo.close()


def _init(folder: Path) -> None:
    """Make a git folder that can be renamed into place, so that no kill leaves half of one."""
    repo = Repo.init_bare(str(folder), default_branch=b"main")
    config = repo.get_config()
    config.set((b"core",), b"bare", False)
    config.write_to_path()
    repo.close()


def _number(version: str) -> int:
    return int(version.removeprefix("v"))
