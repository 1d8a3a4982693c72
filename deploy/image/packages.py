"""Debian packages: which are needed, fetching them, looking into them."""

import getpass
import pathlib
import re
import subprocess

# Programs come from these; libraries from what they depend on.
ROOTS = ["base-files", "mount", "util-linux", "e2fsprogs", "xfsprogs", "btrfs-progs", "kmod"]
# What the binary is linked against.
LINKED = ["libc6", "libgcc-s1"]
# Whose libraries nothing here can need, but which would be fetched all the same.
NEVER = re.compile(r"^lib(perl|python|systemd|pam|cap-ng|crypt)")


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout


class Pool:
    """Packages, unpacked each in a folder of its own."""

    def __init__(self, folder, cache):
        self.folder = folder
        self.cache = pathlib.Path(cache).resolve()
        self.architecture = run("dpkg", "--print-architecture").strip()
        self.multiarch = run("gcc", "-print-multiarch").strip()
        self.files = {}
        self.versions = {}

    def add(self, names):
        for name, archive in self.fetch(sorted(names)):
            target = self.folder / name
            target.mkdir(parents=True, exist_ok=True)
            run("dpkg", "--extract", str(archive), str(target))
            fields = run("dpkg", "--field", str(archive), "Version", "Source").splitlines()
            self.versions[name] = dict(field.split(": ", 1) for field in fields)
            for path in target.rglob("*"):
                if path.is_symlink() or path.is_file():
                    self.files.setdefault(usr(path.relative_to(target)), (name, path))

    def fetch(self, names):
        """The archives of the versions that apt would install; each fetched once."""
        self.cache.mkdir(parents=True, exist_ok=True)
        # 'address' name_version_architecture.deb size hash
        said = run("apt-get", "download", "--print-uris", *names).splitlines()
        archives = [line.split("'")[2].split()[0] for line in said if line.startswith("'")]
        missing = [name for name in archives if not (self.cache / name).exists()]
        if missing:
            # apt's own sandbox user may not write here.
            user = f"APT::Sandbox::User={getpass.getuser()}"
            run("apt-get", "-o", user, "download", "--quiet",
                *(name.split("_")[0] for name in missing), cwd=self.cache)
        return [(name.split("_")[0], self.cache / name) for name in archives]


def usr(path):
    """Where a file lies in a tree whose /bin, /sbin and /lib are links into /usr."""
    path = str(path)
    for folder in ("bin/", "sbin/", "lib/", "lib64/"):
        if path.startswith(folder):
            return f"usr/{path}"
    return path


def needed():
    """The roots, and every library that they may want."""
    options = [f"--no-{kind}" for kind in
               ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    out = run("apt-cache", "depends", "--recurse", *options, *ROOTS)
    found = {line.strip() for line in out.splitlines() if line and not line.startswith(" ")}
    libraries = {name for name in found if re.match("lib|zlib", name) and not NEVER.match(name)}
    return set(ROOTS) | {name for name in libraries if ":" not in name and "<" not in name}
