"""Object stores for Loopback: S3, Google Cloud Storage and the data sets of the hub, with what a reader of files calls."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from urllib.parse import parse_qs, unquote, urlsplit

from loopback import Answer, Request, as_json

TIME = "2026-01-02T03:04:05.000Z"
HTTP_TIME = "Fri, 02 Jan 2026 03:04:05 GMT"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Store:
    """An `answer` for Loopback. `files`: name of a file in the bucket or data set → its content."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def etag(self, name: str) -> str:
        return hashlib.md5(self.files[name]).hexdigest()

    def content(self, request: Request, name: str, **headers: str) -> Answer:
        """Return the response with a file, or with the bytes that the request's header Range names."""
        if name not in self.files:
            return Answer(404)
        content = self.files[name]
        headers |= {"ETag": f'"{self.etag(name)}"', "Last-Modified": HTTP_TIME, "Accept-Ranges": "bytes"}
        if request.headers["Range"] is None:
            return Answer(200, content, headers)
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        return Answer(206, content[start : end + 1], headers)


class S3(Store):
    """The bucket "bucket" in S3's XML API."""

    def __call__(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        if path := unquote(url.path).removeprefix("/bucket").removeprefix("/"):
            return self.content(request, path)
        prefix = parse_qs(url.query).get("prefix", [""])[0]
        names = [name for name in sorted(self.files) if name.startswith(prefix)]
        entries = "".join(
            f"<Contents><Key>{name}</Key><LastModified>{TIME}</LastModified><ETag>&quot;{self.etag(name)}&quot;</ETag>"
            f"<Size>{len(self.files[name])}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for name in names
        )
        body = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>{prefix}</Prefix><KeyCount>{len(names)}</KeyCount><IsTruncated>false</IsTruncated>"
            f"{entries}</ListBucketResult>"
        )
        return Answer(200, body.encode(), {"Content-Type": "application/xml"})


class CloudStorage(Store):
    """The bucket "bucket" in the JSON API of Google Cloud Storage."""

    def __call__(self, request: Request) -> Answer:
        url = urlsplit(request.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if path.startswith("/bucket/"):  # the XML API, which is used for downloads
            return self.content(request, path.removeprefix("/bucket/"), **{"x-goog-generation": "1"})
        bucket, _, name = path.partition("/storage/v1/b/bucket")[2].partition("/o")
        name = name.removeprefix("/")
        if bucket:
            return Answer(404)
        if not name:
            prefix = query.get("prefix", [""])[0]
            return as_json({"items": [self._metadata(key) for key in sorted(self.files) if key.startswith(prefix)]})
        if query.get("alt") == ["media"]:
            return self.content(request, name)
        return as_json(self._metadata(name)) if name in self.files else as_json({"error": {"code": 404}}, 404)

    def _metadata(self, name: str) -> dict[str, str]:
        times = {"updated": TIME, "timeCreated": TIME}
        return {"bucket": "bucket", "name": name, "size": str(len(self.files[name])), "generation": "1", **times}


class HubDataset(Store):
    """The data set "org/data" on the hub."""

    def __call__(self, request: Request) -> Answer:
        path = unquote(urlsplit(request.path).path)
        if path.startswith("/datasets/org/data/resolve/"):
            name = path.removeprefix("/datasets/org/data/resolve/").partition("/")[2]
            return self.content(request, name, **{"X-Repo-Commit": COMMIT})
        rest = path.removeprefix("/api/datasets/org/data")
        if rest == path:
            return Answer(404)
        if rest.startswith("/tree/"):
            return as_json(self._tree(rest.removeprefix("/tree/").partition("/")[2]))
        if rest.startswith("/paths-info/"):
            names = parse_qs(request.content.decode())["paths"]
            return as_json([self._entry(name) for name in names if name in self.files])
        return as_json({"id": "org/data", "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]})

    def _tree(self, folder: str) -> list[dict[str, str | int]]:
        """Return the files and folders in a folder, without those in its folders."""
        prefix = f"{folder}/" if folder else ""
        names = [name for name in sorted(self.files) if name.startswith(prefix)]
        files = [self._entry(name) for name in names if "/" not in name.removeprefix(prefix)]
        folders = {prefix + name.removeprefix(prefix).partition("/")[0] for name in names} - set(names)
        return [*files, *({"type": "directory", "path": path, "size": 0, "oid": COMMIT} for path in sorted(folders))]

    def _entry(self, name: str) -> dict[str, str | int]:
        return {"type": "file", "path": name, "size": len(self.files[name]), "oid": self.etag(name)}
