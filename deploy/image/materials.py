"""The bill of materials: https://spdx.github.io/spdx-spec/v2.3, as JSON."""

import hashlib
import json
import re

import packages


def spdx(project, version, debian):
    """Of the binary, the crates in it and the packages around it."""
    lock = (project / "Cargo.lock").read_bytes()
    parts = [part("rds-csi", version, "pkg:github/3whiskeywhiskey/rds-csi", "Apache-2.0")]
    parts += [part(name, number, "pkg:cargo/" + name) for name, number in crates(project)]
    for name, fields in debian.items():
        parts.append(part(name, fields["Version"], "pkg:deb/debian/" + name))
    seed = json.dumps(parts, sort_keys=True).encode() + lock
    document = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"rds-csi-{version}",
        "documentNamespace":
            f"https://github.com/3whiskeywhiskey/rds-csi/sbom/{hashlib.sha256(seed).hexdigest()}",
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: deploy/image/build"]},
        "packages": parts,
        "relationships": [
            relation("SPDXRef-DOCUMENT", "DESCRIBES", parts[0]["SPDXID"]),
            *(relation(parts[0]["SPDXID"], "DEPENDS_ON", other["SPDXID"]) for other in parts[1:]),
        ],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode() + b"\n"


def crates(project):
    """What is linked into the binary, as cargo resolves it for this target."""
    out = packages.run("cargo", "tree", "--locked", "--package", "rds-csi", "--edges", "normal",
                       "--prefix", "none", "--format", "{p}", cwd=project)
    found = set()
    for line in out.splitlines():
        name, number = line.split()[:2]
        if not name.startswith("rds-"):
            found.add((name, number.removeprefix("v")))
    return sorted(found)


def part(name, version, url, licence="NOASSERTION"):
    kind = url.split(":")[1].split("/")[0]
    identifier = re.sub(r"[^A-Za-z0-9.-]", "-", f"{kind}-{name}-{version}")
    return {
        "SPDXID": f"SPDXRef-{identifier}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "licenseDeclared": licence,
        "licenseConcluded": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": f"{url}@{version}",
        }],
    }


def relation(element, kind, other):
    return {"spdxElementId": element, "relationshipType": kind, "relatedSpdxElement": other}
