"""Reads an OCI archive, and believes nothing that it says of itself."""

import gzip
import hashlib
import io
import json
import tarfile


class Archive:
    """An archive whose every blob is what its name says."""

    def __init__(self, path):
        with tarfile.open(path) as tar:
            self.files = {entry.name: tar.extractfile(entry).read()
                          for entry in tar.getmembers() if entry.isfile()}
        self.used = {"oci-layout", "index.json"}
        layout = json.loads(self.files["oci-layout"])
        demand(layout == {"imageLayoutVersion": "1.0.0"}, f"oci-layout says {layout}")
        index = json.loads(self.files["index.json"])
        demand(len(index["manifests"]) == 1, "one image is expected")
        self.descriptor = index["manifests"][0]
        self.name = self.descriptor["annotations"]["io.containerd.image.name"]
        self.digest = self.descriptor["digest"]
        self.manifest = json.loads(self.blob(self.descriptor))
        self.config = json.loads(self.blob(self.manifest["config"]))
        self.layers = [gzip.decompress(self.blob(layer)) for layer in self.manifest["layers"]]
        diffs = ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in self.layers]
        demand(diffs == self.config["rootfs"]["diff_ids"], "diff_ids are of other layers")
        left = set(self.files) - self.used
        demand(not left, f"nothing refers to {left}")

    def blob(self, descriptor):
        kind, digest = descriptor["digest"].split(":")
        path = f"blobs/{kind}/{digest}"
        self.used.add(path)
        data = self.files[path]
        demand(hashlib.sha256(data).hexdigest() == digest, f"{path} is not what its name says")
        demand(len(data) == descriptor["size"], f"{path} has another size than is said")
        return data

    def entries(self):
        """Every path of every layer, the last word on each."""
        found = {}
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                found.update({entry.name: entry for entry in tar.getmembers()})
        return found

    def unpack(self, tree):
        for layer in self.layers:
            with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
                tar.extractall(tree)


def demand(holds, complaint):
    if not holds:
        raise SystemExit(f"the image is not as it should be: {complaint}")
