"""What is in the image: the binary, a few programs, their libraries, their licences."""

import pathlib
import shutil
import subprocess
import sys

import packages

# Programs, and an argument with which each ends at once.
PROGRAMS = {
    "usr/bin/mount": "--version",
    "usr/bin/umount": "--version",
    "usr/sbin/blkid": "--version",
    "usr/sbin/mke2fs": "-V",
    "usr/sbin/mkfs.ext3": "-V",
    "usr/sbin/mkfs.ext4": "-V",
    "usr/sbin/e2fsck": "-V",
    "usr/sbin/resize2fs": "-V",
    "usr/sbin/mkfs.xfs": "-V",
    "usr/sbin/xfs_repair": "-V",
    "usr/sbin/xfs_growfs": "-V",
    "usr/sbin/mkfs.btrfs": "--version",
    "usr/bin/btrfs": "--version",
    "usr/sbin/modprobe": "--version",
}
# Files that programs read.
FILES = ["etc/mke2fs.conf", "usr/lib/os-release", "etc/debian_version"]
# What we add ourselves.
BINARY = "usr/bin/rds-csi"
OURS = {BINARY, "usr/share/doc/rds-csi/sbom.spdx.json"}
TEXTS = {
    "etc/passwd": "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    # Kubernetes mounts hosts and resolv.conf.
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
         "etc/os-release": "../usr/lib/os-release", "etc/mtab": "../proc/self/mounts"}
FOLDERS = ["tmp", "proc", "sys", "dev", "run", "csi", "etc/rds-csi"]


def assemble(tree, binary, pool):
    """Makes the tree. Returns the packages of which something is in it, with their versions."""
    pool.add(packages.needed() | owners_of_libraries(binary))
    for folder in FOLDERS:
        (tree / folder).mkdir(parents=True)
    for path, target in LINKS.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).symlink_to(target)
    for path, text in TEXTS.items():
        place(tree, path, text.encode())
    (tree / BINARY).parent.mkdir(parents=True, exist_ok=True)
    # Line tables stay: they name the place of a panic.
    subprocess.run(["strip", "--strip-unneeded", "-o", tree / BINARY, binary], check=True)
    taken = Taken(tree, pool)
    taken.libraries_of(tree / BINARY)
    for path in [*PROGRAMS, *FILES]:
        taken.take(path)
    for package in sorted(taken.packages):
        taken.licence(package)
    return {name: pool.versions[name] for name in sorted(taken.packages)}


def place(tree, path, data):
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def owners_of_libraries(binary):
    """The packages of the libraries that the binary is linked against, by this system's own word."""
    owners = set(packages.LINKED)
    for line in packages.run("ldd", str(binary)).splitlines():
        path = next((part for part in line.split() if part.startswith("/")), None)
        if path is None:
            continue
        real = pathlib.Path(path).resolve()
        for candidate in (path, str(real), str(real).removeprefix("/usr")):
            said = subprocess.run(["dpkg", "--search", candidate], capture_output=True, text=True,
                                  check=False)
            if said.returncode == 0:
                owners.add(said.stdout.split(":", 1)[0])
                break
        else:
            sys.exit(f"{path}, which the binary needs, belongs to no package")
    return owners


class Taken:
    """What has been taken out of the pool."""

    def __init__(self, tree, pool):
        self.tree = tree
        self.pool = pool
        self.packages = set()

    def take(self, path):
        """Takes a file, where it points, and what it needs."""
        if path not in self.pool.files:
            sys.exit(f"no package has {path}")
        target = self.tree / path
        if target.is_symlink() or target.exists():
            return
        package, source = self.pool.files[path]
        self.packages.add(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            link = source.readlink()
            target.symlink_to(link)
            pointed = pathlib.PurePosixPath(path).parent / link
            self.take(packages.usr(str(normal(pointed)).lstrip("/")))
            return
        shutil.copy2(source, target)
        if source.read_bytes()[:4] == b"\x7fELF":
            self.libraries_of(target)

    def libraries_of(self, program):
        """Takes the libraries and the loader that a program names."""
        dynamic = packages.run("readelf", "--dynamic", "--program-headers", "--wide", str(program))
        for line in dynamic.splitlines():
            if "(NEEDED)" in line:
                self.library(line.split("[")[1].split("]")[0])
            elif "Requesting program interpreter:" in line:
                path = line.split(": ")[1].rstrip("]")
                self.take(packages.usr(path.lstrip("/")))

    def library(self, name):
        for folder in (f"usr/lib/{self.pool.multiarch}", "usr/lib"):
            if f"{folder}/{name}" in self.pool.files:
                return self.take(f"{folder}/{name}")
        sys.exit(f"no package has the library {name}")

    def licence(self, package):
        path = f"usr/share/doc/{package}/copyright"
        if path in self.pool.files:
            self.take(path)


def normal(path):
    """Without `..`, as links in packages have them."""
    parts = []
    for part in pathlib.PurePosixPath(path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return pathlib.PurePosixPath(*parts)
