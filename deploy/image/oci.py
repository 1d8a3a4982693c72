"""An OCI image archive: https://github.com/opencontainers/image-spec, image-layout.md."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import time

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
NOBODY = "65532:65532"


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


class Image:
    """An image whose layers are added one after the other."""

    def __init__(self, name, architecture, labels):
        self.name = name
        self.architecture = architecture
        self.labels = labels
        self.blobs = {}
        self.layers = []
        self.diffs = []

    def blob(self, data, media_type):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def layer(self, tree, wanted):
        """Adds the wanted paths of a tree, and the folders above them, owned by root."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as archive:
            paths = [path for path in sorted(tree.rglob("*"))]
            files = [path for path in paths if wanted(str(path.relative_to(tree)))]
            above = {parent for path in files for parent in path.parents}
            for path in paths:
                is_folder = path.is_dir() and not path.is_symlink()
                if path in above or (path in files and (not is_folder or not any(path.iterdir()))):
                    add(archive, tree, path)
        data = raw.getvalue()
        self.diffs.append("sha256:" + hashlib.sha256(data).hexdigest())
        packed = gzip.compress(data, 9, mtime=0)
        self.layers.append(self.blob(packed, "application/vnd.oci.image.layer.v1.tar+gzip"))

    def write(self, output):
        """Writes the archive. Returns the digest of the manifest."""
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(EPOCH))
        config = self.blob(compact({
            "created": created,
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "User": NOBODY,
                "Env": ["PATH=/usr/bin:/usr/sbin"],
                "Entrypoint": ["/usr/bin/rds-csi"],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": self.diffs},
        }), "application/vnd.oci.image.config.v1+json")
        manifest = self.blob(compact({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": self.layers,
            "annotations": self.labels,
        }), "application/vnd.oci.image.manifest.v1+json")
        manifest["platform"] = {"architecture": self.architecture, "os": "linux"}
        manifest["annotations"] = {
            "org.opencontainers.image.ref.name": self.name.rsplit(":", 1)[1],
            # What containerd names the image on import.
            "io.containerd.image.name": self.name,
        }
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [manifest],
        }
        with tarfile.open(output, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for folder in ("blobs", "blobs/sha256"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, EPOCH
                archive.addfile(entry)
            text(archive, "oci-layout", compact({"imageLayoutVersion": "1.0.0"}))
            text(archive, "index.json", compact(index))
            for digest, data in sorted(self.blobs.items()):
                text(archive, "blobs/" + digest.replace(":", "/"), data)
        return manifest["digest"]


def text(archive, path, data):
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode, entry.mtime = len(data), 0o644, EPOCH
    archive.addfile(entry, io.BytesIO(data))


def add(archive, tree, path):
    entry = archive.gettarinfo(path, str(path.relative_to(tree)))
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = EPOCH
    # No setuid program: the image is run as nobody, and by the node's part as root.
    entry.mode &= 0o755
    if entry.name == "tmp":
        entry.mode = 0o1777
    if entry.islnk():
        entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", path.stat().st_size
    if entry.isreg():
        with open(path, "rb") as file:
            archive.addfile(entry, file)
    else:
        archive.addfile(entry)
